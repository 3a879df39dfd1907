"""The regime map: depth × σ_w, a panel per setting, coloured by G."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from gradatlas.analysis.figures import maps, theme
from gradatlas.analysis.figures.grid import Grid, grid_columns, label_outer, panel_grid, panel_groups, titles
from gradatlas.analysis.figures.plot import Drawing, Plot, panels_shown
from gradatlas.analysis.figures.theory_lines import STRUCTURE, theory_lines
from gradatlas.analysis.reading.panels import with_panels
from gradatlas.analysis.words import count, number, percent
from gradatlas.study.regimes import DEFAULT_LIMITS, Limits


def table(trials: pl.LazyFrame, limits: Limits = DEFAULT_LIMITS) -> pl.DataFrame:
    """One row per panel and place: the median G of its trials, how many, how many of them unmeasured."""
    placed = with_panels(maps.mappable(trials))
    by = ["panel", "heading", "subheading", "panels", "depth", "sigma_w"]
    one = [pl.when(pl.col(name).n_unique() == 1).then(pl.col(name).first()).alias(name) for name in STRUCTURE]
    g = pl.col("gradient_decades").fill_nan(None)
    return (
        placed.group_by(by)
        .agg(g.median(), *one, trials=pl.len(), unmeasured=g.is_null().sum())
        .sort("panel", "depth", "sigma_w")
        .collect()
    )


def draw(drawing: Drawing) -> Figure:
    """The map with the measured places as dots."""
    data, layout = drawing.table, drawing.layout
    columns = grid_columns(panel_groups(data), layout.columns)
    grid = panel_grid(layout, titles(data), columns, top=0.78)
    frame = maps.extent(data)
    colours, scale = theme.regime_colours(drawing.limits)
    for axes, (_, rows) in zip(grid.panels, data.group_by("panel", maintain_order=True), strict=True):
        _draw_panel(axes, rows, frame, drawing.limits, {"cmap": colours, "norm": scale})
        maps.set_map_axes(axes, data)
    label_outer(grid, maps.DEPTH_LABEL, maps.SIGMA_LABEL)
    _draw_theory(grid, data, drawing.limits)
    _draw_scale(grid, ScalarMappable(scale, colours), drawing.limits)
    return grid.figure


def _draw_panel(
    axes: Axes, rows: pl.DataFrame, frame: maps.Extent, limits: Limits, colours: Mapping[str, Any]
) -> None:
    x, y, g = maps.places(rows)
    end = 2 * limits.severe_decades
    image = maps.nearest_cells(x, y, np.clip(g, -end, end), frame)
    maps.show_image(axes, image, frame, **colours)
    # Dots must show on the pale ground and on the dark ends of the colours.
    dots = np.where(np.abs(g) > limits.severe_decades, "#ffffff", "#1a1a1a")
    axes.scatter(x, y, s=2.4, color=dots, alpha=0.6, linewidths=0, rasterized=True)
    bare = rows.filter(pl.col("gradient_decades").is_null())
    axes.scatter(
        np.log2(bare["depth"].to_numpy()),
        np.log2(bare["sigma_w"].to_numpy()),
        s=14,
        marker="P",
        color="#b0479f",
    )


def _draw_theory(grid: Grid, data: pl.DataFrame, limits: Limits) -> None:
    """χ = 1 as a dashed line and the ends of the predicted window as thin ones, where there is theory."""
    frame = maps.extent(data)
    for axes, (_, rows) in zip(grid.panels, data.group_by("panel", maintain_order=True), strict=True):
        lines = theory_lines(rows, frame)
        if lines is None:
            continue
        if lines.critical is not None:
            axes.axhline(np.log2(lines.critical), color="black", linestyle=(0, (4, 2)), linewidth=1.1)
        levels = [-limits.stable_decades, limits.stable_decades]
        if np.nanmin(lines.decades) < levels[1] and np.nanmax(lines.decades) > levels[0]:
            axes.contour(
                lines.depth, lines.sigma_w, np.clip(lines.decades, -99, 99), levels=levels, colors="black",
                linewidths=0.9, linestyles="-",
            )  # fmt: skip


def _draw_scale(grid: Grid, mappable: ScalarMappable, limits: Limits) -> None:
    """The colour bar on top, with the limits as ticks and the regimes in words above them."""
    end, stable, severe = 2 * limits.severe_decades, limits.stable_decades, limits.severe_decades
    width = min(6.0, grid.width - 0.7)
    box = (
        (grid.width - width) / 2 / grid.width,
        1 - 0.40 / grid.height,
        width / grid.width,
        0.14 / grid.height,
    )
    bar = grid.figure.colorbar(mappable, cax=grid.figure.add_axes(box), orientation="horizontal")
    ticks = sorted({-end, -severe, -stable, 0, stable, severe, end})
    labels = [f"{'+' if tick > 0 else ''}{number(tick)}" for tick in ticks]
    labels[0], labels[-1] = f"≤ {labels[0]}", f"≥ {labels[-1]}"
    bar.set_ticks(ticks, labels=labels)
    bar.outline.set_linewidth(0.5)
    bar.ax.tick_params(length=2, pad=2)
    for regime, middle in (
        ("vanishing", -(end + stable) / 2),
        ("stable", 0.0),
        ("exploding", (end + stable) / 2),
    ):
        bar.ax.annotate(
            regime, (middle, 1), xytext=(0, 3), xycoords=("data", "axes fraction"),
            textcoords="offset points", ha="center", weight="bold",
        )  # fmt: skip


def reading(data: pl.DataFrame, limits: Limits) -> str:
    """How to read the map, in words."""
    bare = int(data["unmeasured"].sum())
    crosses = f" Magenta crosses: no gradient was measured ({count(bare, 'trial')})." if bare else ""
    return (
        "Each dot is a network that was measured, at its depth and weight scale; the colour around it is "
        "its own G, up to half-way to the next dot. Nothing is interpolated, and grey means that no dot "
        f"is near. Pale: stable, |G| ≤ {number(limits.stable_decades)}. Blue: the gradient shrinks on its "
        "way back to the first layer; red: it grows. The colour jumps at the limit and is darkest from "
        f"{number(2 * limits.severe_decades)} decades on. Black lines are mean-field theory, drawn where "
        "there is one: solid, the ends of the stable window it predicts at each depth; dashed, χ = 1, the "
        f"critical weight scale of infinitely deep networks.{crosses}{panels_shown(data)}"
    )


def alt(data: pl.DataFrame, limits: Limits) -> str:
    """The map for who cannot see it: the share of stable places in each panel."""
    g = pl.col("gradient_decades")
    shares = data.group_by("panel", "heading", "subheading", maintain_order=True).agg(
        stable=(g.abs() <= limits.stable_decades).mean()
    )
    parts = [
        f"{' · '.join(filter(None, (row['heading'], row['subheading'])))} {percent(row['stable'])}"
        for row in shares.iter_rows(named=True)
    ]
    return (
        f"Map of gradient growth G over depth and weight scale. Share of stable places: {', '.join(parts)}."
    )


PLOT = Plot(
    name="regime_map",
    title="Where gradients are stable",
    section="map",
    table=table,
    draw=draw,
    reading=reading,
    alt=alt,
    absent="No trial has a measured gradient at a depth and weight scale that a map could show.",
)
