"""Importance of each parameter for the gradient and for the outcome, as bars."""

from __future__ import annotations

import polars as pl
import seaborn as sns
from matplotlib.figure import Figure

from gradatlas.analysis.colours import OUTCOME_COLOURS
from gradatlas.analysis.figures import theme
from gradatlas.analysis.figures.plot import Drawing, Plot
from gradatlas.analysis.figures.settings import label
from gradatlas.analysis.measures.importance import importances
from gradatlas.analysis.words import percent
from gradatlas.study.regimes import DEFAULT_LIMITS, Limits

_TITLES = {"gradient": "for the gradient (|G|)", "outcome": "for the final loss"}
_COLOURS = {"gradient": "#1c5a9c", "outcome": OUTCOME_COLOURS["learned"]}
_MOST = 12


def table(trials: pl.LazyFrame, limits: Limits = DEFAULT_LIMITS) -> pl.DataFrame:
    """`analysis.measures.importance.importances`, the largest 12 of each target."""
    found = importances(trials, limits)
    return found.filter(pl.col("importance").is_finite()).group_by("target", maintain_order=True).head(_MOST)


def draw(drawing: Drawing) -> Figure:
    """A panel of bars per target."""
    data, layout = drawing.table, drawing.layout
    targets = list(data.group_by("target", maintain_order=True))
    narrow = layout is theme.NARROW
    columns = 1 if narrow else 2
    most = max(len(rows) for _, rows in targets)
    panel, left, head = 0.27 * most + 0.1, 1.5, 0.36
    rows_of_panels = -(-len(targets) // columns)
    width = layout.width if narrow else 0.85 * layout.width
    height = rows_of_panels * (panel + head + 0.3) + 0.1
    figure = Figure(figsize=(width, height))
    for place, ((target,), rows) in enumerate(targets):
        line, column = divmod(place, columns)
        x = column * width / columns + left
        y = height - (line + 1) * (panel + head + 0.3) + 0.3
        axes = figure.add_axes(
            (x / width, y / height, (width / columns - left - 0.5) / width, panel / height)
        )
        shown = rows.with_columns(pl.col("parameter").map_elements(label, return_dtype=pl.String)).to_pandas()
        sns.barplot(shown, x="importance", y="parameter", ax=axes, color=_COLOURS[str(target)], saturation=1)
        for step, value in enumerate(rows["importance"]):
            axes.annotate(
                percent(value), (value, step), xytext=(3, 0), textcoords="offset points", va="center",
                size=layout.font - 1,
            )  # fmt: skip
        axes.set(xlabel="", ylabel="", xlim=(0, 1.15 * max(0.05, float(rows["importance"].max()))))  # type: ignore[arg-type]
        axes.set_xticks([])
        axes.set_title(
            _TITLES.get(str(target), str(target)), loc="left", size=layout.font + 0.5, weight="bold"
        )
        sns.despine(ax=axes, bottom=True)
    return figure


def reading(data: pl.DataFrame, limits: Limits) -> str:
    """How to read the figure, in words."""
    return (
        f"How much each parameter decides whether a trial is among the best tenth ({data['method'][0]}): for "
        "the gradient the trials nearest to G = 0, for training those with the smallest final loss, diverged "
        "ones counted as the worst. The bars of a panel add up to 100 %. They hold for the ranges of this "
        "sweep: a parameter swept over a narrow range looks unimportant."
    )


def alt(data: pl.DataFrame, limits: Limits) -> str:
    """The figure for who cannot see it: the shares."""
    parts = [
        f"{target}: "
        + ", ".join(
            f"{name} {percent(value)}" for name, value in rows.select("parameter", "importance").iter_rows()
        )
        for (target,), rows in data.group_by("target", maintain_order=True)
    ]
    return f"Importance of the parameters. {'; '.join(parts)}."


PLOT = Plot(
    name="importance",
    title="What matters most",
    section="importance",
    table=table,
    draw=draw,
    reading=reading,
    alt=alt,
    absent="Too few trials, or nothing varied, so no parameter's importance can be told.",
)
