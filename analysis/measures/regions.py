"""Where gradients are stable: shares of the regimes by setting, and the range of σ_w by depth.

Shares count cells (points), outcomes count trials. A range of σ_w is stated only where the cells near that
depth support one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from gradatlas.study.regimes import OUTCOMES, REGIMES

# A range is stated from this many cells on, of which this many stable, and if it separates them this well.
_MIN_CELLS, _MIN_STABLE, _PURE = 8, 3, 0.8


def wilson(
    successes: float, n: float, z: float = 1.96, *, variance: float | None = None
) -> tuple[float, float]:
    """The Wilson interval of a share, 95 % by default; (0, 1) of nothing.

    `variance`: of one of the n, where it is known to be another than share · (1 − share).

    Source: Wilson (1927).
    """
    if n == 0:
        return 0.0, 1.0
    share, scale = successes / n, 1 + z * z / n
    if variance is None:
        variance = share * (1 - share)
    middle = (share + z * z / (2 * n)) / scale
    half = z * math.sqrt(variance / n + z * z / (4 * n * n)) / scale
    # At 0 and n of n the interval ends at 0 and 1 exactly; rounding must not move it past the share.
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def regime_shares(cells: pl.LazyFrame, by: Sequence[str]) -> pl.LazyFrame:
    """Per setting: `cells`, the share of each regime among the measured ones, `severe`, `unmeasured`."""
    measured = pl.col("regime").is_not_null()
    return cells.group_by(by, maintain_order=True).agg(
        cells=pl.len(),
        **{name: (pl.col("regime") == name).mean() for name in REGIMES},
        severe=pl.col("severe").filter(measured).mean(),
        unmeasured=(~measured).sum(),
    )


def outcome_shares(trials: pl.LazyFrame, by: Sequence[str]) -> pl.LazyFrame:
    """Per setting: `trials` that have an outcome and the share of each."""
    trained = trials.filter(pl.col("outcome").is_not_null())
    return trained.group_by(by, maintain_order=True).agg(
        trials=pl.len(), **{name: (pl.col("outcome") == name).mean() for name in OUTCOMES}
    )


def depth_bands(depths: Sequence[int]) -> list[tuple[int, int]]:
    """Bands of depth (low and high included): single depths if there are few, else octaves or wider."""
    distinct = sorted(set(depths))
    if len(distinct) <= 6:
        return [(depth, depth) for depth in distinct]
    low, high = math.floor(math.log2(distinct[0])), math.ceil(math.log2(distinct[-1]))
    step = max(1, math.ceil((high - low) / 6))
    edges = [2**power for power in range(low, high + step, step)]
    bands = [
        (max(edge, distinct[0]), min(upper - 1, distinct[-1]))
        for edge, upper in pairwise(edges)
        if edge < distinct[-1]
    ]
    # A sweep to 64 has its last octave end at 64, not a band of that depth alone.
    return [*bands[:-1], (bands[-1][0], distinct[-1])]


@dataclass(frozen=True)
class StableRange:
    """The σ_w between which gradients are stable, among the cells of one setting and depth band.

    `kind`: range (low, high: the outermost stable cells), all, none, most (of the cells, at any σ_w), mixed
    (σ_w does not separate them), few (too few cells). `open_low`, `open_high`: the range reaches the smallest
    or largest σ_w tried.
    """

    kind: str
    cells: int
    stable_share: float
    low: float | None = None
    high: float | None = None
    open_low: bool = False
    open_high: bool = False


def stable_range(sigma_w: np.ndarray, stable: np.ndarray) -> StableRange:
    """The interval of σ_w with the most stable less the most other cells, if it separates the two."""
    order = np.argsort(sigma_w, kind="stable")
    sigma_w, stable = np.asarray(sigma_w, float)[order], np.asarray(stable, bool)[order]
    n = len(stable)
    share = float(stable.mean()) if n else math.nan
    if n < _MIN_CELLS:
        return StableRange("few", n, share)
    if stable.all() or not stable.any():
        return StableRange("all" if stable.all() else "none", n, share)
    first, last = _best_run(np.where(stable, 1, -1))
    inside = np.zeros(n, bool)
    inside[first : last + 1] = True
    pure = stable[inside].mean() >= _PURE and (inside.all() or stable[~inside].mean() <= 1 - _PURE)
    if pure and not inside.all() and stable[inside].sum() >= _MIN_STABLE:
        return StableRange("range", n, share, sigma_w[first], sigma_w[last], first == 0, last == n - 1)
    return StableRange("most" if share >= _PURE else "mixed", n, share)


def _best_run(scores: np.ndarray) -> tuple[int, int]:
    """First and last index of the run with the largest sum."""
    total = np.concatenate([[0], np.cumsum(scores)])
    lowest = np.minimum.accumulate(total[:-1])
    last = int(np.argmax(total[1:] - lowest))
    return int(np.argmin(total[: last + 1])), last


def stable_ranges(cells: pl.LazyFrame, by: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of `by`, `depth_low`, `depth_high` and `range` (a StableRange), one per setting and depth band."""
    frame = cells.filter(pl.col("regime").is_not_null()).select(*by, "depth", "sigma_w", "regime").collect()
    rows = []
    for low, high in depth_bands(frame["depth"].to_list()) if len(frame) else []:
        band = frame.filter(pl.col("depth").is_between(low, high))
        for key, group in band.group_by(by, maintain_order=True):
            found = stable_range(group["sigma_w"].to_numpy(), (group["regime"] == "stable").to_numpy())
            rows.append(
                dict(zip(by, key, strict=True)) | {"depth_low": low, "depth_high": high, "range": found}
            )
    return rows
