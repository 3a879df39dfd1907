"""Forward against backward: the decades that the signal gains and those that the gradient gains."""

from __future__ import annotations

import numpy as np
import polars as pl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradatlas.analysis.colours import FAINT, REGIME_COLOURS, STABLE
from gradatlas.analysis.figures import theme
from gradatlas.analysis.figures.grid import grid_columns, label_outer, panel_grid, panel_groups, titles
from gradatlas.analysis.figures.plot import MOST_VECTORS, Drawing, Plot, panels_shown
from gradatlas.analysis.reading.panels import with_panels
from gradatlas.analysis.words import percent
from gradatlas.study.regimes import DEFAULT_LIMITS, REGIMES, Limits

_MOST = 12.0  # decades; what lies further is drawn at the frame


def table(trials: pl.LazyFrame, limits: Limits = DEFAULT_LIMITS) -> pl.DataFrame:
    """One row per trial that has both: F, G, its regime and outcome."""
    return (
        with_panels(trials)
        .select(
            "panel", "heading", "subheading", "panels", "trial", "regime", "outcome",
            pl.col("forward_decades", "gradient_decades").fill_nan(None),
        )
        .drop_nulls(["forward_decades", "gradient_decades"])
        .sort("panel", "trial")
        .collect()
    )  # fmt: skip


def draw(drawing: Drawing) -> Figure:
    """A dot per network, the stable limits as bands; a cross where training diverged."""
    data, layout = drawing.table, drawing.layout
    columns = grid_columns(panel_groups(data), layout.columns)
    grid = panel_grid(layout, titles(data), columns, top=0.4)
    for axes, (_, rows) in zip(grid.panels, data.group_by("panel", maintain_order=True), strict=True):
        _draw_panel(axes, rows, drawing.limits, crowded=len(data) > MOST_VECTORS)
        x, y = (_reach(data[name].to_numpy()) for name in ("forward_decades", "gradient_decades"))
        axes.set(xlim=(-x, x), ylim=(-y, y), xlabel="", ylabel="")
    label_outer(grid, "signal F (decades, first to last layer)", "gradient G (decades)")
    handles = [theme.regime_handle(name) for name in REGIMES]
    if (data["outcome"] == "diverged").any():
        handles.append(theme.outcome_handle("diverged", "diverged", size=6))
    grid.figure.legend(
        handles=handles, loc="upper center", ncols=4, bbox_to_anchor=(0.5, 1.0), borderaxespad=0.3,
        columnspacing=1.0, handletextpad=0.2,
    )  # fmt: skip
    return grid.figure


def _reach(values: np.ndarray) -> float:
    return 1.08 * max(2.0, float(np.abs(np.clip(values, -_MOST, _MOST)).max()))


def _draw_panel(axes: Axes, rows: pl.DataFrame, limits: Limits, *, crowded: bool) -> None:
    for band in (axes.axhspan, axes.axvspan):
        band(-limits.stable_decades, limits.stable_decades, color=STABLE, alpha=0.7, zorder=0)
    axes.plot([-99, 99], [-99, 99], color=FAINT, linewidth=0.7, linestyle=":", zorder=1)
    shown = rows.with_columns(pl.col("forward_decades", "gradient_decades").clip(-_MOST, _MOST))
    sns.scatterplot(
        shown.to_pandas(), x="forward_decades", y="gradient_decades", hue="regime", hue_order=list(REGIMES),
        palette=REGIME_COLOURS, s=9, linewidth=0, alpha=0.75, legend=False, ax=axes,
        rasterized=crowded,
    )  # fmt: skip
    lost = shown.filter(pl.col("outcome") == "diverged")
    axes.scatter(lost["forward_decades"], lost["gradient_decades"], s=16, marker="x", color="black", lw=0.8)


def reading(data: pl.DataFrame, limits: Limits) -> str:
    """How to read the figure, in words."""
    return (
        "Across: what becomes of the signal on its way forward; up: what becomes of the gradient on its way "
        "back. The pale cross is where either stays within the stable limit; in its middle both do. In "
        "networks whose activation is linear in scale (ReLU without norm and biases) dots lie on the dotted "
        "diagonal: signal and gradient share one fate. A saturating activation holds the signal while the "
        f"gradient vanishes or explodes: dots in a vertical streak. Dots beyond {_MOST:.0f} decades stand at "
        f"the frame; black crosses diverged in training.{panels_shown(data)}"
    )


def alt(data: pl.DataFrame, limits: Limits) -> str:
    """The figure for who cannot see it: how often signal, gradient and both are stable."""
    calm = {
        name: pl.col(f"{name}_decades").abs() <= limits.stable_decades for name in ("forward", "gradient")
    }
    found = data.select(
        signal=calm["forward"].mean(), gradient=calm["gradient"].mean(),
        both=(calm["forward"] & calm["gradient"]).mean(),
    ).row(0)  # fmt: skip
    return "Share of networks with a stable signal {}, a stable gradient {}, both {}.".format(
        *(percent(share) for share in found)
    )


PLOT = Plot(
    name="forward_backward",
    title="Does the signal share the gradient's fate?",
    section="layers",
    table=table,
    draw=draw,
    reading=reading,
    alt=alt,
    absent="No trial has both a measured signal and a measured gradient.",
)
