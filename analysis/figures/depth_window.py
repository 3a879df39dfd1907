"""The law of the stable window: how the weights that keep gradients stable close in with depth."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gradatlas.analysis.colours import INK, REGIME_COLOURS
from gradatlas.analysis.figures import theme
from gradatlas.analysis.figures.grid import (
    grid_columns,
    label_outer,
    panel_grid,
    panel_groups,
    set_log2_axis,
    titles,
)
from gradatlas.analysis.figures.plot import Drawing, Plot, panels_shown
from gradatlas.analysis.figures.settings import named
from gradatlas.analysis.measures.boundaries import windows
from gradatlas.analysis.words import number
from gradatlas.study.regimes import DEFAULT_LIMITS, Limits

_ENDS = {"lower": REGIME_COLOURS["vanishing"], "upper": REGIME_COLOURS["exploding"]}


def table(trials: pl.LazyFrame, limits: Limits = DEFAULT_LIMITS) -> pl.DataFrame:
    """The windows of which the data support an end, one row per setting and band of depth, with names."""
    found = windows(trials, limits)
    columns = found.columns[: found.columns.index("depth_low")]
    known = found.filter(pl.any_horizontal(pl.col(*_ENDS).is_not_null()), pl.col("depth") > 1)
    order = ["activation", *(name for name in columns if name != "activation"), "depth"]
    return named(known.sort(order), columns)


def draw(drawing: Drawing) -> Figure:
    """A panel per setting: both ends over depth with intervals, the window between them, the prediction."""
    data, layout = drawing.table, drawing.layout
    columns = grid_columns(panel_groups(data), layout.columns)
    grid = panel_grid(layout, titles(data), columns, top=0.62 if layout is theme.NARROW else 0.4)
    span = _range(data, ["depth"]), _range(data, [*_ENDS, "predicted_lower", "predicted_upper"])
    for axes, (_, rows) in zip(grid.panels, data.group_by("panel", maintain_order=True), strict=True):
        _draw_panel(axes, rows)
        (left, right), (low, high) = span
        axes.set(xlim=(np.log2(left), np.log2(right)), ylim=(np.log2(low), np.log2(high)))
        set_log2_axis(axes.xaxis, left, right, lambda tick: f"{tick:.3g}")
        set_log2_axis(axes.yaxis, low, high, lambda tick: f"{tick:.3g}")
    label_outer(grid, "depth L (hidden layers)", r"weight scale $\sigma_w$")
    _draw_legend(grid.figure)
    return grid.figure


def _range(data: pl.DataFrame, names: list[str]) -> tuple[float, float]:
    values = np.concatenate([data[name].drop_nulls().to_numpy() for name in names])
    return float(values.min()) / 1.25, float(values.max()) * 1.25


def _draw_panel(axes: Axes, rows: pl.DataFrame) -> None:
    whole = rows.drop_nulls(["lower", "upper"])
    axes.fill_between(
        np.log2(whole["depth"].to_numpy()), np.log2(whole["lower"].to_numpy()),
        np.log2(whole["upper"].to_numpy()), color="#eadfb6", alpha=0.75, linewidth=0, zorder=0,
    )  # fmt: skip
    for end, colour in _ENDS.items():
        line = rows.drop_nulls([end])
        x, y, low, high = (
            np.log2(line[name].to_numpy()) for name in ("depth", end, f"{end}_low", f"{end}_high")
        )
        axes.errorbar(
            x, y, yerr=[np.maximum(y - low, 0), np.maximum(high - y, 0)], color=colour, marker="o",
            markersize=4, linewidth=1.2, elinewidth=1.6,
        )  # fmt: skip
        told = rows.drop_nulls([f"predicted_{end}"])
        axes.plot(
            np.log2(told["depth"].to_numpy()), np.log2(told[f"predicted_{end}"].to_numpy()), color=INK,
            linestyle="--", linewidth=1.1, marker="D", markersize=3, markerfacecolor="none", zorder=3,
        )  # fmt: skip


def _draw_legend(figure: Figure) -> None:
    handles = [
        Line2D([], [], marker="o", color=_ENDS["lower"], markersize=4, label="below it vanishes"),
        Line2D([], [], marker="o", color=_ENDS["upper"], markersize=4, label="above it explodes"),
        theme.patch_handle("#eadfb6", "stable window"),
        Line2D([], [], ls="--", color=INK, marker="D", mfc="none", markersize=3, label="predicted"),
    ]
    figure.legend(
        handles=handles, loc="upper center", ncols=2 if figure.get_size_inches()[0] < 6 else 4,
        bbox_to_anchor=(0.5, 1.0), borderaxespad=0.3,
    )  # fmt: skip


def reading(data: pl.DataFrame, limits: Limits) -> str:
    """How to read the figure, in words."""
    return (
        f"Between the two lines gradients stay within ±{number(limits.stable_decades)} decades; marks are "
        "the measured ends of this window at each band of depth, bars their 95 % intervals, dashed lines "
        "what theory predicts for the same networks. Where the growth per layer is smooth in the weight "
        "scale, twice the depth leaves half the window (in decades of σ_w). A missing end was not reached by "
        f"the weights tried, or too few networks tell it.{panels_shown(data)}"
    )


def alt(data: pl.DataFrame, limits: Limits) -> str:
    """The figure for who cannot see it: each window."""
    parts = [
        f"{' · '.join(filter(None, (row['heading'], row['subheading'])))} at {number(row['depth'])} layers: "
        f"{'open' if row['lower'] is None else number(row['lower'])} to "
        f"{'open' if row['upper'] is None else number(row['upper'])}"
        for row in data.iter_rows(named=True)
    ]
    return f"Stable windows of the weight scale: {'; '.join(parts)}."


PLOT = Plot(
    name="depth_window",
    title="How the stable window closes with depth",
    section="boundaries",
    table=table,
    draw=draw,
    reading=reading,
    alt=alt,
    absent="The data support no end of a stable window of σ_w at any depth.",
)
