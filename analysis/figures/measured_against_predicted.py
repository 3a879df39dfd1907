"""Measured G against the G that theory predicts for the same network, with the score of the prediction.

The axes are straight within the stable limit and logarithmic far outside of it, so that a hundred decades
leave the neighbourhood of zero its room.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from gradatlas.analysis.colours import INK, STABLE
from gradatlas.analysis.figures import theme
from gradatlas.analysis.figures.grid import Grid, grid_columns, label_outer, panel_grid, titles
from gradatlas.analysis.figures.plot import MOST_VECTORS, Drawing, Plot, panels_shown
from gradatlas.analysis.measures.prediction_error import PredictionScore, predicted_cells, prediction_score
from gradatlas.analysis.reading.cells import cells
from gradatlas.analysis.reading.panels import MAX_PANELS
from gradatlas.analysis.words import count, number, percent, word
from gradatlas.study.regimes import DEFAULT_LIMITS, Limits
from gradatlas.study.trial import PARAMETERS

_KIND = ("family", "norm", "norm_position", "skip")
_MEASURED, _PREDICTED = "gradient_decades", "theory_gradient_decades"
_TICKS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)
_TICK_GAP = 0.33  # inches from one label to the next
_HEIGHTS = {"wide": {1: 4.6, 2: 3.4, 3: 2.9, 4: 2.35}, "narrow": {1: 2.9, 2: 1.6}}


def table(trials: pl.LazyFrame, limits: Limits = DEFAULT_LIMITS) -> pl.DataFrame:
    """One row per cell that theory predicts: both G, `off`, `within`, `agrees`, the activation and its panel.

    A panel is a kind of network (norm, its position, skip, family), the plain ones first.
    """
    known = predicted_cells(cells(trials, limits), limits)
    # The position of a norm that is not there tells nothing apart.
    position = pl.when(pl.col("norm") != "none").then("norm_position")
    kinds = known.with_columns(norm_position=position)
    order = kinds.select(_KIND).unique().sort([_place(name) for name in ("norm", "skip", *_KIND)])
    names = [_name(row, order) for row in order.iter_rows(named=True)]
    titled = order.select(
        *_KIND,
        panel=pl.int_range(len(order), dtype=pl.Int64),
        heading=pl.Series([heading for heading, _ in names], dtype=pl.String()),
        subheading=pl.Series([sub for _, sub in names], dtype=pl.String()),
        panels=pl.lit(len(order), pl.Int64),
    )
    joined = kinds.join(titled, on=_KIND, nulls_equal=True).filter(pl.col("panel") < MAX_PANELS)
    # A hash for an order: else the last activation would lie on top of all others.
    return joined.sort("panel", pl.struct("part", "point").hash(0)).select(
        "panel", "heading", "subheading", "panels", "activation", _MEASURED, _PREDICTED, "off", "within",
        "agrees",
    )  # fmt: skip


def _place(name: str) -> pl.Expr:
    """The place of a choice in the order in which choices are declared."""
    choices = PARAMETERS[name].choices
    return pl.col(name).replace_strict(choices, range(len(choices)), default=len(choices))


def _name(row: Mapping[str, str | None], kinds: pl.DataFrame) -> tuple[str, str]:
    """(heading, subheading) of a kind: its norm, and beside it what else there is or differs."""
    varied = [name for name in ("norm_position", "family") if kinds[name].drop_nulls().n_unique() > 1]
    told = [name for name in varied if row[name] is not None]
    rest = [word("skip", row["skip"])] * (kinds["skip"].n_unique() > 1 or row["skip"] != "none")
    return word("norm", row["norm"]), " · ".join([*rest, *(word(name, row[name]) for name in told)])


def draw(drawing: Drawing) -> Figure:
    """A panel per kind of network, a dot per cell in its activation's colour, the diagonal, the score."""
    data, layout = drawing.table, drawing.layout
    columns = grid_columns(range(len(titles(data))), layout.columns)
    lines = 2 if layout is theme.NARROW else 1
    colours = theme.activation_colours(data["activation"].unique().to_list())
    legend = math.ceil(len(colours) / (3 if layout is theme.NARROW else 7))
    top = 0.14 + 0.19 * legend + 0.17 * lines
    grid = panel_grid(layout, titles(data), columns, top=top, height=_HEIGHTS[layout.name][columns])
    frame = _frame(data, drawing.limits)
    for axes, (_, rows) in zip(grid.panels, data.group_by("panel", maintain_order=True), strict=True):
        _set_axes(axes, grid, frame, drawing.limits)
        _draw_panel(axes, rows, frame, colours, drawing.limits, crowded=len(data) > MOST_VECTORS)
        _write_score(axes, prediction_score(rows), layout)
    label_outer(grid, "predicted G (decades)", "measured G (decades)")
    _draw_legend(grid, colours, prediction_score(data), lines=lines)
    return grid.figure


def _frame(data: pl.DataFrame, limits: Limits) -> tuple[float, float]:
    """The ends of both axes: all finite values and the stable window, with room at each end."""
    values = np.concatenate([data[name].to_numpy() for name in (_MEASURED, _PREDICTED)])
    width = limits.stable_decades
    ends = np.concatenate([values[np.isfinite(values)], [-1.5 * width, 1.5 * width]])
    low, high = np.arcsinh(np.array([ends.min(), ends.max()]) / width)
    room = 0.06 * (high - low)
    return float(width * np.sinh(low - room)), float(width * np.sinh(high + room))


def _set_axes(axes: Axes, grid: Grid, frame: tuple[float, float], limits: Limits) -> None:
    axes.set_xscale("asinh", linear_width=limits.stable_decades)
    axes.set_yscale("asinh", linear_width=limits.stable_decades)
    axes.set(xlim=frame, ylim=frame)
    shorter = min(axes.get_position().width * grid.width, axes.get_position().height * grid.height)
    for axis in (axes.xaxis, axes.yaxis):
        _set_ticks(axis, frame, shorter, limits.stable_decades)


def _set_ticks(axis: Axis, frame: tuple[float, float], inches: float, width: float) -> None:
    """Zero, powers of ten and thrice these: as many as have room, and none at a corner."""
    low, high = np.arcsinh(np.array(frame) / width)
    gap = _TICK_GAP * (high - low) / inches
    kept, last = [0.0], 0.0
    for tick in _TICKS:
        place = float(np.arcsinh(tick / width))
        if place - last >= gap:
            kept, last = [*kept, -tick, tick], place
    inner = width * np.sinh([low + 0.6 * gap, high - 0.6 * gap])
    shown = sorted(tick for tick in kept if inner[0] <= tick <= inner[1])
    axis.set_major_locator(FixedLocator(shown))
    axis.set_minor_locator(NullLocator())
    axis.set_ticks(shown, [number(tick) for tick in shown])


def _draw_panel(
    axes: Axes,
    data: pl.DataFrame,
    frame: tuple[float, float],
    colours: Mapping[str, str],
    limits: Limits,
    *,
    crowded: bool,
) -> None:
    for band in (axes.axhspan, axes.axvspan):
        band(-limits.stable_decades, limits.stable_decades, color=STABLE, alpha=0.7, zorder=0)
    axes.plot(frame, frame, color=INK, linewidth=0.8, zorder=1)
    finite = pl.all_horizontal(pl.col(_MEASURED, _PREDICTED).is_finite())
    inset = _inset(frame, limits.stable_decades)
    for marker, size, rows in (("o", 9, data.filter(finite)), ("D", 22, data.filter(~finite))):
        axes.scatter(
            rows[_PREDICTED].clip(*inset).to_numpy(), rows[_MEASURED].clip(*inset).to_numpy(), s=size,
            marker=marker, c=[colours[name] for name in rows["activation"]], alpha=0.65, linewidths=0,
            rasterized=crowded, zorder=2,
        )  # fmt: skip


def _inset(frame: tuple[float, float], width: float) -> tuple[float, float]:
    """Just inside the ends of the axes, where infinite values stand."""
    low, high = np.arcsinh(np.array(frame) / width)
    room = 0.025 * (high - low)
    return float(width * np.sinh(low + room)), float(width * np.sinh(high - room))


def _write_score(axes: Axes, score: PredictionScore, layout: theme.Layout) -> None:
    axes.annotate(
        "\n".join(_phrases(score)), (0, 1), xytext=(4, -4), xycoords="axes fraction",
        textcoords="offset points", ha="left", va="top", size=layout.font - 2, zorder=3,
    )  # fmt: skip


def _phrases(score: PredictionScore) -> list[str]:
    """The score in four short phrases, three where no deviation is predicted."""
    whole = "" if score.with_spread == score.cells else f" of {score.with_spread:,}"
    within = [] if score.within is None else [f"{percent(score.within)}{whole} within 2 sd"]
    return [
        f"{number(score.off)} decades off",
        *within,
        f"{percent(score.agreeing)} same regime",
        count(score.cells, "point"),
    ]


def _draw_legend(grid: Grid, colours: Mapping[str, str], score: PredictionScore, *, lines: int) -> None:
    """The score over all panels and below it the activations."""
    phrases = ["all: " + _phrases(score)[0] + " (median)", *_phrases(score)[1:]]
    each = math.ceil(len(phrases) / lines)
    texts = [" · ".join(phrases[first : first + each]) for first in range(0, len(phrases), each)]
    style = {"weight": "bold"} if lines == 1 else {"size": theme.NARROW.font - 0.8}
    for place, text in enumerate(texts):
        y = 1 - (0.05 + 0.17 * place) / grid.height
        grid.figure.text(0.5, y, text, ha="center", va="top", **style)
    grid.figure.legend(
        handles=[_handle(colour, word("activation", name)) for name, colour in colours.items()],
        loc="upper center", ncols=3 if lines > 1 else 7, borderaxespad=0.0, columnspacing=1.0,
        handletextpad=0.2, labelspacing=0.25, borderpad=0.1,
        bbox_to_anchor=(0.5, 1 - (0.09 + 0.17 * len(texts)) / grid.height),
    )  # fmt: skip


def _handle(colour: str, label: str) -> Line2D:
    return Line2D([], [], linestyle="none", marker="o", markersize=5.5, color=colour, label=label)


def finding(data: pl.DataFrame, limits: Limits) -> str:
    """The figure's title: what it shows."""
    score = prediction_score(data)
    return f"Theory predicts G to {number(score.off)} decades (median) at {count(score.cells, 'point')}"


def reading(data: pl.DataFrame, limits: Limits) -> str:
    """How to read the figure, in words."""
    infinite = len(data) - len(data.filter(pl.all_horizontal(pl.col(_MEASURED, _PREDICTED).is_finite())))
    edge = f" Diamonds at the frame ({infinite:,}): a gradient of exactly zero." if infinite else ""
    within = "" if data["within"].null_count() == len(data) else (
        " Within 2 sd: the share that lies at most two predicted standard deviations away, about 95 % where "
        "the predicted spread over seeds is right; it is known for plain networks with independent weights."
    )  # fmt: skip
    return (
        "Each dot is a point of the sweep: across, the G that mean-field theory predicts from the "
        "settings and the inputs alone, at this depth and width; up, the median G that was measured. On the "
        "diagonal both are equal. The pale cross is where either is stable, its middle where both are. The "
        f"axes are straight up to about {number(limits.stable_decades)} decades and logarithmic beyond. "
        "In each panel: the median distance between the two and the share with the same regime, points near "
        f"a limit included.{within}{edge}{panels_shown(data)}"
    )


def alt(data: pl.DataFrame, limits: Limits) -> str:
    """The figure for who cannot see it: the score of each panel."""
    parts = [
        f"{', '.join(filter(None, _heading(rows)))}: {', '.join(_phrases(prediction_score(rows)))}"
        for _, rows in data.group_by("panel", maintain_order=True)
    ]
    return f"Measured against predicted G. {'; '.join(parts)}."


def _heading(rows: pl.DataFrame) -> Sequence[str]:
    return rows["heading"][0], rows["subheading"][0]


PLOT = Plot(
    name="measured_against_predicted",
    title="Measured against predicted G",
    section="theory",
    table=table,
    draw=draw,
    reading=reading,
    alt=alt,
    absent="No point of this run has both a measured G and one that theory predicts.",
    finding=finding,
)
