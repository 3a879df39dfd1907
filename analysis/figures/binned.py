"""Heat maps of trials in bins: edges, names of bins, and the drawing."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import seaborn as sns
from matplotlib.axes import Axes

from gradatlas.analysis.colours import EMPTY
from gradatlas.analysis.words import number

BINS = 9


def log_bins(values: pl.Series, bins: int = BINS) -> tuple[pl.Series, list[float]]:
    """(bin of each value, edges): equal steps of the logarithm; single values where there are few."""
    x = values.cast(pl.Float64).to_numpy()
    distinct = np.unique(x)
    if len(distinct) <= bins:
        middles = np.sqrt(distinct[:-1] * distinct[1:])
        edges = [float(distinct[0]), *map(float, middles), float(distinct[-1])]
        inner = middles
    else:
        edges = [float(edge) for edge in np.geomspace(distinct[0], distinct[-1], bins + 1)]
        inner = np.array(edges[1:-1])
    return pl.Series(np.searchsorted(inner, x, side="right"), dtype=pl.Int64), edges


def draw_heat(
    axes: Axes, rows: pl.DataFrame, value: str, shape: tuple[int, int], *, cmap: Any, low: float, high: float
) -> None:
    """The value of each bin (`column`, `row`; row 0 at the bottom); bins without a trial stay grey."""
    image = np.full(shape, np.nan)
    for row, column, found in rows.select("row", "column", value).iter_rows():
        image[row, column] = np.nan if found is None else found
    axes.set_facecolor(EMPTY)
    sns.heatmap(
        image, ax=axes, cmap=cmap, vmin=low, vmax=high, cbar=False, mask=np.isnan(image), linewidths=0.4,
        linecolor="white",
    )  # fmt: skip
    axes.invert_yaxis()


def edge_ticks(axis: Any, edges: list[float], *, most: int = 5) -> None:
    """Ticks at edges of the bins, the outermost always and at most that many."""
    places = np.unique(np.linspace(0, len(edges) - 1, min(most, len(edges))).round().astype(int)).tolist()
    axis.set_ticks(places, [number(edges[place]) for place in places], rotation=0)
    if axis.axis_name == "x":
        inward(axis)


def inward(axis: Any) -> None:
    """Turns the outermost labels inwards, so that those of neighbouring panels do not meet."""
    labels = axis.get_ticklabels()
    labels[0].set_ha("left")
    labels[-1].set_ha("right")
