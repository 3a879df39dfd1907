"""One network asked without a sweep: what is measured at initialisation, and what mean-field theory says.

Names and values in, plain data out, the same for `gradatlas.profile` and `gradatlas.theory` as for the
commands of those names. Whatever breaks a rule raises ValueError: the parameter's name, the rule, the value.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypedDict

import numpy as np

from gradatlas.study.choices.activations import ACTIVATIONS
from gradatlas.study.experiment import Row
from gradatlas.study.single import median_row, profile_rows
from gradatlas.study.theory.meanfield import Structure
from gradatlas.study.theory.phase import PhasePoint, theory_row
from gradatlas.study.trial import PARAMETERS, Parameter, Trial, reject_bad_value, trial_of

SEEDS = Parameter("integer", "networks drawn, seeds 0 … N − 1", low=1, below=10**6)
INPUT_STD = Parameter("number", "standard deviation of the Gaussian inputs", low=0.0, open_low=True)

# Of what theory says, what depends on σ_w.
_OF_SIGMA_W = (
    "sigma_w", "q", "chi", "slope", "depth_scale", "correlation", "correlation_depth_scale", "window",
    "gradient_decades", "gradient_slope",
)  # fmt: skip


class Profile(TypedDict):
    """The median over seeds, and the row of each seed, by the results' column names."""

    median: dict[str, Any]
    seeds: list[dict[str, Any]]


def measured_rows(
    parameters: Mapping[str, Any], *, seeds: Any = 1, input_std: Any = None
) -> list[dict[str, Any]]:
    """`study.single.profile_rows` of parameters by their names; a `task` gives the inputs, else they are
    Gaussian of deviation `input_std` (None: 1)."""
    trial = network_of(parameters)
    seeds, input_std = _plain_number(seeds), _plain_number(input_std)
    _reject("seeds", SEEDS, seeds)
    if trial.task is None:
        input_std = 1.0 if input_std is None else input_std
        _reject("input_std", INPUT_STD, input_std)
    elif input_std is not None:
        raise ValueError(
            f"input_std: is of Gaussian inputs, but task '{trial.task}' gives the inputs; leave one out"
        )
    return profile_rows(trial, seeds=seeds, input_std=None if input_std is None else float(input_std))


def profile(rows: Sequence[Row]) -> Profile:
    """The rows of seeds with their median, as JSON holds them."""
    return {"median": plain(median_row(rows)), "seeds": plain(list(rows))}


def network_of(parameters: Mapping[str, Any]) -> Trial:
    """The trial of parameters that matter at initialisation."""
    values = {name: _plain_number(value) for name, value in parameters.items()}
    names = [name for name, parameter in PARAMETERS.items() if not parameter.training]
    for name, value in values.items():
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ValueError(f"{name}: must be one of the parameters {', '.join(names)}{hint}")
        if not (name == "task" and value is None):
            reject_bad_value(name, value)
    return trial_of({"task": None} | values)


def theory_points(
    activation: str | None = None,
    *,
    sigma_w: Any = None,
    sigma_b: Any = 0.0,
    width: Any = 64,
    input_std: Any = 1.0,
    **structure: Any,
) -> list[PhasePoint]:
    """The network with one activation, or, with None, with each; `sigma_w` None is 1."""
    given = {"sigma_w": 1.0 if sigma_w is None else sigma_w, "sigma_b": sigma_b, "input_std": input_std}
    numbers = {name: _number(name, value) for name, value in given.items()}
    kind = {name: _plain_number(value) for name, value in (structure | {"width": width}).items()}
    names = list(ACTIVATIONS) if activation is None else [activation]
    for name, value in ({"activation": names[0]} | kind).items():
        reject_bad_value(name, value)
    width = kind.pop("width")
    return [PhasePoint(Structure(name, **kind), width=width, **numbers) for name in names]


def theory_rows(
    activation: str | None = None, *, depth: Any = None, critical: bool = False, **network: Any
) -> list[dict[str, Any]]:
    """`study.theory.phase.theory_row` of each of `theory_points`; `critical`: at the critical σ_w, which
    then must not be given."""
    if critical and network.get("sigma_w") is not None:
        raise ValueError(
            f"critical: takes the critical σ_w, but σ_w = {network['sigma_w']} was given too; leave one out"
        )
    depth = _plain_number(depth)
    if depth is not None:
        reject_bad_value("depth", depth)
    points = theory_points(activation, **network)
    return [(_critical_row if critical else theory_row)(point, depth=depth) for point in points]


def _critical_row(point: PhasePoint, *, depth: int | None) -> dict[str, Any]:
    """What theory says at the critical σ_w; None for all that depends on σ_w where that is not one number."""
    row = theory_row(point)
    if row["critical_sigma_w"] is None:
        return row | dict.fromkeys(_OF_SIGMA_W) | {"depth": depth}
    return theory_row(replace(point, sigma_w=row["critical_sigma_w"]), depth=depth)


def plain(value: Any) -> Any:
    """The value as JSON holds it: None where a number is not finite."""
    if isinstance(value, dict):
        return {name: plain(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _reject(name: str, parameter: Parameter, value: Any) -> None:
    if not parameter.accepts(value):
        raise ValueError(f"{name}: {parameter.rule()}, but got {value!r}")


def _number(name: str, value: Any) -> float:
    number = _plain_number(value)
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ValueError(f"{name}: must be a number, but got {value!r}")
    return float(number)


def _plain_number(value: Any) -> Any:
    """Python's own number for one of NumPy's, as loops over arrays have them."""
    return value.item() if isinstance(value, np.generic) else value
