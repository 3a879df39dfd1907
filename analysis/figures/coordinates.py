"""Parallel coordinates: each trial a line through its parameters to its gradient and outcome."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from gradatlas.analysis.colours import INK, REGIME_COLOURS
from gradatlas.analysis.figures import theme
from gradatlas.analysis.figures.plot import Drawing, Plot
from gradatlas.analysis.figures.sampled import sampled
from gradatlas.analysis.figures.settings import label, scale, varied
from gradatlas.analysis.words import shortened
from gradatlas.study.regimes import DEFAULT_LIMITS, REGIMES, Limits

_MOST_TRIALS, _MOST_AXES = 400, 8
_MOST_DECADES = 8.0


def table(trials: pl.LazyFrame, limits: Limits = DEFAULT_LIMITS) -> pl.DataFrame:
    """One row per sampled trial and axis: its place from 0 to 1, and the axis's ticks."""
    names = varied(trials)[:_MOST_AXES]
    if not names:
        return pl.DataFrame()
    usable = trials.filter(pl.col("regime").is_not_null())
    frame = sampled(usable, [*names, "gradient_decades"], _MOST_TRIALS)
    if frame.is_empty():
        return pl.DataFrame()
    columns = {name: scale(name, frame[name]) for name in names}
    keep = frame.select("trial", "regime", "outcome")
    parts = [
        _axis(keep, axis, label(name), found.positions, found.ticks)
        for axis, (name, found) in enumerate(columns.items())
    ]
    g = frame["gradient_decades"].clip(-_MOST_DECADES, _MOST_DECADES).to_numpy()
    ticks = [(0.0, "≤ −8"), (0.5, "0"), (1.0, "≥ +8")]
    parts.append(_axis(keep, len(names), "gradient G", (g / _MOST_DECADES + 1) / 2, ticks))
    return pl.concat(parts).sort("trial", "axis")


def _axis(
    keep: pl.DataFrame, axis: int, name: str, places: np.ndarray, ticks: list[tuple[float, str]]
) -> pl.DataFrame:
    return keep.with_columns(
        axis=pl.lit(axis, pl.Int64), name=pl.lit(name), place=pl.Series(places, dtype=pl.Float64),
        ticks=pl.lit([place for place, _ in ticks], pl.List(pl.Float64)),
        tick_names=pl.lit([text for _, text in ticks], pl.List(pl.String)),
    )  # fmt: skip


def draw(drawing: Drawing) -> Figure:
    """Axes side by side, a line per trial in the colour of its regime, diverged ones black and on top."""
    data, layout = drawing.table, drawing.layout
    heads = data.unique("axis").sort("axis")
    count = len(heads)
    width = layout.width
    narrow = layout is theme.NARROW
    height = 3.7
    figure = Figure(figsize=(width, height))
    left, right = (0.65 if narrow else 0.4), 0.7  # room for slanted names and for the last axis' ticks
    axes = figure.add_axes((left / width, 0.75 / height, 1 - (left + right) / width, 2.5 / height))
    room = 72 * (width - left - right) / (count - 0.84)  # points between two axes
    lines = {key[0]: rows for key, rows in data.group_by("trial", maintain_order=True)}
    jitter = {trial: 0.03 * (place % 13 / 12 - 0.5) for place, trial in enumerate(lines)}
    groups: dict[str, list[np.ndarray]] = {name: [] for name in (*REGIMES, "diverged")}
    for trial, rows in lines.items():
        group = "diverged" if rows["outcome"][0] == "diverged" else rows["regime"][0]
        # Choices put many lines through one place: spread a little, they can be told apart.
        groups[group].append(np.column_stack([rows["axis"], rows["place"] + jitter[trial]]))
    order = ("stable", "vanishing", "exploding", "diverged")
    palette = REGIME_COLOURS | {"diverged": "#000000"}
    colours = [palette[name] for name in order for _ in groups[name]]
    collection = LineCollection(
        [line for name in order for line in groups[name]], colors=colours, linewidths=0.7, alpha=0.45
    )
    axes.add_collection(collection)
    _draw_axes(axes, heads, layout, narrow=narrow, room=room)
    axes.set(xlim=(-0.08, count - 0.92), ylim=(-0.06, 1.06))
    axes.axis("off")
    handles = [theme.line_handle(REGIME_COLOURS[name], name) for name in REGIMES]
    handles.append(theme.line_handle("black", "diverged in training"))
    figure.legend(
        handles=handles,
        loc="upper center",
        ncols=2 if narrow else 4,
        bbox_to_anchor=(0.5, 1.0),
        borderaxespad=0.2,
    )
    return figure


def _draw_axes(axes: Axes, heads: pl.DataFrame, layout: theme.Layout, *, narrow: bool, room: float) -> None:
    last = len(heads) - 1
    size = layout.font - (2.8 if narrow else 1.8)
    most = min(12, int((room - 3) / (0.6 * size)))  # a letter is about 0.6 of its size wide
    for row in heads.iter_rows(named=True):
        x = row["axis"]
        axes.plot([x, x], [0, 1], color=INK, linewidth=0.9, zorder=5)
        box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6}
        for place, text in zip(row["ticks"], row["tick_names"], strict=True):
            axes.annotate(
                shortened(text, most), (x, place), xytext=(3, 0), textcoords="offset points", va="center",
                size=size, bbox=box, zorder=6, parse_math=False,
            )  # fmt: skip
        axes.annotate(
            row["name"], (x, -0.06), xytext=(0, -4), textcoords="offset points", va="top",
            rotation=28 if narrow else 0, size=layout.font - (1.6 if narrow else 0.8), weight="bold",
            ha="right" if narrow else {0: "left", last: "right"}.get(x, "center"),
            parse_math=False, annotation_clip=False,
        )  # fmt: skip


def reading(data: pl.DataFrame, limits: Limits) -> str:
    """How to read the figure, in words."""
    return (
        "A line is a trial; follow it from axis to axis through its settings to its gradient on the right. "
        "Where lines of one colour pass through the same place of an axis, that setting makes that regime. "
        f"Black trials diverged in training. Shown are {data['trial'].n_unique():,} trials, chosen at "
        "random, with the diverged ones always among them (at most half)."
    )


def alt(data: pl.DataFrame, limits: Limits) -> str:
    """The figure for who cannot see it: its axes and how many lines have which colour."""
    trials = data.unique("trial")
    counts = ", ".join(f"{int((trials['regime'] == name).sum())} {name}" for name in REGIMES)
    names = ", ".join(data.unique("axis").sort("axis")["name"])
    lost = int((trials["outcome"] == "diverged").sum())
    return f"Parallel coordinates over {names}: {counts}, {lost} diverged."


PLOT = Plot(
    name="parallel_coordinates",
    title="Every setting at once",
    section="importance",
    table=table,
    draw=draw,
    reading=reading,
    alt=alt,
    absent="The run varies no parameter of trials with a measured gradient.",
)
