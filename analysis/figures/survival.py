"""Number formats: the share of networks whose gradient still reaches the first layer, by depth."""

from __future__ import annotations

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradatlas.analysis.figures import theme
from gradatlas.analysis.figures.grid import (
    grid_columns,
    label_outer,
    octave_ticks,
    panel_grid,
    panel_groups,
    titles,
)
from gradatlas.analysis.figures.plot import Drawing, Plot, panels_shown
from gradatlas.analysis.measures.regions import depth_bands, wilson
from gradatlas.analysis.reading.panels import with_panels
from gradatlas.analysis.words import percent
from gradatlas.study.regimes import DEFAULT_LIMITS, Limits

FORMATS = {"float32": "#1b6ca8", "bfloat16": "#d98200", "float16": "#5d3a8c"}
_MARKERS = {"float32": "o", "bfloat16": "s", "float16": "^"}


def table(trials: pl.LazyFrame, limits: Limits = DEFAULT_LIMITS) -> pl.DataFrame:
    """Per panel, band of depth and format: `count` of `n` networks whose first layer gets a gradient."""
    kept = [f"survival_{name}" for name in FORMATS]
    frame = (
        with_panels(trials)
        .select("panel", "heading", "subheading", "panels", "depth", *kept)
        .drop_nulls(kept)
        .collect()
    )
    if frame.is_empty():
        return pl.DataFrame()
    bands = depth_bands(frame["depth"].unique().to_list())
    lows = [low for low, _ in bands]
    long = frame.with_columns(
        band=pl.sum_horizontal(pl.lit(0), *(pl.col("depth") >= low for low in lows[1:]))
    ).unpivot(
        kept, index=["panel", "heading", "subheading", "panels", "depth", "band"], variable_name="format"
    )
    found = (
        long.with_columns(pl.col("format").str.strip_prefix("survival_"))
        .group_by("panel", "heading", "subheading", "panels", "band", "format")
        .agg(
            depth=pl.col("depth").log().mean().exp(),
            n=pl.len(),
            count=(pl.col("value") >= pl.col("depth")).sum(),
        )
        .sort("panel", "format", "band")
    )
    ends = [wilson(count, n) for count, n in found.select("count", "n").iter_rows()]
    return found.with_columns(
        share=pl.col("count") / pl.col("n"),
        low=pl.Series([end[0] for end in ends], dtype=pl.Float64),
        high=pl.Series([end[1] for end in ends], dtype=pl.Float64),
    )


def draw(drawing: Drawing) -> Figure:
    """A line per format over depth with its interval."""
    data, layout = drawing.table, drawing.layout
    columns = grid_columns(panel_groups(data), layout.columns)
    grid = panel_grid(layout, titles(data), columns, top=0.4)
    low, high = float(data["depth"].min()), float(data["depth"].max())  # type: ignore[arg-type]
    for axes, (_, rows) in zip(grid.panels, data.group_by("panel", maintain_order=True), strict=True):
        _draw_panel(axes, rows)
        axes.set(ylim=(-4, 106), xlim=(low / 1.15, high * 1.15), xscale="log")
        axes.set_yticks([0, 50, 100], ["0 %", "50 %", "100 %"])
        _set_depth_ticks(axes, low, high)
    label_outer(grid, "depth L (hidden layers)", "first layer reached")
    handles = [theme.line_handle(colour, name) for name, colour in FORMATS.items()]
    grid.figure.legend(
        handles=handles, loc="upper center", ncols=3, bbox_to_anchor=(0.5, 1.0), borderaxespad=0.3
    )
    return grid.figure


def _set_depth_ticks(axes: Axes, low: float, high: float) -> None:
    axes.set_xticks(octave_ticks(low, high * 1.001) if high > low else [low])
    axes.set_xticklabels([f"{tick:.3g}" for tick in axes.get_xticks()])
    axes.minorticks_off()


def _draw_panel(axes: Axes, rows: pl.DataFrame) -> None:
    for (name,), line in rows.group_by("format", maintain_order=True):
        depth = line["depth"].to_numpy()
        share, low, high = (100 * line[column].to_numpy() for column in ("share", "low", "high"))
        colour = FORMATS[str(name)]
        axes.fill_between(depth, low, high, color=colour, alpha=0.13, linewidth=0)
        axes.plot(depth, share, color=colour, marker=_MARKERS[str(name)], markersize=3.5, linewidth=1.6)


def reading(data: pl.DataFrame, limits: Limits) -> str:
    """How to read the figure, in words."""
    return (
        "A gradient of size 1 starts at the last hidden layer; a number format loses it where it gets too "
        "small or too large to be written. Lines are the share of networks in which it still reaches the "
        "first layer, bands 95 % Wilson intervals. bfloat16 has float32's range, so their lines lie close; "
        f"float16 ends at about 1e−8 and 65,504. Weight scales are pooled.{panels_shown(data)}"
    )


def alt(data: pl.DataFrame, limits: Limits) -> str:
    """The figure for who cannot see it: the share in each format at the deepest band."""
    deepest = data.filter(pl.col("band") == pl.col("band").max())
    totals = deepest.group_by("format", maintain_order=True).agg(
        share=pl.col("count").sum() / pl.col("n").sum()
    )
    parts = [f"{name} {percent(share)}" for name, share in totals.iter_rows()]
    return f"Share of the deepest networks whose first layer gets a gradient: {', '.join(parts)}."


PLOT = Plot(
    name="survival",
    title="Which number format still carries the gradient?",
    section="layers",
    table=table,
    draw=draw,
    reading=reading,
    alt=alt,
    absent="No trial has a measured reach of its gradient in the number formats.",
)
