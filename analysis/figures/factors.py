"""Which factor of the backward step is to blame: the weights' against the derivative's, per network."""

from __future__ import annotations

import numpy as np
import polars as pl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradatlas.analysis.colours import FAINT, REGIME_COLOURS
from gradatlas.analysis.figures import theme
from gradatlas.analysis.figures.grid import grid_columns, label_outer, panel_grid, panel_groups, titles
from gradatlas.analysis.figures.plot import MOST_VECTORS, Drawing, Plot, panels_shown
from gradatlas.analysis.reading.panels import with_panels
from gradatlas.analysis.words import number
from gradatlas.study.regimes import DEFAULT_LIMITS, REGIMES, Limits

_FACTORS = {"weights": "weight_factor_profile", "derivative": "derivative_factor_profile"}
_MOST = 2.0  # decades per layer; what lies further is drawn at the frame


def table(trials: pl.LazyFrame, limits: Limits = DEFAULT_LIMITS) -> pl.DataFrame:
    """One row per trial: the mean over its layers of either factor in decades per layer, and its regime."""
    finite = pl.element().filter(pl.element().is_finite())
    means = {name: pl.col(column).list.eval(finite).list.mean() for name, column in _FACTORS.items()}
    return (
        with_panels(trials)
        .select("panel", "heading", "subheading", "panels", "trial", "regime", **means)
        .drop_nulls(["weights", "derivative", "regime"])
        .sort("panel", "trial")
        .collect()
    )


def draw(drawing: Drawing) -> Figure:
    """A dot per network; on the diagonal the two factors cancel."""
    data, layout = drawing.table, drawing.layout
    columns = grid_columns(panel_groups(data), layout.columns)
    grid = panel_grid(layout, titles(data), columns, top=0.4, left=0.72)
    x_range, y_range = (_range(data[name].to_numpy()) for name in _FACTORS)
    for axes, (_, rows) in zip(grid.panels, data.group_by("panel", maintain_order=True), strict=True):
        _draw_panel(axes, rows, crowded=len(data) > MOST_VECTORS)
        axes.set(xlim=x_range, ylim=y_range, xlabel="", ylabel="")
    label_outer(grid, "weights' factor (decades per layer)", "derivative's factor (decades per layer)")
    grid.figure.legend(
        handles=[theme.regime_handle(name) for name in REGIMES], loc="upper center", ncols=3,
        bbox_to_anchor=(0.5, 1.0), borderaxespad=0.3,
    )  # fmt: skip
    return grid.figure


def _range(values: np.ndarray) -> tuple[float, float]:
    low, high = (float(np.clip(end, -_MOST, _MOST)) for end in (values.min(), values.max()))
    low, high = min(low, -0.1), max(high, 0.1)
    margin = 0.05 * (high - low)
    return low - margin, high + margin


def _draw_panel(axes: Axes, rows: pl.DataFrame, *, crowded: bool) -> None:
    line = np.array([-9.0, 9.0])
    axes.plot(line, -line, color=FAINT, linewidth=1.0, zorder=1)
    for zero in (axes.axhline, axes.axvline):
        zero(0, color=FAINT, linewidth=0.5, linestyle=":", zorder=1)
    shown = rows.with_columns(pl.col(*_FACTORS).clip(-_MOST, _MOST)).to_pandas()
    sns.scatterplot(
        shown, x="weights", y="derivative", hue="regime", hue_order=list(REGIMES), ax=axes,
        palette=REGIME_COLOURS, s=9, linewidth=0, alpha=0.75, legend=False, rasterized=crowded,
    )  # fmt: skip


def reading(data: pl.DataFrame, limits: Limits) -> str:
    """How to read the figure, in words."""
    return (
        "Every backward step multiplies the gradient by the weights and then by the activation's derivative "
        "φ′. A dot is a network: across, what its weights do to the gradient in a layer; up, what φ′ does "
        "(−0.6 is a factor of ¼). On the diagonal line the two cancel and the gradient keeps its size; below "
        "it vanishes, above it explodes. A cloud far down has a derivative that only large weights can make "
        "up for. With a skip connection or a norm the two describe the branch alone, and dots of all regimes "
        f"may lie on either side.{panels_shown(data)}"
    )


def alt(data: pl.DataFrame, limits: Limits) -> str:
    """The figure for who cannot see it: the median factors of each panel."""
    parts = [
        f"{' · '.join(filter(None, (str(heading), str(sub))))}: weights {number(w)}, derivative {number(d)}"
        for heading, sub, w, d in data.group_by("heading", "subheading", maintain_order=True)
        .agg(pl.col("weights", "derivative").median())
        .iter_rows()
    ]
    return f"Median factors in decades per layer: {'; '.join(parts)}."


PLOT = Plot(
    name="factors",
    title="Which factor is to blame: weights or derivative?",
    section="layers",
    table=table,
    draw=draw,
    reading=reading,
    alt=alt,
    absent="No trial has the factors of its backward steps, so they cannot be compared.",
)
