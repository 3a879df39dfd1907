"""Samplers that do not learn. `sweeps.sampling.learned` has those that do.

The samplers here are pure functions of (seed, index): trial k of an Optuna study, or index k of a plan,
always gets the same parameters, whatever was told before, in whichever process. They are ordinary Optuna
samplers, and a plan asks them for whole blocks without a study.

Index k is draw k mod D of point k div D. A point's coordinates come from the sequence; its further draws keep
the point and move the nuisance coordinates by an additive recurrence (Roberts 2018), so that the draws of one
point spread over the nuisance space too.
"""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from gradatlas.study.randomness import stream
from gradatlas.sweeps.sampling.domains import Choices, Domain, Range, grid_values
from gradatlas.sweeps.sampling.samplers import PURE


def distributions(space: Mapping[str, Domain]) -> dict[str, BaseDistribution]:
    """The space as Optuna writes it."""
    return {name: _distribution(domain) for name, domain in space.items()}


def _distribution(domain: Domain) -> BaseDistribution:
    if isinstance(domain, Choices):
        return CategoricalDistribution(domain.values)
    if domain.integer:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log)
    return FloatDistribution(domain.low, domain.high, log=domain.log)


class PureSampler(optuna.samplers.BaseSampler):
    """A sampler whose proposal for an index depends on seed and index alone.

    `nuisance` names the parameters that change between the `draws` of a point. `name` tells the sequences of
    several spaces with one seed apart.
    """

    def __init__(
        self,
        space: Mapping[str, BaseDistribution],
        *,
        seed: int = 0,
        nuisance: Collection[str] = (),
        draws: int = 1,
        name: str = "main",
    ) -> None:
        self._space = dict(space)
        self._seed, self._name, self.draws = seed, name, draws
        self._nuisance = np.array([parameter in nuisance for parameter in space], dtype=bool)

    @abstractmethod
    def unit_points(self, first: int, count: int) -> np.ndarray:
        """Coordinates in [0, 1) of `count` points from point `first` on, (count, dimensions)."""

    def proposals(self, first: int, count: int) -> list[dict[str, Any]]:
        """The parameters of `count` indices from index `first` on."""
        if not self._space:
            return [{} for _ in range(count)]
        indices = np.arange(first, first + count)
        points, draws = np.divmod(indices, self.draws)
        units = self.unit_points(int(points[0]), int(points[-1] - points[0] + 1))[points - points[0]]
        units[:, self._nuisance] += draws[:, None] * _recurrence(int(self._nuisance.sum()))
        units %= 1.0
        columns = self._columns(points, units)
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def _columns(self, points: np.ndarray, units: np.ndarray) -> dict[str, Sequence[Any]]:
        """The values of each parameter at points with these coordinates, (indices, dimensions)."""
        return {
            name: _values(distribution, units[:, axis])
            for axis, (name, distribution) in enumerate(self._space.items())
        }

    def infer_relative_search_space(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The whole space: all parameters are sampled together."""
        return self._space

    def sample_relative(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        """The proposal for the trial's number."""
        return self.proposals(trial.number, 1)[0]

    def sample_independent(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """A parameter outside the space: uniform, from a stream of its own."""
        unit = stream(self._seed, f"independent {param_name} {trial.number}").random(1)
        return _values(param_distribution, unit)[0]


class SobolSampler(PureSampler):
    """Scrambled Sobol points (Owen 1998, by scipy): they fill the space evenly at any number of points."""

    def unit_points(self, first: int, count: int) -> np.ndarray:
        """A stretch of the sequence."""
        from scipy.stats import qmc  # takes half a second

        seed = int(stream(self._seed, f"sobol {self._name}").integers(2**63))
        engine = qmc.Sobol(max(len(self._space), 1), rng=seed)
        if first:  # scipy cannot skip nothing
            engine.fast_forward(first)
        with warnings.catch_warnings():
            # scipy warns that stretches other than powers of two lose the balance of the whole.
            warnings.simplefilter("ignore", UserWarning)
            points: np.ndarray = engine.random(count)
        return points[:, : len(self._space)]


class RandomSampler(PureSampler):
    """Independent uniform points."""

    def unit_points(self, first: int, count: int) -> np.ndarray:
        """A stretch of one Philox stream, of which every point owns the same number of blocks of four."""
        blocks = -(-len(self._space) // 4)
        generator = stream(self._seed, f"random {self._name}")
        generator.bit_generator.advance(first * blocks)  # type: ignore[attr-defined]
        return generator.random((count, 4 * blocks))[:, : len(self._space)]


class GridSampler(RandomSampler):
    """Every combination of the levels of the scientific parameters, the last one changing fastest.

    `levels` says how many values a range gives, both ends included; lists give all of theirs. Point k is
    combination k mod `size`. Nuisance parameters are no axes of the grid: they are drawn as by
    `RandomSampler`.
    """

    def __init__(
        self, space: Mapping[str, BaseDistribution], *, levels: Mapping[str, int], **options: Any
    ) -> None:
        super().__init__(space, **options)
        self._levels = {
            name: _levels(name, distribution, levels.get(name))
            for name, distribution in self._space.items()
            if name not in options.get("nuisance", ())
        }
        self.size = math.prod(map(len, self._levels.values()))

    def _columns(self, points: np.ndarray, units: np.ndarray) -> dict[str, Sequence[Any]]:
        """The combination of each point, and drawn nuisance parameters."""
        columns = super()._columns(points, units)
        rest = points % self.size
        for name, values in reversed(self._levels.items()):
            rest, places = np.divmod(rest, len(values))
            columns[name] = [values[place] for place in places]
        return columns


def _levels(name: str, distribution: BaseDistribution, levels: int | None) -> Sequence[Any]:
    """The values of an axis of a grid."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    whole = isinstance(distribution, IntDistribution)
    return grid_values(name, Range(distribution.low, distribution.high, distribution.log, whole, levels))


def pure_sampler_class(sampler: str) -> type[PureSampler]:
    """The class of a name in `samplers.PURE`."""
    found: type[PureSampler] = globals()[PURE[sampler]]
    return found


def pure_sampler(sampler: str, space: Mapping[str, Domain], **options: Any) -> PureSampler:
    """The sampler of a part's space; raises ValueError for a grid whose ranges have no levels."""
    if sampler == "grid":
        options["levels"] = {
            name: domain.levels
            for name, domain in space.items()
            if isinstance(domain, Range) and domain.levels is not None
        }
    return pure_sampler_class(sampler)(distributions(space), **options)


def further_draws(
    space: Mapping[str, BaseDistribution], nuisance: Collection[str], chosen: Mapping[str, Any], draws: int
) -> list[dict[str, Any]]:
    """A proposal and more draws at its point: its nuisance parameters moved on as by a `PureSampler`."""
    names = [name for name in space if name in nuisance]
    units = np.array([_unit(space[name], chosen[name]) for name in names])
    moved = (units + np.arange(draws)[:, None] * _recurrence(len(names))) % 1.0
    columns = {name: _values(space[name], moved[1:, axis]) for axis, name in enumerate(names)}
    others = [{**chosen, **{name: columns[name][draw] for name in names}} for draw in range(draws - 1)]
    return [dict(chosen), *others]


def _unit(distribution: BaseDistribution, value: Any) -> float:
    """The place in [0, 1) of a value: what `_values` undoes."""
    if isinstance(distribution, CategoricalDistribution):
        return (distribution.choices.index(value) + 0.5) / len(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = _ends(distribution)
    scale = math.log if distribution.log else float
    return (scale(value) - scale(low)) / (scale(high) - scale(low))


def _recurrence(dimensions: int) -> np.ndarray:
    """Steps of the R-sequence: powers of 1/g, where g^(d+1) = g + 1."""
    ratio = 2.0
    for _ in range(64):
        ratio = (1.0 + ratio) ** (1.0 / (dimensions + 1))
    return ratio ** -np.arange(1.0, dimensions + 1)


def _values(distribution: BaseDistribution, units: np.ndarray) -> Sequence[Any]:
    """The values at places in [0, 1): even in the value or, with `log`, in its logarithm."""
    if isinstance(distribution, CategoricalDistribution):
        count = len(distribution.choices)
        return [distribution.choices[min(int(unit * count), count - 1)] for unit in units]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    whole = isinstance(distribution, IntDistribution)
    low, high = _ends(distribution)
    if distribution.log:
        values = np.exp(math.log(low) + units * (math.log(high) - math.log(low)))
    else:
        values = low + units * (high - low)
    values = np.clip(np.round(values) if whole else values, distribution.low, distribution.high)
    return list(values.astype(int).tolist() if whole else values.tolist())


def _ends(distribution: FloatDistribution | IntDistribution) -> tuple[float, float]:
    """Of what the places in [0, 1) stand for: each whole number takes the stretch around it, as in Optuna."""
    margin = 0.5 if isinstance(distribution, IntDistribution) else 0.0
    return distribution.low - margin, distribution.high + margin
