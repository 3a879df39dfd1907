"""Effects with 95 % intervals: shares, differences of shares, medians, matched differences.

The unit is the cell: trials of a point are not independent evidence about the next point. `n` counts trials.
Intervals hold for few cells too: Wilson's for shares, Newcombe's for their differences (a bootstrap of ten
cells that all agree has no width), order statistics for medians (a gradient of −∞ decades is a value).

Sources: Wilson (1927); Newcombe (1998), with strata as in Yan & Su (2010).
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
    """Share among the cells with `arm` less that among those without, compared inside each stratum alone."""
    table = (
        cells.drop_nulls([what, arm])
        .group_by(strata)
        .agg(
            n1=pl.col(arm).sum(),
            n0=(~pl.col(arm)).sum(),
            p1=pl.col(what).cast(pl.Float64).filter(pl.col(arm)).mean(),
            p0=pl.col(what).cast(pl.Float64).filter(~pl.col(arm)).mean(),
            trials=pl.col("rows").sum(),
        )
        .filter(pl.col("n1") > 0, pl.col("n0") > 0)
        .sort(strata)  # sums in one order, so that they do not differ in the last bits
    )
    n1, n0 = (table[name].cast(pl.Float64).to_numpy() for name in ("n1", "n0"))
    if min(n1.sum(), n0.sum()) < LEAST_CELLS:
        return None
    weight = n1 * n0 / (n1 + n0)
    weight /= weight.sum()
    first, second = (_arm(weight, n, table[p].to_numpy()) for n, p in ((n1, "p1"), (n0, "p0")))
    return Effect(*_newcombe(first, second), int(table["trials"].sum()), int(n1.sum() + n0.sum()))


def mean_difference(cells: pl.DataFrame, what: str, arm: str, strata: Sequence[str]) -> Effect | None:
    """Mean of a number among the cells with `arm` less that among those without, inside each stratum."""
    known = cells.drop_nulls([what, arm]).with_columns(pl.col(what).cast(pl.Float64))
    both = pl.col(arm).n_unique().over(strata) == 2
    known = known.filter(both).sort(*strata, arm, what)
    counts = known.group_by(arm).len()
    if len(counts) < 2 or int(counts["len"].min()) < LEAST_CELLS:  # type: ignore[arg-type]
        return None
    left = pl.col(what) - pl.col(what).mean().over(*strata, arm)
    freedom = max(len(known) - 2 * known.select(strata).n_unique(), 1)
    variance = known.select((left**2).sum()).item() / freedom
    table = known.group_by(strata, maintain_order=True).agg(
        n1=pl.col(arm).sum(),
        n0=(~pl.col(arm)).sum(),
        gap=pl.col(what).filter(pl.col(arm)).mean() - pl.col(what).filter(~pl.col(arm)).mean(),
    )
    n1, n0 = (table[name].cast(pl.Float64).to_numpy() for name in ("n1", "n0"))
    weight = n1 * n0 / (n1 + n0)
    value = float(np.average(table["gap"].to_numpy(), weights=weight))
    half = 1.96 * math.sqrt(variance / float(weight.sum()))
    return Effect(value, value - half, value + half, _trials(known), len(known))


def _arm(weight: np.ndarray, n: np.ndarray, p: np.ndarray) -> tuple[float, float, float]:
    """(share, low, high) of one arm over its strata; as many cells as give the same variance."""
    value = float(weight @ p)
    effective = 1 / float((weight**2 / n).sum())
    return value, *wilson(value * effective, effective)


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
    place = int(binom.ppf(0.025, len(values), 0.5))
    ends = values[max(place - 1, 0)], values[min(len(values) - place, len(values) - 1)]
    return Effect(float(np.median(values)), float(ends[0]), float(ends[1]), n, len(values))


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
