"""One network at initialisation, without a sweep: a row for each seed, and the median of the rows.

A row has the results' columns for what does not depend on training, the regime's label, and `input_std`. The
inputs are Gaussian vectors of the network's width, for recurrent families at each of `depth` time steps
(`task` is then None), or a task's first training batch (`input_std` is then None); all seeds see the same
inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradatlas.study.choices.families import FAMILIES
from gradatlas.study.choices.tasks import batch_indices, task_named
from gradatlas.study.experiment import Row, add_initialisation, settings
from gradatlas.study.families import ARCHITECTURES
from gradatlas.study.networks.memory import pack_memory
from gradatlas.study.randomness import stream
from gradatlas.study.regimes import DEFAULT_LIMITS, Limits, cell_regime, phase, regime, standard_error
from gradatlas.study.shapes import Float
from gradatlas.study.trial import PARAMETERS, Trial

_TRAINING = frozenset(name for name, parameter in PARAMETERS.items() if parameter.training)
_INPUT_SEED = 0
_PACK_BYTES = 2**30  # seeds are measured in packs of about this size


def gaussian_inputs(trial: Trial, input_std: float) -> Float[Tensor, "batch ... width"]:
    """`batch_size` vectors of dimension `width`, or sequences of `depth` of them, N(0, input_std²) each
    element; the same for every seed."""
    steps = (trial.depth,) if FAMILIES[trial.family].is_recurrent else ()
    drawn = stream(_INPUT_SEED, "inputs").standard_normal((trial.batch_size, *steps, trial.width))
    return torch.from_numpy(drawn * input_std)


def task_inputs(trial: Trial) -> Float[Tensor, "batch ..."]:
    """The first training batch of the trial's task."""
    inputs = task_named(trial.task).data(trial.depth).inputs
    return inputs[batch_indices(len(inputs), trial.batch_size, 0)]


def profile_rows(
    trial: Trial,
    *,
    seeds: int = 1,
    first_seed: int = 0,
    input_std: float | None = 1.0,
    limits: Limits = DEFAULT_LIMITS,
) -> list[Row]:
    """A row for each of `seeds` seeds of a network; with `input_std` None on its task's inputs."""
    if input_std is None:
        inputs = task_inputs(trial)
    else:
        trial, inputs = replace(trial, task=None), gaussian_inputs(trial, input_std)
    profile = ARCHITECTURES[trial.family].profile
    trials = [replace(trial, seed=seed) for seed in range(first_seed, first_seed + seeds)]
    together = max(1, _PACK_BYTES // pack_memory([trial]))
    rows = []
    for start in range(0, seeds, together):
        pack = trials[start : start + together]
        measured = [settings(trial) for trial in pack]
        add_initialisation(measured, pack, inputs, profile(pack, inputs)[0])
        rows += measured
    labels = regime(_numbers([row["gradient_decades"] for row in rows]), limits)
    return [
        {name: value for name, value in row.items() if name not in _TRAINING}
        | {"input_std": input_std, "regime": label}
        for row, label in zip(rows, labels, strict=True)
    ]


def median_row(rows: Sequence[Row], limits: Limits = DEFAULT_LIMITS) -> Row:
    """The median of each measured column, of lists layer by layer; None where no row has a number.

    What the rows agree on stays as it is; the seed is left out. `standard_error` is that of the median G, and
    `regime` may be "undetermined"; `phase` is that of the median slope.
    """
    columns = {name: [row[name] for row in rows] for name in rows[0] if name not in ("seed", "regime")}
    median = {name: _median(values) for name, values in columns.items()}
    g, slope, of_slope = (
        _numbers([median[name]]) for name in ("gradient_decades", "gradient_slope", "gradient_slope_stderr")
    )
    error = standard_error(
        np.array([len(rows)]), _deviation(columns["gradient_decades"]), _numbers([median["theory_sd"]])
    )
    (label,) = cell_regime(g, error, limits)
    # What its increments leave open of one slope, of many less by the root of their number.
    (of_phase,) = phase(slope, of_slope / np.sqrt(len(rows)))
    known = None if np.isnan(error[0]) else float(error[0])
    return median | {"standard_error": known, "regime": label, "phase": of_phase}


def _deviation(values: Sequence[float | None]) -> np.ndarray:
    """Of the rows that have a number, (1,)."""
    there = _numbers([value for value in values if value is not None])
    with np.errstate(invalid="ignore"):  # −inf − −inf
        return np.array([there.std(ddof=1) if len(there) > 1 else np.nan])


def _numbers(values: Sequence[Any]) -> np.ndarray:
    """The values as floats, None as nan."""
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _median(values: Sequence[Any]) -> Any:
    if all(value == values[0] for value in values):
        return values[0]
    if isinstance(values[0], list):
        return [_median(at_layer) for at_layer in zip(*values, strict=True)]
    present = [value for value in values if value is not None]
    with np.errstate(invalid="ignore"):  # the middle of −inf and +inf is no number
        median = float(np.median(present))
    return None if np.isnan(median) else median
