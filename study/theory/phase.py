"""Where theory puts a network: one row of everything it says, and the window of weights that are stable."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from gradatlas.study.choices.families import FAMILIES
from gradatlas.study.regimes import DEFAULT_LIMITS, Limits
from gradatlas.study.theory.correlation import correlation_depth_scale, fixed_correlation
from gradatlas.study.theory.critical import Critical, critical, has_fixed_points, reached
from gradatlas.study.theory.meanfield import Structure
from gradatlas.study.theory.predictions import (
    InputStatistics,
    Prediction,
    gaussian_statistics,
    networks_at,
    predicted,
)
from gradatlas.study.trial import reject_bad_value

_BRACKET = (1e-3, 1e3)  # of σ_w
_SCAN = 241
_DEEPEST = 10_000
_FLAT = 1e-12  # |χ − 1| that rounding makes


@dataclass(frozen=True)
class PhasePoint:
    """One network in the plane of σ_w and σ_b; raises ValueError for numbers that no network has."""

    structure: Structure
    sigma_w: float = 1.0
    sigma_b: float = 0.0
    width: int = 64
    input_std: float = 1.0

    def __post_init__(self) -> None:
        reject_bad_value("width", self.width)
        for name, least in (("sigma_w", 1e-100), ("sigma_b", 0.0), ("input_std", 1e-100)):
            value = getattr(self, name)
            if not least <= value < 1e100:
                raise ValueError(f"{name}: must be a number from {least:g} to below 1e100, but got {value!r}")

    def inputs(self) -> InputStatistics:
        """Gaussian inputs of the network's width."""
        return gaussian_statistics(self.width, self.input_std)

    def first_variance(self) -> float:
        """The variance of the first layer's pre-activation h^1."""
        own = 1.0 if FAMILIES[self.structure.family].is_recurrent else self.sigma_w
        return (own * self.input_std) ** 2 + self.sigma_b**2

    def added_variance(self) -> float:
        """What each layer adds to the variance: the bias's, and a recurrent net's input's."""
        is_recurrent = FAMILIES[self.structure.family].is_recurrent
        return self.first_variance() if is_recurrent else self.sigma_b**2


def theory_row(
    point: PhasePoint, *, depth: int | None = None, limits: Limits = DEFAULT_LIMITS
) -> dict[str, Any]:
    """What theory says of a network; None where it says nothing, with the reason in `note`.

    `q` (None: grows without bound), `chi`, `slope` (½ log10 χ, decades per layer), `depth_scale` (layers),
    `critical_sigma_w` and, of plain networks, `correlation` (c*, of two inputs) and its own
    `correlation_depth_scale` (ξ_c, layers) hold at infinite depth;
    `window`, `gradient_decades`, `gradient_slope` and `gradient_sd` (over seeds) at `depth`, for Gaussian
    inputs.
    """
    if depth is not None:
        reject_bad_value("depth", depth)
        if depth > _DEEPEST:
            raise ValueError(
                f"depth: must be at most {_DEEPEST}, as layer by layer is predicted, but got {depth}"
            )
    structure = point.structure
    row: dict[str, Any] = {
        "activation": structure.activation, "sigma_w": point.sigma_w, "sigma_b": point.sigma_b,
        "norm": structure.norm, "norm_position": structure.norm_position, "skip": structure.skip,
        "batch_size": structure.batch_size, "depth": depth, "width": point.width,
        "input_std": point.input_std, "family": structure.family,
    }  # fmt: skip
    asymptotic, notes = _asymptotic(point)
    row |= asymptotic
    row |= {"window": None, "gradient_decades": None, "gradient_slope": None, "gradient_sd": None}
    if depth is not None and not structure.missing():
        sigma = np.array([point.sigma_w])
        found = _predict(point, depth, sigma)[0]
        row |= {
            "gradient_decades": found.gradient_decades,
            "gradient_slope": found.slope,
            "gradient_sd": found.sd,
        }
        row["window"], note = window(point, depth=depth, limits=limits)
        notes.append(note)
    return row | {"note": "; ".join(note for note in notes if note)}


_NO_CORRELATION = dict.fromkeys(("correlation", "correlation_depth_scale"))
_NOTHING = dict.fromkeys(("q", "chi", "slope", "depth_scale", "critical_sigma_w")) | _NO_CORRELATION


def _asymptotic(point: PhasePoint) -> tuple[dict[str, Any], list[str]]:
    """The part of a row that holds at infinite depth, and notes on it."""
    structure = point.structure
    if reason := structure.missing():
        return dict(_NOTHING), [reason]
    if not has_fixed_points(structure):
        if structure.skip != "none":
            return dict(_NOTHING), ["with a skip connection the variance grows from block to block"]
        return _batch_normalised(point)
    end = reached(
        structure,
        sigma_w=point.sigma_w,
        added_variance=point.added_variance(),
        first_variance=point.first_variance(),
    )
    line = critical(structure, added_variance=point.added_variance())
    q = end.q if np.isfinite(end.q) else None
    is_plain = structure.norm == "none" and structure.family == "mlp"
    alike = _correlation(point, q, end.chi) if q and is_plain else dict(_NO_CORRELATION)
    return _rates(q, end.chi, line) | alike, [line.note]


def _correlation(point: PhasePoint, q: float, chi: float) -> dict[str, Any]:
    """c* of a plain network and the depth scale on which two inputs come to it."""
    activation, sigma_w = point.structure.activation, point.sigma_w
    end = fixed_correlation(activation, q=q, chi=chi, sigma_w=sigma_w, sigma_b=point.sigma_b)
    scale = correlation_depth_scale(activation, end, q=q, chi=chi, sigma_w=sigma_w)
    return {"correlation": end, "correlation_depth_scale": scale}


def _batch_normalised(point: PhasePoint) -> tuple[dict[str, Any], list[str]]:
    """The part of a row at infinite depth with batch norm, and notes on it.

    Every layer's growth is the same from the second on: that between networks of 40 and 41 layers.
    """
    shallower, deeper = (_decades(point, depth, np.array([point.sigma_w]))[0] for depth in (40, 41))
    chi = float(10 ** (2 * (deeper - shallower)))
    note = "batch norm takes σ_w out: no σ_w is critical"
    return _rates(None, chi, Critical(None, note)) | _NO_CORRELATION, [note]


def _rates(q: float | None, chi: float, line: Critical) -> dict[str, Any]:
    slope = 0.5 * math.log10(chi) if chi > 0 else None
    scale = None if abs(chi - 1) < _FLAT or chi == 0 else 1 / abs(math.log(chi))
    return {"q": q, "chi": chi, "slope": slope, "depth_scale": scale, "critical_sigma_w": line.sigma_w}


def _predict(point: PhasePoint, depth: int, sigma_w: np.ndarray) -> list[Prediction]:
    networks = networks_at(
        sigma_w, sigma_b=point.sigma_b, depth=depth, width=point.width, inputs=point.inputs(),
        family=point.structure.family,
    )  # fmt: skip
    return predicted(point.structure, networks)


def window(
    point: PhasePoint, *, depth: int, limits: Limits = DEFAULT_LIMITS
) -> tuple[list[float] | None, str]:
    """([σ_w⁻, σ_w⁺] in which |G| is at most the stable limit at a depth, a note where there is none)."""
    decades = partial(_decades, point, depth)
    grid = np.geomspace(*_BRACKET, _SCAN)
    inside = np.abs(decades(grid)) <= limits.stable_decades
    edges = np.nonzero(inside[1:] != inside[:-1])[0]
    if not inside.any():
        return None, f"no σ_w from {_BRACKET[0]:g} to {_BRACKET[1]:g} is stable at depth {depth}"
    if inside.all():
        return None, f"every σ_w from {_BRACKET[0]:g} to {_BRACKET[1]:g} is stable at depth {depth}"
    if len(edges) == 2 and not inside[0]:
        ends = [_edge(decades, grid[edge : edge + 2], limits.stable_decades) for edge in edges]
        return ends, ""
    if len(edges) == 1:
        end = _edge(decades, grid[edges[0] : edges[0] + 2], limits.stable_decades)
        side = "below" if inside[0] else "above"
        return None, f"stable at every σ_w {side} {end:.4g} at depth {depth}"
    return None, f"several windows of σ_w are stable at depth {depth}"


def _decades(point: PhasePoint, depth: int, sigma_w: np.ndarray) -> np.ndarray:
    return np.array([row.gradient_decades for row in _predict(point, depth, sigma_w)], dtype=float)


def _edge(decades: Callable[[np.ndarray], np.ndarray], ends: np.ndarray, limit: float) -> float:
    """Where |G| passes the limit between two σ_w, by finer scans."""
    low, high = ends
    for _ in range(5):
        finer = np.geomspace(low, high, 21)
        inside = np.abs(decades(finer)) <= limit
        index = int(np.nonzero(inside[1:] != inside[:-1])[0][0])
        low, high = finer[index], finer[index + 1]
    return float(np.sqrt(low * high))
