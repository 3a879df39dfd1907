"""The critical weight scale of each setting: measured with its interval, predicted, and at infinite depth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.typing import ColorType

from gradatlas.analysis.colours import INK
from gradatlas.analysis.figures import theme
from gradatlas.analysis.figures.grid import set_log2_axis
from gradatlas.analysis.figures.plot import Drawing, Plot
from gradatlas.analysis.figures.settings import MOST_SETTINGS, named
from gradatlas.analysis.measures.boundaries import boundaries
from gradatlas.analysis.words import number, span
from gradatlas.study.regimes import DEFAULT_LIMITS, Limits

_PREDICTED, _THEORY = "D", "|"
_TICKS = (0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 0.8, 1, 1.2, 1.4, 1.7, 2, 2.5, 3, 4, 5, 7, 10, 15, 20, 30, 50, 100)


def table(trials: pl.LazyFrame, limits: Limits = DEFAULT_LIMITS) -> pl.DataFrame:
    """The boundaries that the data support, one row per setting and band of depth, with names."""
    found = boundaries(trials, limits)
    columns = found.columns[: found.columns.index("depth_low")]
    known = found.filter(pl.col("critical_sigma_w").is_not_null()).sort(
        "activation", *(name for name in columns if name != "activation"), "depth_low"
    )
    return named(known, columns)


def draw(drawing: Drawing) -> Figure:
    """A row per setting; in it a mark with its interval for each band of depth, shallow on top."""
    data, layout = drawing.table, drawing.layout
    bands = data.select("depth_low", "depth_high").unique().sort("depth_low").rows()
    colours = dict(zip(bands, sns.color_palette("viridis_r", len(bands) + 1)[1:], strict=True))
    names = data.select("panel", "heading", "subheading").unique().sort("panel").rows()
    step = max(0.34, 0.12 * len(bands))
    top, bottom = 0.8, 0.55
    narrow = layout is theme.NARROW
    width = layout.width if narrow else 0.82 * layout.width
    height = top + bottom + step * len(names)
    left = 1.35 if narrow else 3.6
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes(
        (left / width, bottom / height, 1 - (left + 0.2) / width, step * len(names) / height)
    )
    rows = {panel: place for place, (panel, _, _) in enumerate(names)}
    for row in data.iter_rows(named=True):
        band = bands.index((row["depth_low"], row["depth_high"]))
        y = rows[row["panel"]] + 0.7 * ((band + 0.5) / len(bands) - 0.5)
        _draw_row(axes, row, y, colours[bands[band]])
    _set_axes(axes, data, [theme.literal(_name(heading, sub, narrow=narrow)) for _, heading, sub in names])
    _draw_legend(figure, colours)
    return figure


def _name(heading: str, sub: str, *, narrow: bool) -> str:
    if not sub:
        return heading
    short = sub if len(sub) <= 42 else sub[:40] + "…"
    return f"{heading}\n{sub[:20]}" if narrow else f"{heading} · {short}"


def _draw_row(axes: Axes, row: Mapping[str, Any], y: float, colour: ColorType) -> None:
    x, low, high = (np.log2(row[name]) for name in ("critical_sigma_w", "low", "high"))
    axes.plot([low, high], [y, y], color=colour, linewidth=2.0, solid_capstyle="butt", zorder=2)
    axes.plot([x], [y], "o", color=colour, markersize=4.5, zorder=3)
    if row["predicted_sigma_w"] is not None:
        axes.plot(
            [np.log2(row["predicted_sigma_w"])], [y], _PREDICTED, markerfacecolor="none",
            markeredgecolor=INK, markersize=4.5, markeredgewidth=0.8, zorder=4,
        )  # fmt: skip
    if row["theory_sigma_w"] is not None:
        axes.plot([np.log2(row["theory_sigma_w"])], [y], _THEORY, color=INK, markersize=9, zorder=1)


def _set_axes(axes: Axes, data: pl.DataFrame, names: list[str]) -> None:
    values = np.concatenate(
        [
            data[name].drop_nulls().to_numpy()
            for name in ("low", "high", "predicted_sigma_w", "theory_sigma_w")
        ]
    )
    low, high = float(values.min()) / 1.15, float(values.max()) * 1.15
    axes.set(xlim=(np.log2(low), np.log2(high)), ylim=(len(names) - 0.5, -0.5))
    set_log2_axis(axes.xaxis, low, high, lambda tick: f"{tick:.3g}")
    if high / low < 8:
        ticks = [tick for tick in _TICKS if low <= tick <= high]
        axes.set_xticks(np.log2(ticks), [f"{tick:g}" for tick in ticks])
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel(r"critical weight scale $\sigma_w$")
    axes.grid(axis="x", color="#e4e5e7", linewidth=0.6)
    axes.set_axisbelow(True)
    for place in range(1, len(names)):
        axes.axhline(place - 0.5, color="#e4e5e7", linewidth=0.6)


def _draw_legend(figure: Figure, colours: Mapping[tuple[int, int], ColorType]) -> None:
    bands = [theme.line_handle(colour, f"{span(*band)} layers") for band, colour in colours.items()]
    marks = [
        Line2D([], [], marker="o", color=INK, markersize=4.5, label="measured, 95 %"),
        Line2D([], [], marker=_PREDICTED, markerfacecolor="none", color=INK, ls="none", label="predicted"),
        Line2D([], [], marker=_THEORY, color=INK, ls="none", markersize=9, label="χ = 1"),
    ]
    height = figure.get_size_inches()[1]
    narrow = figure.get_size_inches()[0] < 6
    for handles, at in ((marks, 1.0), (bands, 1 - 0.26 / height)):
        figure.add_artist(
            figure.legend(
                handles=handles, loc="upper center", ncols=3 if narrow else 6, bbox_to_anchor=(0.5, at),
                borderaxespad=0.3, columnspacing=1.0, handletextpad=0.4, handlelength=1.3,
            )
        )  # fmt: skip


def reading(data: pl.DataFrame, limits: Limits) -> str:
    """How to read the figure, in words."""
    total = data["panels"][0]
    more = f" The first {MOST_SETTINGS} of {total} settings are shown." if total > MOST_SETTINGS else ""
    return (
        "The critical weight scale is where the gradient turns from vanishing (left of it) to exploding "
        "(right of it). A dot is the measured one of a setting and band of depth, the bar its 95 % interval; "
        "the diamond is what theory predicts for these very networks, at their depth and width, the thin "
        "stroke where χ = 1, for infinitely deep and wide ones. A setting without a mark has no critical "
        f"scale among the weights tried, or too few networks to tell.{more}"
    )


def alt(data: pl.DataFrame, limits: Limits) -> str:
    """The figure for who cannot see it: each critical scale and its interval."""
    parts = [
        f"{' · '.join(filter(None, (row['heading'], row['subheading'])))}, "
        f"{span(row['depth_low'], row['depth_high'])} layers: {number(row['critical_sigma_w'])} "
        f"({number(row['low'])} to {number(row['high'])})"
        for row in data.iter_rows(named=True)
    ]
    return f"Critical weight scales: {'; '.join(parts)}."


PLOT = Plot(
    name="critical_gain",
    title="The critical weight scale of each activation",
    section="boundaries",
    table=table,
    draw=draw,
    reading=reading,
    alt=alt,
    absent="The data support no critical weight scale: no setting has both vanishing and exploding networks, "
    "enough of them and parted by σ_w.",
)
