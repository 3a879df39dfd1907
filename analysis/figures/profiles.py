"""Gradient profiles: how the gradient changes layer by layer on its way back, by setting and weight scale."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import ColorType

from gradatlas.analysis.colours import FAINT, STABLE
from gradatlas.analysis.figures import theme
from gradatlas.analysis.figures.grid import (
    Grid,
    grid_columns,
    label_outer,
    panel_grid,
    panel_groups,
    titles,
    whole_numbers,
)
from gradatlas.analysis.figures.plot import Drawing, Plot, panels_shown
from gradatlas.analysis.reading.panels import with_panels
from gradatlas.analysis.reading.tables import layers
from gradatlas.analysis.words import number
from gradatlas.study.choices.families import FEED_FORWARD
from gradatlas.study.regimes import DEFAULT_LIMITS, Limits

_FEW = 5  # a curve of fewer trials is dashed
_SHALLOWER = 0.7  # share of the trials that may be too shallow for the curves
_GROUPS = 4
_LOW, _HIGH = 0.1, 0.9
_MOST_DECADES = 10.0  # curves that go further leave the frame


def sigma_groups(sigma_w: np.ndarray) -> list[float]:
    """Edges of the groups of σ_w: equal steps of log σ_w; single values where there are few."""
    values = np.unique(np.round(sigma_w, 12))
    if len(values) <= _GROUPS:
        middles = np.sqrt(values[:-1] * values[1:])
        return [float(values[0]), *map(float, middles), float(values[-1])]
    return [float(edge) for edge in np.geomspace(values[0], values[-1], _GROUPS + 1)]


def _group_names(sigma_w: np.ndarray, edges: list[float]) -> list[str]:
    values = np.unique(np.round(sigma_w, 12))
    if len(values) <= _GROUPS:
        return [number(float(value)) for value in values]
    return [f"{number(low)} – {number(high)}" for low, high in pairwise(edges)]


def table(trials: pl.LazyFrame, limits: Limits = DEFAULT_LIMITS) -> pl.DataFrame:
    """The figure's table: `curves` of the feed-forward networks alone."""
    return curves(trials.filter(pl.col("family").fill_null("mlp").is_in(FEED_FORWARD)))


def curves(trials: pl.LazyFrame) -> pl.DataFrame:
    """Per panel, group of σ_w and layers before the last: median and quantiles of log10 RMS δ^l / RMS δ^L.

    All points of a curve come from the same networks, those of at least `reach` layers: else a curve would
    jump wherever a network ends.
    """
    usable = with_panels(trials.filter(pl.col("sigma_w") > 0, pl.col("gradient_profile").list.len() > 0))
    seen = usable.select("sigma_w", "depth").collect()
    if len(seen) == 0:
        return pl.DataFrame()
    reach = int(seen["depth"].quantile(_SHALLOWER, "lower"))  # type: ignore[arg-type]
    deep = usable.filter(pl.col("depth") >= reach)
    edges = sigma_groups(seen["sigma_w"].to_numpy())
    names = _group_names(seen["sigma_w"].to_numpy(), edges)
    group = pl.sum_horizontal(
        pl.lit(0, pl.Int64), *(pl.col("sigma_w") >= edge for edge in edges[1 : len(names)])
    )
    by = ["panel", "heading", "subheading", "panels", "group", "back"]
    value = pl.col("relative")
    long = layers(deep).filter(value.is_not_null(), pl.col("back") < reach)
    found = (
        long.with_columns(group=group.cast(pl.Int64))
        .group_by(by)
        .agg(
            # Quantiles are values of trials: between -inf and a number there is nothing to interpolate.
            low=value.quantile(_LOW, "nearest"),
            median=value.quantile(0.5, "nearest"),
            high=value.quantile(_HIGH, "nearest"),
            trials=pl.len(),
        )
    )
    schema = {"group": pl.Int64, "sigma_w": pl.String}
    labels = pl.DataFrame({"group": range(len(names)), "sigma_w": names}, schema=schema)
    kept = found.with_columns(reach=pl.lit(reach, pl.Int64)).sort("panel", "group", "back").collect()
    return kept.join(labels, on="group", how="left", maintain_order="left")


def draw(drawing: Drawing, x_label: str = "layers before the last hidden layer") -> Figure:
    """Median curves with bands, the stable band shaded."""
    data, layout, limits = drawing.table, drawing.layout, drawing.limits
    columns = grid_columns(panel_groups(data), layout.columns)
    grid = panel_grid(layout, titles(data), columns, top=0.74 if layout is theme.NARROW else 0.62)
    names = data.select("group", "sigma_w").unique().sort("group")
    palette = dict(zip(names["group"], sns.color_palette("viridis_r", len(names) + 1)[1:], strict=True))
    reach = frame_height(data, limits)
    for axes, (_, rows) in zip(grid.panels, data.group_by("panel", maintain_order=True), strict=True):
        axes.axhspan(-limits.stable_decades, limits.stable_decades, color=STABLE, zorder=0)
        axes.axhline(0, color=FAINT, linewidth=0.6, zorder=1)
        _draw_curves(axes, rows, palette, reach)
        axes.set(xlim=(int(data["back"].max()) + 0.5, -0.5), ylim=(-reach, reach), xlabel="", ylabel="")  # type: ignore[arg-type]
        axes.xaxis.set_major_locator(whole_numbers())
    label_outer(grid, x_label, "gradient (decades)")
    _draw_legend(grid, names, palette)
    return grid.figure


def frame_height(data: pl.DataFrame, limits: Limits) -> float:
    """Half the height of the frame in decades: as far as the medians go, at most 10."""
    median = data["median"].to_numpy()
    finite = np.abs(median[np.isfinite(median)])
    most = float(finite.max()) if len(finite) else 0.0
    return float(
        np.clip(1.1 * most, 1.5 * limits.stable_decades, max(_MOST_DECADES, 2 * limits.severe_decades))
    )


def _draw_curves(axes: Axes, rows: pl.DataFrame, palette: Mapping[Any, ColorType], reach: float) -> None:
    beyond = 4 * reach  # -inf is drawn as a line that leaves the frame
    for (group,), curve in rows.group_by("group", maintain_order=True):
        low, high = (np.clip(curve[name].to_numpy(), -beyond, beyond) for name in ("low", "high"))
        axes.fill_between(curve["back"].to_numpy(), low, high, color=palette[group], alpha=0.18, linewidth=0)
        shown = curve.with_columns(pl.col("median").clip(-beyond, beyond)).to_pandas()
        mark = "o" if len(curve) == 1 else None
        dash = "--" if (curve["trials"] < _FEW).all() else "-"
        sns.lineplot(
            shown, x="back", y="median", ax=axes, color=palette[group], linewidth=1.7, errorbar=None,
            estimator=None, marker=mark, legend=False, linestyle=dash,
        )  # fmt: skip


def _draw_legend(grid: Grid, names: pl.DataFrame, palette: Mapping[Any, ColorType]) -> None:
    narrow = grid.width < 6
    handles = [
        theme.line_handle(palette[group], name)
        for group, name in names.select("group", "sigma_w").iter_rows()
    ]
    grid.figure.legend(
        handles=handles, loc="upper center", ncols=2 if narrow else len(handles),
        title=r"weight scale $\sigma_w$", bbox_to_anchor=(0.5, 1.0), borderaxespad=0.25,
        columnspacing=1.6, handlelength=1.8,
    )  # fmt: skip


def reading(data: pl.DataFrame, limits: Limits) -> str:
    """How to read the profiles, in words."""
    few = f" Dashed: fewer than {_FEW} networks." if (data["trials"] < _FEW).any() else ""
    return (
        "Start at the right, at the last hidden layer, and go left, the way backpropagation goes. A line "
        "that falls is a gradient that vanishes, a line that rises one that explodes, a flat line one "
        "that arrives as it left. One decade is a factor of ten; the pale band is "
        f"±{number(limits.stable_decades)} decades. Lines are medians of networks with at least "
        f"{data['reach'][0]} hidden layers, bands hold the middle 80 % of them; a line that leaves the "
        f"frame goes on.{few}{panels_shown(data)}"
    )


def alt(data: pl.DataFrame, limits: Limits) -> str:
    """The profiles for who cannot see them: the range of the curves' ends."""
    ends = data.sort("back").group_by("panel", "heading", "subheading", "group", maintain_order=True).last()
    parts = []
    for (heading, sub), rows in ends.sort("panel").group_by("heading", "subheading", maintain_order=True):
        low, high = (number(float(value)) for value in (rows["median"].min(), rows["median"].max()))  # type: ignore[arg-type]
        parts.append(f"{' · '.join(filter(None, (str(heading), str(sub))))}: {low} to {high} decades")
    return f"Median gradient by layer; at the left end the curves stand at: {'; '.join(parts)}."


PLOT = Plot(
    name="gradient_profiles",
    title="How the gradient changes from layer to layer",
    section="layers",
    table=table,
    draw=draw,
    reading=reading,
    alt=alt,
    absent="No trial has a gradient profile, so there is none to draw.",
)
