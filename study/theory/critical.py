"""Infinite depth: fixed points of the length map, the growth χ there, and critical weights.

Where no skip connection adds up, the variance runs from the input's towards a fixed point q* of
q ← σ_w² E[φ(√q z)²] + σ_b², and every further layer multiplies E|δ|² by the same χ. χ < 1: gradients vanish
with a depth scale ξ = 1/|ln χ|; χ > 1: they explode; χ = 1 is critical.

The one idea: on a grid of ln q the map is a curve, and its fixed points are where that crosses the diagonal;
which of them is reached depends on the side from which the input comes. Nothing is iterated, so slow
convergence near criticality costs nothing.

Sources: Poole et al. (2016); Schoenholz et al. (2017); Hayou et al. (2019) for the bistable activations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np

from gradatlas.study.choices.families import FAMILIES
from gradatlas.study.shapes import Float
from gradatlas.study.theory.meanfield import BRANCHES, Branch, Structure, branch

_GRID = np.arange(-46.0, 46.005, 0.01)  # of ln q
_SMALL, _LARGE = -30.0, 30.0  # where inputs of any scale begin, to find out whether it matters
_BRACKET = (1e-3, 1e3)  # of σ_w
_SCAN = 241
_ROUNDING = 1e-8  # of ln χ, which a table holds to about 1e-10
_FLAT = 1e-9  # of ln q: closer to the diagonal the map is the identity


class FixedPoint(NamedTuple):
    """Where the variance ends: q (0 and ∞ too), χ there, and whether nearby variances are drawn to it."""

    q: float
    chi: float
    stable: bool


@dataclass(frozen=True)
class Critical:
    """σ_w at which χ = 1; None with a note where there is none, or several by the input's scale."""

    sigma_w: float | None
    note: str


def has_fixed_points(structure: Structure) -> bool:
    """Whether one function maps the variance in every layer, whatever the batch."""
    return structure.skip == "none" and structure.norm in BRANCHES and not structure.missing()


def fixed_points(structure: Structure, *, sigma_w: float, added_variance: float) -> list[FixedPoint]:
    """All of them, smallest first; `added_variance` is σ_b², for a recurrent net its input's share too.

    Raises ValueError for a σ_w or a variance that is not a finite number >= 0, and for a structure without.
    """
    _reject_bad(structure, sigma_w, added_variance)
    curve = _curve(structure, np.array([sigma_w]), added_variance)
    above = curve.rise[0] > _FLAT
    # Zero is mapped to zero where the map is a straight line at the lower end of the grid.
    is_line = abs(curve.rise[0, 1] - curve.rise[0, 0]) < 1e-6
    found = []
    if is_line or not above[0]:
        chi = float(np.exp(curve.log_chi[0, 0]))
        found.append(FixedPoint(0.0, chi, not above[0]))
    for place in np.nonzero(above[1:] != above[:-1])[0].tolist():
        log_q, chi = _between(structure, sigma_w, added_variance, place)
        found.append(FixedPoint(float(np.exp(log_q)), chi, bool(above[place])))
    if above[-1]:
        found.append(FixedPoint(np.inf, float(np.exp(curve.log_chi[0, -1])), True))
    return found


def reached(
    structure: Structure, *, sigma_w: float, added_variance: float, first_variance: float
) -> FixedPoint:
    """The fixed point that a network ends at whose h^1 has this variance."""
    points = fixed_points(structure, sigma_w=sigma_w, added_variance=added_variance)
    curve = _curve(structure, np.array([sigma_w]), added_variance)
    if np.all(np.abs(curve.rise[0]) <= _FLAT):  # every variance stays as it is
        return FixedPoint(first_variance, float(np.exp(curve.log_chi[0, len(_GRID) // 2])), True)
    stable = [point for point in points if point.stable]
    rises = np.interp(np.log(first_variance), _GRID, curve.rise[0]) > 0 if first_variance else False
    beyond = [point for point in stable if (point.q >= first_variance) == rises]
    if not beyond:
        beyond = stable
    return min(beyond, key=lambda point: point.q) if rises else max(beyond, key=lambda point: point.q)


class _Curve(NamedTuple):
    """On the grid, (sigmas, grid): ln of the map's value over q, and ln χ."""

    rise: np.ndarray
    log_chi: np.ndarray


def _curve(structure: Structure, sigma_w: np.ndarray, added_variance: float) -> _Curve:
    return _of(_on_grid(structure), sigma_w[:, None], added_variance, _GRID)


@lru_cache(maxsize=64)
def _on_grid(structure: Structure) -> Branch:
    return branch(structure, _GRID)


def _at(structure: Structure, sigma_w: np.ndarray, added_variance: float, log_q: np.ndarray) -> _Curve:
    return _of(branch(structure, log_q), sigma_w, added_variance, log_q)


def _of(passed: Branch, sigma_w: np.ndarray, added_variance: float, log_q: np.ndarray) -> _Curve:
    with np.errstate(divide="ignore"):
        weights, added = 2 * np.log(sigma_w), np.log(added_variance)
    return _Curve(np.logaddexp(weights + passed.log_second, added) - log_q, weights + passed.log_gain)


def _between(structure: Structure, sigma_w: float, added_variance: float, place: int) -> tuple[float, float]:
    """(ln q, χ) of the crossing between two nodes of the grid, by bisection."""
    low, high = _GRID[place], _GRID[place + 1]
    sigma = np.array([sigma_w])
    low_is_above = _at(structure, sigma, added_variance, np.array([low])).rise[0] > _FLAT
    for _ in range(50):
        middle = (low + high) / 2
        is_above = _at(structure, sigma, added_variance, np.array([middle])).rise[0] > _FLAT
        low, high = (middle, high) if is_above == low_is_above else (low, middle)
    return low, float(np.exp(_at(structure, sigma, added_variance, np.array([low])).log_chi[0]))


def _reject_bad(structure: Structure, sigma_w: float, added_variance: float) -> None:
    if not has_fixed_points(structure):
        raise ValueError("skip, norm: fixed points are of networks without skip connection and batch norm")
    for name, value in (("sigma_w", sigma_w), ("added_variance", added_variance)):
        if not (np.isfinite(value) and value >= 0):
            raise ValueError(f"{name}: must be a finite number >= 0, but got {value!r}")


def log_chi(
    structure: Structure, sigma_w: Float[np.ndarray, " sigmas"], *, sigma_b: float, input_std: float
) -> Float[np.ndarray, " sigmas"]:
    """ln χ where inputs of a given deviation end, for many σ_w at once; raises as `fixed_points` does."""
    for value in sigma_w:
        _reject_bad(structure, float(value), sigma_b**2)
    recurrent = FAMILIES[structure.family].is_recurrent
    first = (input_std * (np.ones_like(sigma_w) if recurrent else sigma_w)) ** 2 + sigma_b**2
    if recurrent:
        return _excess(structure, sigma_w, float(first[0]), float(np.log(first[0])))
    return _excess(structure, sigma_w, sigma_b**2, np.log(first))


def _excess(
    structure: Structure,
    sigma_w: Float[np.ndarray, " sigmas"],
    added_variance: float,
    start: float | Float[np.ndarray, " sigmas"],
) -> Float[np.ndarray, " sigmas"]:
    """ln χ at what variances reach from exp(start), for many σ_w."""
    return _excess_on(_curve(structure, sigma_w, added_variance), start)


def _excess_on(curve: _Curve, start: float | Float[np.ndarray, " sigmas"]) -> Float[np.ndarray, " sigmas"]:
    """ln χ at what variances reach from exp(start), for each row of the curve."""
    sigmas = len(curve.rise)
    begins = np.broadcast_to(np.clip(np.searchsorted(_GRID, start), 0, len(_GRID) - 1), (sigmas,))
    above = curve.rise > 0
    found = np.empty(sigmas)
    for row, begin in enumerate(begins.tolist()):
        rises = above[row, begin]
        path = above[row, begin:] if rises else ~above[row, begin::-1]
        stops = np.nonzero(~path)[0]
        step = int(stops[0]) if len(stops) else len(path) - 1
        place = begin + step if rises else begin - step
        found[row] = curve.log_chi[row, place]
        if len(stops):  # between this node and the one before: where the rise is zero
            before = place - 1 if rises else place + 1
            share = curve.rise[row, before] / (curve.rise[row, before] - curve.rise[row, place])
            found[row] += (1 - share) * (curve.log_chi[row, before] - curve.log_chi[row, place])
    return found


def critical(structure: Structure, *, added_variance: float) -> Critical:
    """σ_w*(σ_b): where χ at the variance that a network ends at becomes 1.

    Inputs of every scale must agree on it. A norm's eps is left out: the σ_w at which it switches the norm
    off is no critical point. Raises ValueError as `fixed_points` does.
    """
    _reject_bad(structure, 1.0, added_variance)
    structure = replace(structure, norm_eps=0.0)
    sigmas = np.geomspace(*_BRACKET, _SCAN)
    curve = _curve(structure, sigmas, added_variance)
    found = []
    for start in (_SMALL, 0.0, _LARGE):
        excess = partial(_excess, structure, added_variance=added_variance, start=start)
        found.append(
            [_crossing(excess, *sigmas[place : place + 2]) for place in _ups(_excess_on(curve, start))]
        )
    if not any(found):
        return Critical(None, _why_none(structure, added_variance))
    values = sorted(value for crossings in found for value in crossings)
    if all(len(crossings) == 1 for crossings in found) and values[-1] - values[0] < 1e-3 * values[0]:
        return Critical(float(np.median(values)), "")
    low, high = values[0], values[-1]
    return Critical(
        None, f"bistable: critical between σ_w = {low:.4g} and {high:.4g}, depending on the input's scale"
    )


def _why_none(structure: Structure, added_variance: float) -> str:
    sigmas = np.array(_BRACKET)
    excess = _excess(structure, sigmas, added_variance, 0.0)
    if structure.norm == "layer" and abs(excess[1] - excess[0]) < 1e-2:
        return f"χ does not depend on σ_w; it is {np.exp(excess[0]):.4g}"
    side = "vanish" if excess[-1] < 0 else "explode"
    return f"gradients {side} at every σ_w from {_BRACKET[0]:g} to {_BRACKET[1]:g}"


def _crossing(excess: Callable[[np.ndarray], np.ndarray], low: float, high: float) -> float:
    """σ_w at which ln χ goes through zero on its way up, by bisection."""
    for _ in range(30):
        middle = np.sqrt(low * high)
        low, high = (low, middle) if excess(np.array([middle]))[0] > 0 else (middle, high)
    return float(np.sqrt(low * high))


def _ups(excess: np.ndarray) -> Sequence[int]:
    """Places after which it is positive for the first time."""
    return np.nonzero((excess[:-1] <= _ROUNDING) & (excess[1:] > _ROUNDING))[0].tolist()
