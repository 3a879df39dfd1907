"""The training outcome on the axes of the regime map."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from gradatlas.analysis.colours import OUTCOME_COLOURS, OUTCOME_MARKERS, REGIME_TINTS
from gradatlas.analysis.figures import maps, theme
from gradatlas.analysis.figures.grid import Grid, grid_columns, label_outer, panel_grid, panel_groups, titles
from gradatlas.analysis.figures.plot import Drawing, Plot, panels_shown
from gradatlas.analysis.reading.panels import with_panels
from gradatlas.analysis.words import count, number
from gradatlas.study.regimes import DEFAULT_LIMITS, OUTCOMES, REGIMES, Limits, regime

_SPREAD = 0.028  # radius, in units of the panel, of the disc that trials at one place are spread over
_GOLDEN = math.pi * (3 - math.sqrt(5))
_SIZES = {"learned": 15, "stalled": 9, "diverged": 26, "failed": 26}
_MOST_VECTORS = 400  # markers of a panel; more are drawn as an image, which keeps the file small
_DRAWN_FIRST = ("stalled", "learned", "failed", "diverged")  # the rare ones on top


def table(trials: pl.LazyFrame, limits: Limits = DEFAULT_LIMITS) -> pl.DataFrame:
    """One row per trained trial: panel, place, outcome, G; `place_rank` of `place_trials` at that place."""
    placed = with_panels(maps.mappable(trials.filter(pl.col("outcome").is_not_null())), training=True)
    place = ["panel", "depth", "sigma_w"]
    return (
        placed.select(
            "panel", "heading", "subheading", "panels", "trial", "depth", "sigma_w", "outcome",
            gradient_decades=pl.col("gradient_decades").fill_nan(None),
        )
        .sort("panel", "trial")
        .with_columns(
            place_rank=pl.col("trial").rank("ordinal").over(place).cast(pl.Int64) - 1,
            place_trials=pl.len().over(place).cast(pl.Int64),
        )
        .collect()
    )  # fmt: skip


def draw(drawing: Drawing) -> Figure:
    """Markers for outcomes over a pale map of the regimes."""
    data, layout = drawing.table, drawing.layout
    columns = grid_columns(panel_groups(data), layout.columns)
    narrow = layout is theme.NARROW
    grid = panel_grid(layout, titles(data), columns, top=0.96 if narrow else 0.62)
    frame = maps.extent(data)
    for axes, (_, rows) in zip(grid.panels, data.group_by("panel", maintain_order=True), strict=True):
        _draw_regimes(axes, rows, frame, drawing.limits)
        _draw_trials(axes, rows, frame)
        axes.set(xlabel="", ylabel="")
        maps.set_map_axes(axes, data)
    label_outer(grid, maps.DEPTH_LABEL, maps.SIGMA_LABEL)
    _draw_legend(grid, data, narrow=narrow)
    return grid.figure


def _draw_regimes(axes: Axes, rows: pl.DataFrame, frame: maps.Extent, limits: Limits) -> None:
    x, y, g = maps.places(rows)
    codes = np.array([float(REGIMES.index(label)) for label in regime(g, limits)])
    tints = ListedColormap([REGIME_TINTS[name] for name in REGIMES])
    maps.show_image(
        axes, maps.nearest_cells(x, y, codes, frame), frame, cmap=tints, vmin=0, vmax=len(REGIMES) - 1
    )


def spread(rows: pl.DataFrame, frame: maps.Extent) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) on the map: trials at one place stand around it like the seeds of a sunflower."""
    rank, n = rows["place_rank"].to_numpy(), rows["place_trials"].to_numpy()
    radius = np.where(n > 1, _SPREAD * np.sqrt((rank + 0.5) / n), 0.0)
    x = np.log2(rows["depth"].to_numpy()) + radius * np.cos(_GOLDEN * rank) * (frame.right - frame.left)
    y = np.log2(rows["sigma_w"].to_numpy()) + radius * np.sin(_GOLDEN * rank) * (frame.top - frame.bottom)
    return x, y


def _draw_trials(axes: Axes, rows: pl.DataFrame, frame: maps.Extent) -> None:
    for outcome in _DRAWN_FIRST:
        chosen = rows.filter(pl.col("outcome") == outcome)
        x, y = spread(chosen, frame)
        hollow = outcome == "stalled"
        sns.scatterplot(
            x=x, y=y, ax=axes, marker=OUTCOME_MARKERS[outcome], s=_SIZES[outcome], legend=False,
            facecolor="none" if hollow else OUTCOME_COLOURS[outcome],
            edgecolor=OUTCOME_COLOURS[outcome] if hollow else "white", linewidth=0.9 if hollow else 0.4,
            rasterized=len(rows) > _MOST_VECTORS,
        )  # fmt: skip


def _draw_legend(grid: Grid, data: pl.DataFrame, *, narrow: bool) -> None:
    found = data["outcome"].value_counts()
    n = dict(zip(found["outcome"], found["count"], strict=True))
    marks = [
        theme.outcome_handle(name, f"{name} ({n[name]:,})", size=7 if name == "diverged" else 5.5)
        for name in OUTCOMES
        if name in n
    ]
    tints = [theme.patch_handle(REGIME_TINTS[name], f"{name} gradient") for name in REGIMES]
    for handles, at in ((marks, 1.0), (tints, 1 - (0.43 if narrow else 0.25) / grid.height)):
        legend = grid.figure.legend(
            handles=handles, loc="upper center", ncols=2 if narrow else 4, bbox_to_anchor=(0.5, at),
            borderaxespad=0.3, columnspacing=1.4, handletextpad=0.5,
        )  # fmt: skip
        grid.figure.add_artist(legend)


def reading(data: pl.DataFrame, limits: Limits) -> str:
    """How to read the map, in words."""
    several = " Trials at the same place are spread around it." if (data["place_trials"] > 1).any() else ""
    return (
        "The axes of the regime map, a mark for each trial that was trained. The pale ground is the "
        "regime of the gradient before training. A stalled trial ended finite but no better than "
        f"{number(limits.learned_share)} × the loss of the best constant answer; a diverged one became "
        f"non-finite or passed {limits.diverged_factor:,.0f} × its first loss. A trial may also stall for a "
        f"bad learning rate: read regions, not single marks.{several}{panels_shown(data)}"
    )


def alt(data: pl.DataFrame, limits: Limits) -> str:
    """The map for who cannot see it: how many trials had which outcome."""
    parts = [
        count(int((data["outcome"] == name).sum()), f"trial {name}", f"trials {name}") for name in OUTCOMES
    ]
    return f"Map of training outcomes over depth and weight scale: {', '.join(parts)}."


PLOT = Plot(
    name="outcome_map",
    title="What training made of it",
    section="training",
    table=table,
    draw=draw,
    reading=reading,
    alt=alt,
    absent="No trial was trained (steps = 0), so there are no outcomes to show.",
)
