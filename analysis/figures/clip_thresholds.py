"""Clip threshold against training outcome, within each regime of the initial gradient."""

from __future__ import annotations

import math

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradatlas.analysis.colours import OUTCOME_COLOURS, OUTCOME_MARKERS, REGIME_TINTS
from gradatlas.analysis.figures import theme
from gradatlas.analysis.figures.grid import label_outer, panel_grid
from gradatlas.analysis.figures.plot import Drawing, Plot
from gradatlas.analysis.measures.regions import wilson
from gradatlas.analysis.words import number
from gradatlas.study.regimes import DEFAULT_LIMITS, OUTCOMES, REGIMES, Limits

KINDS = {"clip_norm": "norm clipping", "clip_value": "value clipping"}
_MAX_THRESHOLDS = 8  # more distinct ones are put into decades


def table(trials: pl.LazyFrame, limits: Limits = DEFAULT_LIMITS) -> pl.DataFrame:
    """Per kind of clipping, regime, threshold and outcome: `count` of `n`, the share, its 95 % interval."""
    trained = trials.filter(pl.col("outcome").is_not_null(), pl.col("regime").is_not_null())
    frame = trained.select(*KINDS, "regime", "outcome").collect()
    kinds = [kind for kind in KINDS if frame[kind].n_unique() > 1]
    return pl.concat([_of_kind(frame, kind) for kind in kinds]) if kinds else pl.DataFrame()


def _of_kind(frame: pl.DataFrame, kind: str) -> pl.DataFrame:
    """The rows of one kind; thresholds from off to the tightest."""
    order, names = thresholds(frame[kind])
    named = frame.with_columns(order=order, threshold=names)
    rows = []
    for (place, name, label), group in named.group_by("order", "threshold", "regime"):
        for outcome in OUTCOMES:
            hits, n = int((group["outcome"] == outcome).sum()), len(group)
            low, high = wilson(hits, n)
            rows.append((kind, label, place, name, outcome, hits, n, hits / n, low, high))
    columns = ["kind", "regime", "order", "threshold", "outcome", "count", "n", "share", "low", "high"]
    found = pl.DataFrame(rows, schema=columns, orient="row")
    return found.sort(
        "kind",
        pl.col("regime").replace_strict(REGIMES, range(len(REGIMES))),
        "order",
        pl.col("outcome").replace_strict(OUTCOMES, range(len(OUTCOMES))),
    )


def thresholds(values: pl.Series) -> tuple[pl.Series, pl.Series]:
    """(order, name) of each value: off first, then from the loosest to the tightest."""
    if values.drop_nulls().n_unique() > _MAX_THRESHOLDS:
        decade = values.log10().floor()
        names = [
            "off" if power is None else f"{number(10.0**power)}–{number(10.0 ** (power + 1))}"
            for power in decade
        ]
        keys = [-math.inf if power is None else -power for power in decade]
    else:
        names = ["off" if value is None else number(value) for value in values]
        keys = [-math.inf if value is None else -value for value in values]
    places = {key: place for place, key in enumerate(sorted(set(keys)))}
    return pl.Series([places[key] for key in keys], dtype=pl.Int64), pl.Series(names, dtype=pl.String)


def draw(drawing: Drawing) -> Figure:
    """A panel per kind and regime: shares with intervals over the thresholds."""
    data, layout = drawing.table, drawing.layout
    panels = list(data.group_by("kind", "regime", maintain_order=True))
    narrow = layout is theme.NARROW
    kinds = data["kind"].n_unique()
    headings = [
        (f"{regime} gradients", KINDS[str(kind)] if kinds > 1 else "") for (kind, regime), _ in panels
    ]
    columns = 1 if narrow else 3
    grid = panel_grid(layout, headings, columns, top=0.4, height=1.7 if narrow else 2.3, left=0.72, foot=0.3)
    outcomes = [name for name in OUTCOMES if data.filter(pl.col("outcome") == name)["count"].sum()]
    for place, (axes, ((_, regime), rows)) in enumerate(zip(grid.panels, panels, strict=True)):
        _draw_panel(axes, rows, outcomes)
        axes.patch.set_facecolor(REGIME_TINTS[str(regime)])
        axes.tick_params(labelleft=place % grid.columns == 0)
    label_outer(grid, "clip threshold, loosest to tightest  (n trials)", "share of trials", inner_ticks=True)
    grid.figure.legend(
        handles=[theme.outcome_handle(name, name, size=7) for name in outcomes], loc="upper center",
        ncols=len(outcomes), bbox_to_anchor=(0.5, 1.0), borderaxespad=0.3,
    )  # fmt: skip
    return grid.figure


def _draw_panel(axes: Axes, rows: pl.DataFrame, outcomes: list[str]) -> None:
    ticks = rows.select("order", "threshold", "n").unique().sort("order")
    for place, outcome in enumerate(outcomes):
        line = rows.filter(pl.col("outcome") == outcome)
        x = line["order"].to_numpy() + 0.13 * (place - (len(outcomes) - 1) / 2)
        share, low, high = (100 * line[name].to_numpy() for name in ("share", "low", "high"))
        colour = OUTCOME_COLOURS[outcome]
        face = "white" if outcome == "stalled" else colour
        axes.plot(x, share, color=colour, linewidth=0.8, alpha=0.6, zorder=2)
        axes.errorbar(
            x, share, yerr=[share - low, high - share], color=colour, linestyle="none", linewidth=1.4,
            marker=OUTCOME_MARKERS[outcome], markersize=6, markerfacecolor=face, zorder=3,
        )  # fmt: skip
    axes.set_xticks(
        ticks["order"], [f"{name}\n({n})" for name, n in ticks.select("threshold", "n").iter_rows()]
    )
    axes.set(xlim=(ticks["order"].min() - 0.5, ticks["order"].max() + 0.5), ylim=(-4, 104))  # type: ignore[operator]
    axes.set_yticks([0, 25, 50, 75, 100], ["0 %", "25 %", "50 %", "75 %", "100 %"])


def reading(data: pl.DataFrame, limits: Limits) -> str:
    """How to read the figure, in words."""
    return (
        "A panel per regime of the gradient before training; from left to right the clipping gets "
        "tighter. Marks are the share of trials with each outcome, bars its 95 % Wilson interval: where "
        "bars overlap widely, the run cannot tell the thresholds apart. Clipping acts in training "
        "alone: the regime is that of the gradient before it."
    )


def alt(data: pl.DataFrame, limits: Limits) -> str:
    """The figure for who cannot see it: the share that learned at each threshold."""
    learned = data.filter(pl.col("outcome") == "learned")
    parts = [
        f"{row['regime']}, {KINDS[row['kind']]} {row['threshold']}: {100 * row['share']:.0f} %"
        for row in learned.iter_rows(named=True)
    ]
    return f"Share of trials that learned by clip threshold: {'; '.join(parts)}."


PLOT = Plot(
    name="clipping",
    title="Does clipping the gradient help?",
    section="mitigations",
    table=table,
    draw=draw,
    reading=reading,
    alt=alt,
    absent="The run has no trained trials with more than one clip threshold, so clipping cannot be compared.",
)
