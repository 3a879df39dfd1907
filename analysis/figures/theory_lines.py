"""What mean-field theory predicts on the plane of a map: G over depth and σ_w, and the critical σ_w."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from gradatlas.analysis.figures.maps import Extent
from gradatlas.study.choices.families import FAMILIES
from gradatlas.study.theory.critical import critical, has_fixed_points
from gradatlas.study.theory.meanfield import Structure
from gradatlas.study.theory.predictions import gaussian_statistics, networks_at, predicted

STRUCTURE = (
    "activation", "family", "norm", "norm_position", "norm_eps", "skip", "batch_size", "sigma_b", "width",
)  # fmt: skip
_DEPTHS, _SIGMAS = 12, 41


class Lines(NamedTuple):
    """log2 of depth, log2 of σ_w, predicted G (sigmas, depths); σ_w with χ = 1 or None."""

    depth: np.ndarray
    sigma_w: np.ndarray
    decades: np.ndarray
    critical: float | None


def theory_lines(rows: pl.DataFrame, frame: Extent) -> Lines | None:
    """The lines of a panel's structure for Gaussian inputs; None where it mixes several or has no theory."""
    values = []
    for name in STRUCTURE:
        distinct = rows[name].unique()
        if len(distinct) != 1 or distinct[0] is None:
            return None
        values.append(distinct[0])
    return _lines(tuple(values), frame)


@lru_cache(maxsize=64)
def _lines(values: tuple[Any, ...], frame: Extent) -> Lines | None:
    *names, sigma_b, width = values
    structure = Structure(**dict(zip(STRUCTURE[:-2], names, strict=True)))
    if structure.missing():
        return None
    log_sigma = np.linspace(frame.bottom, frame.top, _SIGMAS)
    highest = int(2**frame.right)
    depths = sorted({max(2, round(d)) for d in np.geomspace(2, max(3, highest), _DEPTHS)})
    networks = networks_at(
        np.tile(2.0**log_sigma, len(depths)), sigma_b=sigma_b, depth=2, width=width,
        inputs=gaussian_statistics(width, 1.0), family=structure.family,
    )  # fmt: skip
    found = predicted(structure, replace(networks, depth=np.repeat(depths, _SIGMAS)))
    decades = np.array([row.gradient_decades for row in found], dtype=float).reshape(-1, _SIGMAS).T
    if np.isnan(decades).all():
        return None
    line = None
    if not FAMILIES[structure.family].is_recurrent and has_fixed_points(structure):
        line = critical(structure, added_variance=sigma_b**2).sigma_w
    inside = line if line and frame.bottom < np.log2(line) < frame.top else None
    return Lines(np.log2(depths), log_sigma, decades, inside)
