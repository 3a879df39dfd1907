"""The picture of one network: gradient and signal by layer, a thin line for each seed and their median."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradatlas.analysis.colours import FAINT, INK, STABLE
from gradatlas.analysis.figures import theme
from gradatlas.analysis.figures.grid import whole_numbers
from gradatlas.study.regimes import DEFAULT_LIMITS, Limits

_DPI = 160
_PANELS = {"gradient": "gradient δ, backwards (decades)", "forward": "signal h, forwards (decades)"}
_MEDIAN = "median"


def table(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """(panel, line, layer, decades): the gradient against the last layer's, the signal against the first's.

    So a gradient's line ends at G in layer 1 and a signal's at F in layer L. The line "median" is the seeds'
    median at each layer. Null where there is no number; zeros (−∞ decades) stay.
    """
    found = []
    for panel, start in (("gradient", -1), ("forward", 0)):
        profiles = np.array([row[f"{panel}_profile"] for row in rows], dtype=float)  # None becomes nan
        with np.errstate(invalid="ignore"):  # −inf − −inf
            decades = profiles - profiles[:, start, None]
            median = np.median(decades, axis=0)
        names = [*(str(row["seed"]) for row in rows), _MEDIAN]
        for name, line in zip(names, [*decades, median], strict=True):
            found += [(panel, name, layer, value) for layer, value in enumerate(line.tolist(), 1)]
    schema = {"panel": pl.String, "line": pl.String, "layer": pl.Int64, "decades": pl.Float64}
    return pl.DataFrame(found, schema, orient="row").with_columns(pl.col("decades").fill_nan(None))


def draw(data: pl.DataFrame, limits: Limits = DEFAULT_LIMITS) -> Figure:
    """One panel for the gradient, one for the signal; the gradient's stable band is shaded."""
    figure = Figure(figsize=(8.0, 3.2), layout="constrained")
    panels = figure.subplots(1, 2)
    stable = limits.stable_decades
    panels[0].axhspan(-stable, stable, color=STABLE, zorder=0)
    for axes, (panel, label) in zip(panels, _PANELS.items(), strict=True):
        axes.axhline(0, color=FAINT, linewidth=0.6, zorder=1)
        _draw_lines(axes, data.filter(pl.col("panel") == panel), least=2 * stable)
        axes.set(xlabel="layer", ylabel=label)
        axes.xaxis.set_major_locator(whole_numbers())
    sns.despine(figure)
    seeds = data["line"].n_unique() - 1
    panels[0].legend(
        handles=[theme.line_handle(INK, f"median of {seeds}" if seeds > 1 else "one network")],
        loc="best",
    )
    return figure


def _draw_lines(axes: Axes, data: pl.DataFrame, *, least: float) -> None:
    """The lines in a frame of at least so many decades; −∞ is a line that leaves it."""
    finite = data.filter(pl.col("decades").is_finite())["decades"].to_numpy()
    low, high = float(finite.min(initial=0.0)), float(finite.max(initial=0.0))
    margin = max(least - (high - low), 0.1 * (high - low)) / 2
    axes.set_ylim(low - margin, high + margin)
    reach = 4 * (high - low + least)
    shown = data.with_columns(pl.col("decades").clip(-reach, reach))
    mark = "o" if data["layer"].max() == 1 else None
    of_seeds = shown.filter(pl.col("line") != _MEDIAN).to_pandas()
    sns.lineplot(
        of_seeds, x="layer", y="decades", units="line", estimator=None, ax=axes, color=FAINT,
        linewidth=0.7, legend=False,
    )  # fmt: skip
    sns.lineplot(
        shown.filter(pl.col("line") == _MEDIAN).to_pandas(), x="layer", y="decades", estimator=None, ax=axes,
        color=INK, linewidth=2.0, marker=mark, legend=False,
    )  # fmt: skip


def write_profile(rows: Sequence[dict[str, Any]], file: Path) -> None:
    """Draws into a file, in the format of its suffix."""
    with theme.theme(theme.WIDE):
        figure = draw(table(rows))
        # Without a date the same figure is the same file.
        dates = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
        figure.savefig(file, dpi=_DPI, metadata=dates.get(file.suffix.lower()))
