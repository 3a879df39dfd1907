"""Theory for trials: what mean field predicts of a measured row, or why it predicts nothing.

Trials are grouped by what decides the formulas, and each group is computed at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from torch import Tensor

from gradatlas.study.choices.families import FAMILIES
from gradatlas.study.choices.initializers import INITIALIZERS, sigma_b, sigma_w
from gradatlas.study.theory.finite_width import finite_width
from gradatlas.study.theory.mean_direction import with_mean_direction
from gradatlas.study.theory.meanfield import Networks, Structure, expected
from gradatlas.study.trial import Trial


@dataclass(frozen=True)
class InputStatistics:
    """What theory needs to know of a batch of inputs.

    `mean_square` is E x² per element, `spread` the relative variance of |x|² between inputs, `correlation`
    the mean cosine of two inputs.
    """

    mean_square: float
    spread: float
    correlation: float
    features: int


def gaussian_statistics(width: int, input_std: float) -> InputStatistics:
    """Of independent Gaussian vectors."""
    return InputStatistics(input_std**2, 2.0 / width, 0.0, width)


def input_statistics(inputs: Tensor) -> InputStatistics:
    """Of a batch, (batch, features) or (batch, steps, features); a sequence counts as its mean step."""
    x = inputs.double().flatten(0, -2)
    squares = x.square().mean(dim=1)
    mean = float(squares.mean())
    # Σᵢⱼ ⟨xᵢ, xⱼ⟩ over pairs i ≠ j, from the sum of all vectors.
    pairs = float(x.sum(dim=0).square().mean() - squares.sum())
    count = len(x)
    known = mean > 0 and count > 1
    return InputStatistics(
        mean_square=mean,
        spread=float(squares.var(correction=0)) / mean**2 if known else 0.0,
        correlation=min(max(pairs / (count * (count - 1) * mean), -1.0), 1.0) if known else 0.0,
        features=x.shape[1],
    )


class Prediction(NamedTuple):
    """Columns of the results; None where there is no theory, and why."""

    gradient_decades: float | None
    slope: float | None
    sd: float | None
    reason: str


def predictions(trials: Sequence[Trial], inputs: InputStatistics) -> list[Prediction]:
    """The prediction of each trial for inputs with these statistics; any mixture of trials."""
    found: list[Prediction] = [_BEYOND] * len(trials)
    groups: dict[tuple[Structure, bool], list[int]] = {}
    for place, trial in enumerate(trials):
        if _in_range(trial) and _has_signal(trial, inputs):
            groups.setdefault((structure_of(trial), INITIALIZERS[trial.init].is_independent), []).append(
                place
            )
    for (structure, independent), places in groups.items():
        deepest_first = sorted(places, key=lambda place: -trials[place].depth)
        together = max(1, _LAYERS_TOGETHER // trials[deepest_first[0]].depth)
        for start in range(0, len(places), together):
            chosen = deepest_first[start : start + together]
            networks = networks_of([trials[place] for place in chosen], inputs)
            for place, row in zip(
                chosen, predicted(structure, networks, independent=independent), strict=True
            ):
                found[place] = row
    return found


_BEYOND = Prediction(None, None, None, "the weights, the signal or a bias is zero or beyond float64")
_LAYERS_TOGETHER = 4_000_000  # networks × layers at once: about 200 MB


def _in_range(trial: Trial) -> bool:
    """Whether squares of the gains are numbers; without weights there is no gradient to predict."""
    gains = (trial.weight_gain, trial.input_gain or 1.0, trial.bias_std or 1.0)
    return all(1e-100 < gain < 1e100 for gain in gains)


def _has_signal(trial: Trial, inputs: InputStatistics) -> bool:
    """Whether the first pre-activation is more than zero."""
    own = INITIALIZERS[trial.init].uniform_bias
    reached = inputs.mean_square and (trial.input_gain or not FAMILIES[trial.family].is_recurrent)
    return bool(trial.bias_std or own or reached)


def theory_columns(trials: Sequence[Trial], inputs: Tensor) -> list[dict[str, float | None]]:
    """The columns of the results for trials on these inputs."""
    return [
        {"theory_gradient_decades": row.gradient_decades, "theory_slope": row.slope, "theory_sd": row.sd}
        for row in predictions(trials, input_statistics(inputs))
    ]


_STRUCTURE = tuple(entry.name for entry in fields(Structure))


def structure_of(trial: Trial) -> Structure:
    """What decides the formulas of a trial."""
    return Structure(**{name: getattr(trial, name) for name in _STRUCTURE})


def networks_of(trials: Sequence[Trial], inputs: InputStatistics) -> Networks:
    """The numbers of trials on inputs with these statistics."""
    rows = [_numbers(trial, inputs) for trial in trials]
    return Networks(**{name: np.array([row[name] for row in rows]) for name in rows[0]})


def _numbers(trial: Trial, inputs: InputStatistics) -> dict[str, float]:
    recurrent = FAMILIES[trial.family].is_recurrent
    gain = trial.input_gain if recurrent else trial.weight_gain
    first = sigma_w(trial.init, trial.width, gain, fan_in=inputs.features) ** 2 * inputs.mean_square
    # A recurrent net has one bias; an mlp's first layer may have another than the square ones.
    own_fan_in = trial.width if recurrent else inputs.features
    first_bias = sigma_b(trial.init, trial.width, trial.bias_std, fan_in=own_fan_in) ** 2
    bias = sigma_b(trial.init, trial.width, trial.bias_std) ** 2
    total = first + first_bias
    share = first / total if total else 0.0
    return {
        "depth": trial.depth,
        "width": trial.width,
        "weight_variance": sigma_w(trial.init, trial.width, trial.weight_gain) ** 2,
        "bias_variance": bias,
        "first_variance": total,
        "drive": total if recurrent else bias,
        "first_spread": inputs.spread * share**2,
        "first_correlation": 1 - share * (1 - inputs.correlation),
    }


def networks_at(
    sigma_w: np.ndarray, *, sigma_b: float, depth: int, width: int, inputs: InputStatistics, family: str
) -> Networks:
    """Networks that differ in σ_w alone, all layers drawn alike (a recurrent net's input weights: σ 1)."""
    recurrent = FAMILIES[family].is_recurrent
    own = np.ones_like(sigma_w) if recurrent else sigma_w**2
    first, bias = own * inputs.mean_square, np.full_like(sigma_w, sigma_b**2)
    total = first + bias
    share = np.divide(first, total, out=np.zeros_like(total), where=total > 0)
    return Networks(
        depth=np.full(len(sigma_w), depth),
        width=np.full(len(sigma_w), width),
        weight_variance=sigma_w**2,
        bias_variance=bias,
        first_variance=total,
        drive=total if recurrent else bias,
        first_spread=inputs.spread * share**2,
        first_correlation=1 - share * (1 - inputs.correlation),
    )


def predicted(structure: Structure, networks: Networks, *, independent: bool = True) -> list[Prediction]:
    """The prediction of each network of one structure, with what finite width adds where it is known."""
    if reason := structure.missing():
        return [Prediction(None, None, None, reason)] * len(networks.depth)
    profile = with_mean_direction(structure, networks, expected(structure, networks))
    shift, spread = finite_width(structure, networks, profile, independent=independent)
    slope = profile.slope() + shift / np.maximum(networks.depth - 1, 1)
    columns = (profile.gradient_decades() + shift, slope, spread)
    return [Prediction(_plain(g), _plain(s), _plain(sd), "") for g, s, sd in zip(*columns, strict=True)]


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
