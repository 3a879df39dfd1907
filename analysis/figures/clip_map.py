"""Clip threshold × weight scale: what learned, what diverged, and the final loss."""

from __future__ import annotations

import polars as pl
import seaborn as sns
from matplotlib.figure import Figure

from gradatlas.analysis.colours import OUTCOME_COLOURS
from gradatlas.analysis.figures import theme
from gradatlas.analysis.figures.binned import draw_heat, edge_ticks, log_bins
from gradatlas.analysis.figures.clip_thresholds import KINDS, thresholds
from gradatlas.analysis.figures.grid import panel_grid
from gradatlas.analysis.figures.plot import Drawing, Plot
from gradatlas.analysis.words import number, percent
from gradatlas.study.regimes import DEFAULT_LIMITS, Limits

_SHARES = {"learned": OUTCOME_COLOURS["learned"], "diverged": "#000000"}


def table(trials: pl.LazyFrame, limits: Limits = DEFAULT_LIMITS) -> pl.DataFrame:
    """Per kind of clipping, threshold (`column`, loosest first) and bin of σ_w (`row`): shares and loss.

    `loss` is the median final loss of the trials that have one, null where all diverged.
    """
    usable = trials.filter(pl.col("outcome").is_not_null(), pl.col("sigma_w") > 0)
    frame = usable.select(*KINDS, "sigma_w", "outcome", "final_loss").collect()
    kinds = [kind for kind in KINDS if frame[kind].n_unique() > 1]
    if not kinds or frame["sigma_w"].n_unique() < 2:
        return pl.DataFrame()
    row, scales = log_bins(frame["sigma_w"])
    return pl.concat([_of_kind(frame.with_columns(row=row), kind, scales) for kind in kinds])


def _of_kind(frame: pl.DataFrame, kind: str, scales: list[float]) -> pl.DataFrame:
    column, names = thresholds(frame[kind])
    binned = frame.with_columns(column=column, threshold=names)
    return (
        binned.group_by("row", "column", "threshold")
        .agg(
            n=pl.len(),
            loss=pl.col("final_loss").fill_nan(None).median(),
            **{name: (pl.col("outcome") == name).mean() for name in _SHARES},
        )
        .with_columns(kind=pl.lit(kind), scales=pl.lit(scales))
        .sort("row", "column")
    )


def draw(drawing: Drawing) -> Figure:
    """Per kind of clipping three maps side by side."""
    data, layout = drawing.table, drawing.layout
    kinds = list(data.group_by("kind", maintain_order=True))
    titles = [
        (KINDS[str(kind)], sub)
        for (kind,), _ in kinds
        for sub in ("learned", "diverged", "final loss (median)")
    ]
    narrow = layout is theme.NARROW
    grid = panel_grid(layout, titles, 3, top=0.1, height=1.5 if narrow else 2.1, foot=0.36 if narrow else 0.2)
    for place, (_, rows) in enumerate(kinds):
        names = rows.select("column", "threshold").unique().sort("column")["threshold"].to_list()
        scales = rows["scales"][0].to_list()
        shape = (int(data["row"].max()) + 1, len(names))  # type: ignore[arg-type]
        panels = grid.panels[3 * place : 3 * place + 3]
        for axes, (value, colour) in zip(panels, [*_SHARES.items(), ("loss", "")], strict=True):
            losses = rows["loss"].drop_nulls()
            low, high = (0.0, 1.0) if colour else _ends(losses)
            cmap = sns.light_palette(colour, as_cmap=True) if colour else "cividis_r"
            draw_heat(axes, rows, value, shape, cmap=cmap, low=low, high=high)
            axes.set(xlabel="", ylabel="")
            axes.set_xticks([step + 0.5 for step in range(len(names))], names, rotation=0)
            edge_ticks(axes.yaxis, scales)
            axes.tick_params(labelleft=axes is panels[0])
        # A narrow panel has no room for it beside its title.
        panels[2].annotate(
            f"{number(low)} (yellow) to {number(high)} (dark) and up", (1, 0 if narrow else 1), ha="right",
            xytext=(0, -18 if narrow else 3), va="top" if narrow else "bottom", xycoords="axes fraction",
            textcoords="offset points", size=layout.font - 1.5,
        )  # fmt: skip
    grid.figure.text(0.5, 0.07 / grid.height, "clip threshold, loosest to tightest", ha="center", va="bottom")
    grid.figure.text(0.06 / grid.width, 0.5, r"weight scale $\sigma_w$", rotation=90, ha="left", va="center")
    return grid.figure


def _ends(losses: pl.Series) -> tuple[float, float]:
    """Ends of the colours: all but the largest twentieth, which one net that nearly diverged would take."""
    if losses.is_empty():
        return 0.0, 1.0
    return float(losses.min()), float(losses.quantile(0.95, "nearest"))  # type: ignore[arg-type]


def reading(data: pl.DataFrame, limits: Limits) -> str:
    """How to read the figure, in words."""
    return (
        "From left to right in each map the clipping gets tighter, from bottom to top the weights get "
        "larger. Clipping helps where the black of the diverged trials goes away to the right and green "
        "comes in its place; where it only goes away, clipping saved the numbers but not the training. The "
        "loss is the median over trials that ended finite; grey: no trial, or none that did. All other "
        "settings are pooled."
    )


def alt(data: pl.DataFrame, limits: Limits) -> str:
    """The figure for who cannot see it: how many diverged at each threshold."""
    parts = []
    for (kind, name), rows in data.sort("column").group_by("kind", "threshold", maintain_order=True):
        share = float((rows["diverged"] * rows["n"]).sum()) / float(rows["n"].sum())
        parts.append(f"{KINDS[str(kind)]} {name}: {percent(share)}")
    return f"Share of trials that diverged: {'; '.join(parts)}."


PLOT = Plot(
    name="clip_map",
    title="Clip threshold against weight scale",
    section="mitigations",
    table=table,
    draw=draw,
    reading=reading,
    alt=alt,
    absent="The run has no trained trials with several clip thresholds and weight scales.",
)
