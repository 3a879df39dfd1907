"""Ranks: pairs of parameters, each trial in the colour of the rank of its final loss, diverged ones last."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import polars as pl
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gradatlas.analysis.figures import theme
from gradatlas.analysis.figures.grid import panel_grid
from gradatlas.analysis.figures.plot import Drawing, Plot
from gradatlas.analysis.figures.sampled import sampled
from gradatlas.analysis.figures.settings import label, scale, varied
from gradatlas.study.regimes import DEFAULT_LIMITS, Limits

_MOST_TRIALS, _MOST_PAIRS = 900, 6
_FIRST = ("sigma_w", "learning_rate", "depth", "clip_norm", "batch_size", "width")
_COLOURS = "cividis"


def table(trials: pl.LazyFrame, limits: Limits = DEFAULT_LIMITS) -> pl.DataFrame:
    """One row per sampled trained trial and pair of parameters: both places, `rank` from 0 (best) to 1.

    Trials that diverged or failed share the last rank.
    """
    names = [name for name in _FIRST if name in varied(trials)]
    if len(names) < 2:
        return pl.DataFrame()
    trained = trials.filter(pl.col("outcome").is_not_null())
    frame = sampled(trained, [*names, "final_loss"], _MOST_TRIALS)
    if frame.is_empty():
        return pl.DataFrame()
    loss = pl.col("final_loss").fill_nan(None).fill_null(float("inf"))
    ranked = frame.with_columns(rank=(loss.rank("average") - 1) / max(1, len(frame) - 1))
    places = {name: scale(name, frame[name]) for name in names}
    parts = []
    for first, second in list(combinations(names, 2))[:_MOST_PAIRS]:
        columns: dict[str, Any] = {}
        for axis, name in (("x", first), ("y", second)):
            ticks = places[name].ticks
            columns[axis] = pl.Series(places[name].positions, dtype=pl.Float64)
            columns[f"{axis}_name"] = pl.lit(name)
            columns[f"{axis}_ticks"] = pl.lit([place for place, _ in ticks], pl.List(pl.Float64))
            columns[f"{axis}_tick_names"] = pl.lit([text for _, text in ticks], pl.List(pl.String))
        parts.append(ranked.select("trial", "outcome", "rank").with_columns(**columns))
    return pl.concat(parts)


def draw(drawing: Drawing) -> Figure:
    """A panel per pair of parameters, a dot per trial in the colour of its rank."""
    data, layout = drawing.table, drawing.layout
    pairs = list(data.group_by("x_name", "y_name", maintain_order=True))
    titles = [(f"↑ {label(str(y))}", "") for (x, y), _ in pairs]
    narrow = layout is theme.NARROW
    columns = 1 if narrow else min(3, len(pairs))
    grid = panel_grid(layout, titles, columns, top=0.62, height=1.8, foot=0.3, left=0.72, gap=0.55)
    colours = ScalarMappable(Normalize(0, 1), _COLOURS)
    for axes, ((x, _), rows) in zip(grid.panels, pairs, strict=True):
        lost = rows["outcome"].is_in(["diverged", "failed"])
        kept, gone = rows.filter(~lost), rows.filter(lost)
        axes.scatter(
            kept["x"], kept["y"], c=kept["rank"], cmap=_COLOURS, vmin=0, vmax=1, s=9, lw=0, rasterized=True
        )
        axes.scatter(gone["x"], gone["y"], marker="X", s=16, color="#c23b3a", lw=0, rasterized=True)
        axes.set(xlim=(-0.05, 1.05), ylim=(-0.07, 1.07), xlabel="", ylabel="")
        axes.set_xticks(rows["x_ticks"][0].to_list(), rows["x_tick_names"][0].to_list())
        axes.set_yticks(rows["y_ticks"][0].to_list(), rows["y_tick_names"][0].to_list())
        axes.annotate(
            f"{label(str(x))} →", (0.5, 0), xytext=(0, -20), ha="center", va="top",
            xycoords="axes fraction", textcoords="offset points", size=layout.font - 1.5,
        )  # fmt: skip
    box = (0.5 - 1.3 / grid.width, 1 - 0.3 / grid.height, 2.6 / grid.width, 0.12 / grid.height)
    bar = grid.figure.colorbar(colours, cax=grid.figure.add_axes(box), orientation="horizontal")
    bar.set_ticks([0, 1], labels=["best loss", "worst loss"])
    bar.ax.tick_params(length=0, pad=2)
    grid.figure.legend(
        handles=[_lost_handle()], loc="upper right",
        bbox_to_anchor=(1.0, 1.0), borderaxespad=0.25, handletextpad=0.1,
    )  # fmt: skip
    return grid.figure


def _lost_handle() -> Line2D:
    handle = theme.outcome_handle("diverged", "diverged", size=6)
    handle.set_color("#c23b3a")
    handle.set_markerfacecolor("#c23b3a")
    return handle


def reading(data: pl.DataFrame, limits: Limits) -> str:
    """How to read the figure, in words."""
    return (
        "Every panel has the same trained trials against another pair of parameters. Dark blue: among the "
        "best final losses; yellow: among the worst; red crosses: diverged. A dark patch is a pair of "
        "settings that works together; where only its shape in both directions matters, the two interact. "
        f"{data['trial'].n_unique():,} trials, the diverged ones always among them (at most half)."
    )


def alt(data: pl.DataFrame, limits: Limits) -> str:
    """The figure for who cannot see it: its pairs."""
    pairs = data.select("x_name", "y_name").unique(maintain_order=True).rows()
    names = ", ".join(f"{label(x)} and {label(y)}" for x, y in pairs)
    return f"Ranks of the final loss over pairs of parameters: {names}."


PLOT = Plot(
    name="ranks",
    title="Which settings work together",
    section="importance",
    table=table,
    draw=draw,
    reading=reading,
    alt=alt,
    absent="The run has no trained trials with two or more varied numbers.",
)
