"""Learning rate × weight scale: what learned, beside the gradient's regime before training."""

from __future__ import annotations

import polars as pl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradatlas.analysis.colours import OUTCOME_COLOURS, REGIME_COLOURS
from gradatlas.analysis.figures import theme
from gradatlas.analysis.figures.binned import draw_heat, edge_ticks, inward, log_bins
from gradatlas.analysis.figures.grid import Grid, panel_grid
from gradatlas.analysis.figures.plot import Drawing, Plot
from gradatlas.analysis.words import percent, word
from gradatlas.study.regimes import DEFAULT_LIMITS, REGIMES, Limits

_LEAST_RATES = 3
_MOST_ROWS = 4
_LEARNED = sns.light_palette(OUTCOME_COLOURS["learned"], as_cmap=True)
_DIVERGED = sns.light_palette("black", as_cmap=True)


def table(trials: pl.LazyFrame, limits: Limits = DEFAULT_LIMITS) -> pl.DataFrame:
    """Per activation, bin of the learning rate (`column`) and of σ_w (`row`): `n` and shares.

    The shares of the outcomes learned and diverged, and of the regimes before training. `rates` and `scales`
    hold the bins' edges.
    """
    usable = trials.filter(
        pl.col("outcome").is_not_null(), pl.col("sigma_w") > 0, pl.col("learning_rate") > 0
    )
    frame = usable.select("activation", "learning_rate", "sigma_w", "outcome", "regime").collect()
    if frame["learning_rate"].n_unique() < _LEAST_RATES or frame["sigma_w"].n_unique() < 2:
        return pl.DataFrame()
    column, rates = log_bins(frame["learning_rate"])
    row, scales = log_bins(frame["sigma_w"])
    most = frame["activation"].value_counts().sort(-pl.col("count").cast(pl.Int64), "activation")
    return (
        frame.with_columns(column=column, row=row)
        .filter(pl.col("activation").is_in(most["activation"].head(_MOST_ROWS).to_list()))
        .group_by("activation", "row", "column")
        .agg(
            n=pl.len(),
            **{name: (pl.col("outcome") == name).mean() for name in ("learned", "diverged")},
            **{name: (pl.col("regime") == name).sum() for name in REGIMES},
        )
        .with_columns(rates=pl.lit(rates), scales=pl.lit(scales))
        .sort("activation", "row", "column")
    )


def draw(drawing: Drawing) -> Figure:
    """Per activation a map of what learned, one of what diverged, and the regimes before training."""
    data, layout = drawing.table, drawing.layout
    rates, scales = data["rates"][0].to_list(), data["scales"][0].to_list()
    shape = (int(data["row"].max()) + 1, int(data["column"].max()) + 1)  # type: ignore[arg-type]
    groups = list(data.group_by("activation", maintain_order=True))
    names = [
        (word("activation", activation), sub)
        for (activation,), _ in groups
        for sub in ("learned", "diverged", "gradient before")
    ]
    grid = panel_grid(layout, names, 3, top=0.3, height=1.5 if layout is theme.NARROW else 2.0, foot=0.16)
    for place, (_, rows) in enumerate(groups):
        learned, diverged, before = grid.panels[3 * place : 3 * place + 3]
        draw_heat(learned, rows, "learned", shape, cmap=_LEARNED, low=0, high=1)
        draw_heat(diverged, rows, "diverged", shape, cmap=_DIVERGED, low=0, high=1)
        _draw_regimes(before, rows, shape[0])
        for axes in (learned, diverged):
            edge_ticks(axes.xaxis, rates, most=3 if layout is theme.NARROW else 5)
        for axes in (learned, diverged, before):
            axes.set(xlabel="", ylabel="")
            edge_ticks(axes.yaxis, scales)
            axes.tick_params(labelleft=axes is learned)
    _label(grid)
    return grid.figure


def _draw_regimes(axes: Axes, rows: pl.DataFrame, bins: int) -> None:
    totals = rows.group_by("row").agg(pl.col(*REGIMES).sum()).sort("row")
    count = totals.select(pl.sum_horizontal(*REGIMES)).to_series()
    left = pl.Series([0.0] * len(totals))
    for name in REGIMES:
        share = (totals[name] / count).fill_nan(0.0)
        axes.barh(totals["row"] + 0.5, share, left=left, height=0.96, color=REGIME_COLOURS[name], linewidth=0)
        left = left + share
    axes.set(xlim=(0, 1), ylim=(0, bins))
    axes.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    inward(axes.xaxis)


def _label(grid: Grid) -> None:
    figure = grid.figure
    figure.text(0.36, 0.07 / grid.height, "learning rate", ha="center", va="bottom")
    figure.text(0.84, 0.07 / grid.height, "share of trials", ha="center", va="bottom")
    figure.text(0.06 / grid.width, 0.5, r"weight scale $\sigma_w$", rotation=90, ha="left", va="center")
    figure.legend(
        handles=[theme.patch_handle(REGIME_COLOURS[name], name) for name in REGIMES],
        loc="upper right", ncols=3, bbox_to_anchor=(1.0, 1.0), borderaxespad=0.25, columnspacing=1.0,
    )  # fmt: skip


def reading(data: pl.DataFrame, limits: Limits) -> str:
    """How to read the figure, in words."""
    return (
        "Left: the share of the trials with a learning rate and weight scale that learned (the greener the "
        "more); middle: that diverged (the blacker the more); grey: no trial there. Right, at the same "
        "weight scales: the regime of the gradient before training. A stable gradient widens the range of "
        "learning rates that work; where no learning rate works, the weight scale is to blame. Depths and "
        f"other settings are pooled. {data['n'].sum():,} trials."
    )


def alt(data: pl.DataFrame, limits: Limits) -> str:
    """The figure for who cannot see it: the best bin of each activation."""
    best = data.sort("learned", "n", descending=True).group_by("activation", maintain_order=True).first()
    parts = [
        f"{word('activation', row['activation'])}: up to {percent(row['learned'])} learned, at learning "
        f"rates from {row['rates'][row['column']]:.2g} and weight scales from {row['scales'][row['row']]:.2g}"
        for row in best.iter_rows(named=True)
    ]
    return f"Share of trials that learned by learning rate and weight scale. {'; '.join(parts)}."


PLOT = Plot(
    name="trainability",
    title="Which learning rates work at which weight scale",
    section="training",
    table=table,
    draw=draw,
    reading=reading,
    alt=alt,
    absent="The run has no trained trials with several learning rates and weight scales.",
)
