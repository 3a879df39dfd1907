"""Batch normalisation: how fast the gradient grows per layer, by batch size."""

from __future__ import annotations

import numpy as np
import polars as pl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.typing import ColorType

from gradatlas.analysis.colours import FAINT, INK
from gradatlas.analysis.figures import theme
from gradatlas.analysis.figures.plot import Drawing, Plot
from gradatlas.analysis.figures.settings import named
from gradatlas.analysis.words import number
from gradatlas.study.regimes import DEFAULT_LIMITS, QUANTILES, Limits

_SETTING = ["part", "activation", "norm_position", "skip"]
_MOST_LINES = 8


def table(trials: pl.LazyFrame, limits: Limits = DEFAULT_LIMITS) -> pl.DataFrame:
    """Per setting with batch norm and several batch sizes: the slope's median and 10–90 % range, theory's."""
    slope = (
        pl.col("gradient_slope")
        .fill_nan(None)
        .fill_null(pl.col("gradient_decades").fill_nan(None) / (pl.col("depth") - 1))
    )
    usable = trials.filter(pl.col("norm") == "batch", pl.col("depth") > 1).with_columns(slope=slope)
    found = (
        usable.filter(pl.col("slope").is_finite())
        .group_by(*_SETTING, "batch_size")
        .agg(
            pl.col("slope").median(),
            low=pl.col("slope").quantile(QUANTILES[0], "nearest"),
            high=pl.col("slope").quantile(QUANTILES[1], "nearest"),
            theory=pl.col("theory_slope").fill_nan(None).median(),
            n=pl.len(),
        )
        .filter(pl.len().over(_SETTING) > 1)
        .sort(*_SETTING, "batch_size")
        .collect()
    )
    return named(found, _SETTING).filter(pl.col("panel") < _MOST_LINES)


def draw(drawing: Drawing) -> Figure:
    """A line per setting over the batch size, theory's as hollow diamonds."""
    data, layout = drawing.table, drawing.layout
    width = min(layout.width, 7.4)
    narrow = layout is theme.NARROW
    lines = list(data.group_by("panel", maintain_order=True))
    legend = 0.24 * (len(lines) + 1)
    height = 3.0 + legend
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0.75 / width, 0.55 / height, 1 - 0.95 / width, 2.3 / height))
    axes.axhline(0, color=FAINT, linewidth=0.8)
    handles = []
    for colour, (_, rows) in zip(sns.color_palette("colorblind", len(lines)), lines, strict=True):
        handles.append(_draw_line(axes, rows, colour))
    handles.append(Line2D([], [], ls="--", marker="D", mfc="none", color=INK, ms=4, label="theory"))
    sizes = data["batch_size"].unique().sort().to_list()
    axes.set_xscale("log")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set(xlabel="batch size", ylabel="decades per layer" if narrow else "slope (decades per layer)")
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.6 / width, 1.0), borderaxespad=0.2)
    return figure


def _draw_line(axes: Axes, rows: pl.DataFrame, colour: ColorType) -> Line2D:
    size, slope, low, high = (rows[name].to_numpy() for name in ("batch_size", "slope", "low", "high"))
    axes.errorbar(
        size, slope, yerr=[np.maximum(slope - low, 0), np.maximum(high - slope, 0)], color=colour, marker="o",
        markersize=4.5, linewidth=1.5, elinewidth=1.1,
    )  # fmt: skip
    told = rows.drop_nulls("theory")
    axes.plot(
        told["batch_size"], told["theory"], "--D", color=colour, markerfacecolor="none", markersize=5, lw=0.9
    )
    name = " · ".join(filter(None, (rows["heading"][0], rows["subheading"][0])))
    return theme.line_handle(colour, theme.literal(name))


def reading(data: pl.DataFrame, limits: Limits) -> str:
    """How to read the figure, in words."""
    return (
        "Batch normalisation takes the weight scale out, but it makes the gradient grow by a fixed amount "
        "per layer on its way back. Marks are medians over networks, bars hold the middle 80 %; above the "
        "line at zero the gradient explodes with depth. The smaller the batch, the faster. Dashed, with "
        "diamonds: mean-field theory, where there is one."
    )


def alt(data: pl.DataFrame, limits: Limits) -> str:
    """The figure for who cannot see it: the slope at each batch size."""
    parts = [
        f"{row['heading']} at {row['batch_size']}: {number(row['slope'])}"
        for row in data.iter_rows(named=True)
    ]
    return f"Decades per layer with batch norm by batch size: {'; '.join(parts)}."


PLOT = Plot(
    name="batch_size",
    title="Batch norm: small batches explode faster",
    section="mitigations",
    table=table,
    draw=draw,
    reading=reading,
    alt=alt,
    absent="The run has no networks with batch norm at more than one batch size.",
)
