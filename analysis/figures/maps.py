"""Maps over depth × σ_w: the axes and the nearest-trial cells.

Trials lie scattered over the plane. Each spot of a map has the colour of the trial nearest to it, as far as
there is one at all: nothing is interpolated, and where no trial is near the map stays empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from scipy.spatial import cKDTree

from gradatlas.analysis.colours import EMPTY
from gradatlas.analysis.figures.grid import set_log2_axis

# Reach of a trial in units of the panel's side: 150 well spread trials cover a panel.
REACH = 0.12
_PIXELS = 260


@dataclass(frozen=True)
class Extent:
    """The edges of a map: log2 of depth and of σ_w."""

    left: float
    right: float
    bottom: float
    top: float

    def unit(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Points scaled to the panel, axes (points, 2)."""
        return np.column_stack(
            [(x - self.left) / (self.right - self.left), (y - self.bottom) / (self.top - self.bottom)]
        )


def mappable(trials: pl.LazyFrame) -> pl.LazyFrame:
    """The rows with a place on logarithmic axes, of the parts that sweep the weight scale if any does."""
    gains = pl.col("weight_gain").n_unique().over("part")
    placed = trials.filter(pl.col("sigma_w") > 0, pl.col("sigma_w").is_finite(), pl.col("depth") > 0)
    return placed.filter((gains > 1) | (gains.max() == 1))


def extent(table: pl.DataFrame) -> Extent:
    """The edges around all rows, with a margin; an octave where all rows share a value."""
    left, right = _edges(np.log2(table["depth"].to_numpy()))
    bottom, top = _edges(np.log2(table["sigma_w"].to_numpy()))
    return Extent(left, right, bottom, top)


def _edges(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = 0.035 * (high - low) if high > low else 0.5
    return low - margin, high + margin


def places(table: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(log2 depth, log2 σ_w, median G) of each place with a measured G; trials at one place are pooled."""
    pooled = (
        table.filter(pl.col("gradient_decades").is_not_null())
        .group_by("depth", "sigma_w", maintain_order=True)
        .agg(pl.col("gradient_decades").median())
    )
    x, y = np.log2(pooled["depth"].to_numpy()), np.log2(pooled["sigma_w"].to_numpy())
    return x, y, pooled["gradient_decades"].to_numpy()


def nearest_cells(
    x: np.ndarray, y: np.ndarray, values: np.ndarray, frame: Extent, pixels: int = _PIXELS
) -> np.ndarray:
    """An image, bottom row first: the value of the nearest point, nan where none is within REACH."""
    if len(values) == 0:
        return np.full((pixels, pixels), np.nan)
    middles = (np.arange(pixels) + 0.5) / pixels
    spots = np.stack(np.meshgrid(middles, middles), axis=-1).reshape(-1, 2)
    distance, nearest = cKDTree(frame.unit(x, y)).query(spots)
    return np.where(distance <= REACH, values[nearest], np.nan).reshape(pixels, pixels)


def show_image(axes: Axes, image: np.ndarray, frame: Extent, **colours: Any) -> None:
    """Draw an image of `nearest_cells` and fix the axes to the map's edges."""
    edges = (frame.left, frame.right, frame.bottom, frame.top)
    axes.imshow(
        np.ma.masked_invalid(image),
        origin="lower",
        extent=edges,
        aspect="auto",
        interpolation="nearest",
        **colours,
    )
    axes.set_facecolor(EMPTY)
    axes.set_xlim(frame.left, frame.right)
    axes.set_ylim(frame.bottom, frame.top)


def _plain(tick: float) -> str:
    return f"{tick:.3g}"


def set_map_axes(axes: Axes, table: pl.DataFrame) -> None:
    """Ticks in hidden layers and in σ_w."""
    depth, sigma = table["depth"], table["sigma_w"]
    set_log2_axis(axes.xaxis, float(depth.min()), float(depth.max()), _plain, most=8)  # type: ignore[arg-type]
    set_log2_axis(axes.yaxis, float(sigma.min()), float(sigma.max()), _plain)  # type: ignore[arg-type]


DEPTH_LABEL = "depth L (hidden layers)"
SIGMA_LABEL = r"weight scale $\sigma_w$"
