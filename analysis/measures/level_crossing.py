"""Where a rising quantity passes a level, from scattered and noisy points, with a 95 % interval.

The points are pairs (x, y), here x = log10 σ_w and y = decades per layer. Nothing is assumed of the curve but
that it rises: lines and other smooth curves are biased where it bends, and at a critical point it does (tanh:
steep below, flat above).

The one idea: for each gap between neighbouring points, fit the best rising curve that is below the level left
of it and above right of it. The interval is made of the gaps whose fit is not significantly worse than the
best one: by more than 2.27 variances, which is what the likelihood ratio of a rising curve at a point stays
below in 95 of 100 cases. Fits of all prefixes and suffixes come from one pass each (pool adjacent violators).

There is no crossing where all points lie on one side, where x does not part those below from those above,
and where y does not rise significantly with x.

Source: Banerjee & Wellner (2001), likelihood ratio for monotone functions.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.stats import spearmanr

LEAST_POINTS, _LEAST_A_SIDE = 10, 3
_MOST_POINTS = 1500
_PURE = 0.8  # of the points on each side that must be on it
_RATIO = 2.27  # 95 % quantile of the likelihood ratio, in variances
_RISE = 0.01  # significance from which on y rises with x


class Crossing(NamedTuple):
    """x where y passes the level, its 95 % interval; None with the reason in `note`."""

    x: float | None
    low: float | None
    high: float | None
    note: str


def crossing(
    x: np.ndarray, y: np.ndarray, *, variance: np.ndarray | None = None, level: float = 0.0
) -> Crossing:
    """The place at which y rises through the level; y may be ±inf, nan is left out.

    `variance`: of each y, up to a common factor.
    """
    x, y = np.asarray(x, float), np.asarray(y, float) - level
    variance = np.ones_like(x) if variance is None else np.asarray(variance, float)
    known = ~np.isnan(y)
    order = np.flatnonzero(known)[np.argsort(x[known], kind="stable")]
    x, y, weight = x[order], y[order], 1 / variance[order]
    if reason := _unsupported(x, y):
        return Crossing(None, None, None, reason)
    near = _near(len(y), _place(y))
    return _crossing(x[near], _bounded(y)[near], weight[near])


def _unsupported(x: np.ndarray, y: np.ndarray) -> str:
    """Why there can be no crossing; empty if there can."""
    if len(y) < LEAST_POINTS:
        return f"{len(y)} cells: at least {LEAST_POINTS} are needed"
    if np.ptp(x) == 0:
        return "only one σ_w was tried"
    below, above = int((y < 0).sum()), int((y > 0).sum())
    if min(below, above) < _LEAST_A_SIDE:
        return f"{below} of {len(y)} cells lie below and {above} above: {_LEAST_A_SIDE} each are needed"
    place = _place(y)
    left = (y[:place] < 0).mean() if place else 0.0
    right = (y[place:] > 0).mean() if place < len(y) else 0.0
    if min(left, right) < _PURE:
        return f"σ_w does not part the cells: {left:.0%} of one side and {right:.0%} of the other are on it"
    rise = spearmanr(x, y, alternative="greater")
    return "" if rise.pvalue < _RISE else "no significant rise with σ_w"


def _place(y: np.ndarray) -> int:
    """How many points stand left of the best parting into below and above."""
    wrong = np.concatenate([[0], np.cumsum(np.sign(y))])
    best = np.flatnonzero(wrong == wrong.min())
    return int(best[len(best) // 2])


def _near(n: int, place: int) -> slice:
    """The points around the parting, as many as are needed at most."""
    first = max(0, min(place - _MOST_POINTS // 2, n - _MOST_POINTS))
    return slice(first, first + _MOST_POINTS)


def _bounded(y: np.ndarray) -> np.ndarray:
    """Infinite values as the most extreme finite ones."""
    finite = y[np.isfinite(y)]
    bounded: np.ndarray = np.clip(y, finite.min(), finite.max()) if len(finite) else np.sign(y)
    return bounded


def _crossing(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> Crossing:
    loss = prefix_losses(y, weight) + prefix_losses(-y[::-1], weight[::-1])[::-1]
    inside = np.flatnonzero(loss - loss.min() <= _RATIO * _noise(x, y, weight, int(np.argmin(loss))))
    first, last = int(inside[0]), int(inside[-1])
    if first == 0 or last == len(y):
        return Crossing(None, None, None, "the crossing may lie beyond the σ_w tried")
    low, high = float(x[first - 1]), float(x[last])
    return Crossing(min(max(_zero(x, y, weight, loss), low), high), low, high, "")


def prefix_losses(y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Least weighted square error of a rising curve ≤ 0 through the first 0, 1, …, n points."""
    losses = [0.0]
    blocks: list[tuple[float, float, float, float]] = []  # Σw, Σwy, Σwy², loss of this block and those before
    for value, w in zip(y.tolist(), weight.tolist(), strict=True):
        total, first, second = w, w * value, w * value * value
        while blocks and blocks[-1][1] * total >= first * blocks[-1][0]:
            before = blocks.pop()
            total, first, second = total + before[0], first + before[1], second + before[2]
        own = max(second - (first * first / total if first < 0 else 0.0), 0.0)
        loss = own + (blocks[-1][3] if blocks else 0.0)
        blocks.append((total, first, second, loss))
        losses.append(loss)
    return np.array(losses)


def _noise(x: np.ndarray, y: np.ndarray, weight: np.ndarray, place: int) -> float:
    """Variance about a curve of second order near the crossing: too large rather than too small."""
    near = _nearest(x, place, max(12, math.ceil(2 * len(x) ** 0.6)))
    left = _residuals(x[near], y[near], weight[near], order=2)
    return float((weight[near] * left**2).sum() / max(len(near) - 3, 1))


def _nearest(x: np.ndarray, place: int, count: int) -> np.ndarray:
    first = max(0, min(place - count // 2, len(x) - count))
    return np.arange(first, min(first + count, len(x)))


def _residuals(x: np.ndarray, y: np.ndarray, weight: np.ndarray, order: int) -> np.ndarray:
    design = np.vander((x - x.mean()) / (np.ptp(x) or 1.0), order + 1)
    root = np.sqrt(weight)
    coefficients = np.linalg.lstsq(design * root[:, None], y * root, rcond=None)[0]
    residuals: np.ndarray = y - design @ coefficients
    return residuals


def _zero(x: np.ndarray, y: np.ndarray, weight: np.ndarray, loss: np.ndarray) -> float:
    """Where a parabola through the nearest points rises through zero, else the middle of the best gap.

    A straight line is drawn to the flat side of a bend: at 30 cells of tanh it puts σ_w 3 % too high.
    """
    place = int(np.argmin(loss))
    gap = float(x[place - 1] + x[place]) / 2
    near = _nearest(x, place, max(7, math.ceil(1.25 * len(x) ** 0.5)))
    parabola = np.polynomial.Polynomial.fit(x[near] - gap, y[near], 2, w=np.sqrt(weight[near]))
    parabola = parabola.trim(1e-9 * float(np.abs(parabola.coef).max()))  # of a straight line rounding is left
    roots = parabola.roots()
    rising = [float(root.real) for root in roots if np.isreal(root) and parabola.deriv()(root.real) > 0]
    return gap + min(rising, key=abs) if rising else gap
