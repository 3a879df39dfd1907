"""Slices: the gradient against each parameter by itself."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradatlas.analysis.colours import REGIME_COLOURS, STABLE
from gradatlas.analysis.figures import theme
from gradatlas.analysis.figures.grid import grid_columns, panel_grid
from gradatlas.analysis.figures.plot import Drawing, Plot
from gradatlas.analysis.figures.sampled import sampled
from gradatlas.analysis.figures.settings import label, scale, varied
from gradatlas.analysis.words import number, shortened
from gradatlas.study.regimes import DEFAULT_LIMITS, REGIMES, Limits

_MOST_TRIALS, _MOST_PANELS = 700, 12
_MOST_DECADES = 10.0


def table(trials: pl.LazyFrame, limits: Limits = DEFAULT_LIMITS) -> pl.DataFrame:
    """One row per sampled trial and varied parameter: its place from 0 to 1 and G."""
    names = varied(trials)[:_MOST_PANELS]
    frame = sampled(trials.filter(pl.col("regime").is_not_null()), [*names, "gradient_decades"], _MOST_TRIALS)
    if frame.is_empty() or not names:
        return pl.DataFrame()
    keep = frame.select("trial", "regime", "outcome", "gradient_decades")
    parts = []
    for name in names:
        found = scale(name, frame[name])
        parts.append(
            keep.with_columns(
                parameter=pl.lit(name), place=pl.Series(found.positions, dtype=pl.Float64),
                ticks=pl.lit([place for place, _ in found.ticks], pl.List(pl.Float64)),
                tick_names=pl.lit([text for _, text in found.ticks], pl.List(pl.String)),
            )
        )  # fmt: skip
    return pl.concat(parts)


def draw(drawing: Drawing) -> Figure:
    """A panel per parameter, a dot per trial."""
    data, layout = drawing.table, drawing.layout
    panels = list(data.group_by("parameter", maintain_order=True))
    columns = grid_columns(list(range(len(panels))), layout.columns)
    titles = [(label(str(name)), "") for (name,), _ in panels]
    grid = panel_grid(layout, titles, columns, top=0.36, foot=0.24)
    reach = 1.06 * max(
        2 * drawing.limits.stable_decades,
        float(np.abs(np.clip(data["gradient_decades"].to_numpy(), -_MOST_DECADES, _MOST_DECADES)).max()),
    )
    for place, (axes, (_, rows)) in enumerate(zip(grid.panels, panels, strict=True)):
        _draw_panel(axes, rows, drawing.limits)
        few = len(rows["ticks"][0]) >= rows["place"].n_unique()
        margin = 0.25 if few else 0.09
        axes.set(xlim=(-margin, 1 + margin), ylim=(-reach, reach))
        long = sum(len(name) for name in rows["tick_names"][0]) > (16 if layout is theme.NARROW else 26)
        axes.set_xticks(
            rows["ticks"][0].to_list(), [shortened(name, 14) for name in rows["tick_names"][0]],
            rotation=20 if long else 0, ha="right" if long else "center", size=layout.font - 1.5,
        )  # fmt: skip
        axes.tick_params(labelleft=place % grid.columns == 0)
    grid.figure.text(0.06 / grid.width, 0.5, "gradient G (decades)", rotation=90, ha="left", va="center")
    handles = [theme.regime_handle(name) for name in REGIMES]
    handles.append(theme.outcome_handle("diverged", "diverged", size=6))
    grid.figure.legend(
        handles=handles, loc="upper center", ncols=4, bbox_to_anchor=(0.5, 1.0), borderaxespad=0.25,
        columnspacing=1.0, handletextpad=0.2,
    )  # fmt: skip
    return grid.figure


def _draw_panel(axes: Axes, rows: pl.DataFrame, limits: Limits) -> None:
    axes.axhspan(-limits.stable_decades, limits.stable_decades, color=STABLE, zorder=0)
    few = len(rows["ticks"][0]) >= rows["place"].n_unique()
    shift = 0.06 * ((rows["trial"].hash(1) % 1000).to_numpy() / 1000 - 0.5) * few
    x = rows["place"].to_numpy() + shift
    y = np.clip(rows["gradient_decades"].to_numpy(), -_MOST_DECADES, _MOST_DECADES)
    colours = [REGIME_COLOURS[name] for name in rows["regime"]]
    axes.scatter(x, y, s=6, c=colours, alpha=0.55, linewidths=0, rasterized=True)
    lost = (rows["outcome"] == "diverged").fill_null(False).to_numpy()
    axes.scatter(x[lost], y[lost], s=14, marker="x", color="black", linewidths=0.8, rasterized=True)


def reading(data: pl.DataFrame, limits: Limits) -> str:
    """How to read the figure, in words."""
    return (
        "Each panel shows the same trials against another parameter, all others pooled. A parameter that "
        "matters by itself makes the cloud rise, fall or widen; one that does not leaves it the same from "
        f"end to end. Pale: stable, |G| ≤ {number(limits.stable_decades)}; dots beyond {_MOST_DECADES:.0f} "
        "decades stand at the frame; black crosses diverged in training and are always among the "
        f"{data['trial'].n_unique():,} trials shown."
    )


def alt(data: pl.DataFrame, limits: Limits) -> str:
    """The figure for who cannot see it: how G goes with each parameter."""
    parts = []
    for (name,), rows in data.group_by("parameter", maintain_order=True):
        known = rows.filter(pl.col("gradient_decades").is_finite())
        value = known.select(pl.corr("place", "gradient_decades", method="spearman")).item()
        parts.append(f"{label(str(name))} {'–' if value is None or value != value else number(value)}")
    return f"The gradient against each parameter; rank correlation with G: {', '.join(parts)}."


PLOT = Plot(
    name="slices",
    title="The gradient against each parameter",
    section="importance",
    table=table,
    draw=draw,
    reading=reading,
    alt=alt,
    absent="The run varies no parameter of trials with a measured gradient.",
)
