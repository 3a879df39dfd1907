"""Effects with 95 % intervals: shares, differences of shares, medians, matched differences.

The unit is the cell: trials of a point are not independent evidence about the next point. `n` counts trials.
Intervals hold for few cells too: Wilson's for shares, Newcombe's for their differences (a bootstrap of ten
cells that all agree has no width), order statistics for medians (a gradient of −∞ decades is a value).
`tests/analysis/test_calibration.py` counts how often they hold the truth.

Sources: Wilson (1927); Newcombe (1998), with strata as in Yan & Su (2010), but for the variance inside them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.spatial import cKDTree
from scipy.stats import binom

from gradatlas.analysis.measures.regions import wilson
from gradatlas.analysis.reading.row_sample import sampled

LEAST_CELLS = 8  # of an arm, below which nothing is said
_MOST_MATCHED = 20_000
_FAR = 0.15  # decades of depth and of σ_w up to which two cells are a match


@dataclass(frozen=True)
class Effect:
    """A number with its 95 % interval, from `cells` cells and `n` trials."""

    value: float
    low: float
    high: float
    n: int
    cells: int


def share(cells: pl.DataFrame, what: str) -> Effect | None:
    """Share of the cells that are so (`what`: a boolean column, or a share of a cell's trials)."""
    known = cells.drop_nulls(what)
    if len(known) < LEAST_CELLS:
        return None
    total = float(known[what].cast(pl.Float64).sum())
    return Effect(total / len(known), *wilson(total, len(known)), _trials(known), len(known))


def difference(cells: pl.DataFrame, what: str, arm: str, strata: Sequence[str]) -> Effect | None:
    """Share among the cells with `arm` minus that among those without, compared inside each stratum alone.

    What is estimated is the mean of the strata's true differences with weights n₁n₀/(n₁ + n₀) of the cells
    in both arms. Strata that agree in themselves but differ from each other add nothing to its variance.
    """
    values = pl.col(what).cast(pl.Float64)
    arms = (("1", pl.col(arm)), ("0", ~pl.col(arm)))
    table = (
        cells.drop_nulls([what, arm])
        .group_by(strata)
        .agg(
            *(chosen.sum().cast(pl.Float64).alias(f"n{name}") for name, chosen in arms),
            *(values.filter(chosen).mean().alias(f"p{name}") for name, chosen in arms),
            *(values.filter(chosen).var().alias(f"v{name}") for name, chosen in arms),
            trials=pl.col("rows").sum(),
        )
        .filter(pl.col("n1") > 0, pl.col("n0") > 0)
        .sort(strata)  # sums in one order, so that they do not differ in the last bits
    )
    n1, n0 = table["n1"].to_numpy(), table["n0"].to_numpy()
    if min(n1.sum(), n0.sum()) < LEAST_CELLS:
        return None
    weight = n1 * n0 / (n1 + n0)
    weight /= weight.sum()
    first, second = (
        _arm(weight, n, *(table[f"{kind}{name}"].to_numpy() for kind in "pv"))
        for name, n in (("1", n1), ("0", n0))
    )
    return Effect(*_newcombe(first, second), int(table["trials"].sum()), int(n1.sum() + n0.sum()))


def _arm(
    weight: np.ndarray, n: np.ndarray, p: np.ndarray, variance: np.ndarray
) -> tuple[float, float, float]:
    """(Share, low, high) of one arm over its strata, from the variance inside them.

    Wilson's interval with that variance in place of p(1 − p): where all strata agree in themselves it is as
    wide as that of 0 of as many cells. `variance` is nan in strata of one cell, which take the others' mean.
    """
    value = float(weight @ p)
    cells = 1 / float((weight**2 / n).sum())
    inside = np.where(np.isnan(variance), _pooled(n, variance, value * (1 - value)), variance)
    within = float((weight**2 / n * inside).sum()) * cells
    return value, *wilson(value * cells, cells, variance=within)


def _pooled(n: np.ndarray, variance: np.ndarray, otherwise: float) -> float:
    """The strata's mean variance, with one more degree of freedom that has the variance of all cells."""
    freedom = n - 1
    return float((np.nansum(freedom * variance) + otherwise) / (freedom.sum() + 1))


def _newcombe(
    first: tuple[float, float, float], second: tuple[float, float, float]
) -> tuple[float, float, float]:
    value = first[0] - second[0]
    low = value - math.hypot(first[0] - first[1], second[2] - second[0])
    high = value + math.hypot(first[2] - first[0], second[0] - second[1])
    return value, max(low, -1.0), min(high, 1.0)


def median(cells: pl.DataFrame, what: str) -> Effect | None:
    """The median of a column over cells, with its interval; None for too few cells."""
    known = cells.drop_nulls(what)
    return _median(known[what].cast(pl.Float64).to_numpy(), _trials(known))


def _median(values: np.ndarray, n: int) -> Effect | None:
    values = np.sort(values[~np.isnan(values)])
    if len(values) < LEAST_CELLS:
        return None
    return Effect(float(np.median(values)), *_median_interval(values), n, len(values))


def _median_interval(values: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of a median, between the order statistics that hold more and fewer than 95 %.

    Source: Hettmansperger & Sheather (1986).
    """
    size = len(values)
    depth = max(int(binom.ppf(0.025, size, 0.5)), 1)
    wide, narrow = (1 - 2 * binom.cdf(k - 1, size, 0.5) for k in (depth, depth + 1))
    share = np.clip((wide - 0.95) / (wide - narrow), 0.0, 1.0)
    inner = float((size - depth) * share / (depth + (size - 2 * depth) * share))
    low, high = (_between(ends[depth - 1], ends[depth], inner) for ends in (values, values[::-1]))
    return low, high


def _between(outer: float, inner: float, share: float) -> float:
    """The value that far from an outer to an inner one, either of which may be infinite."""
    if share == 0 or outer == inner:
        return float(outer)
    return float((1 - share) * outer + share * inner)


def matched(cells: pl.DataFrame, what: str, arm: str, groups: Sequence[str]) -> Effect | None:
    """Median difference between cells with `arm` and the nearest without, in depth and σ_w, inside a group.

    Two cells are a pair where each is the other's nearest: no cell counts twice.
    """
    known = sampled(cells.drop_nulls([what, arm]).filter(pl.col("sigma_w") > 0), _MOST_MATCHED)
    differences, trials = [np.empty(0)], 0
    for _, group in known.group_by(groups, maintain_order=True):
        one, other = group.filter(pl.col(arm)), group.filter(~pl.col(arm))
        if len(one) and len(other):
            mine, theirs = _pairs(_place(one), _place(other))
            with np.errstate(invalid="ignore"):  # −∞ less −∞ is no difference
                differences.append(one[what].to_numpy()[mine] - other[what].to_numpy()[theirs])
            trials += int(one["rows"].to_numpy()[mine].sum() + other["rows"].to_numpy()[theirs].sum())
    return _median(np.concatenate(differences), trials)


def _place(cells: pl.DataFrame) -> np.ndarray:
    point: np.ndarray = np.log10(cells.select("depth", "sigma_w").cast(pl.Float64).to_numpy())
    return point


def _pairs(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    distance, nearest = cKDTree(other).query(one)
    _, back = cKDTree(one).query(other)
    mine = np.arange(len(one))
    mutual = (back[nearest] == mine) & (distance < _FAR)
    return mine[mutual], nearest[mutual]


def _trials(cells: pl.DataFrame) -> int:
    return int(cells["rows"].sum())
