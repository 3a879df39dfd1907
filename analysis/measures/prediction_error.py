"""How near theory's G is to the measured one: in decades, in predicted standard deviations, and by regime.

A regime alone says little: far from the limits a prediction can be off by ten decades and still name it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from gradatlas.study.regimes import Limits, regime, standard_error

_DEVIATIONS = 2.0


def predicted_cells(cells: pl.LazyFrame, limits: Limits) -> pl.DataFrame:
    """The cells that have a measured and a predicted G, with what parts the two.

    `off` = |measured − predicted| in decades (0 where both are the same infinity), `within` whether that is
    at most two of the standard deviations predicted for the cell's median (null where none is predicted),
    and `agrees` whether both lie in the same regime.
    """
    g = ["gradient_decades", "theory_gradient_decades"]
    found = cells.with_columns(pl.col(g).fill_nan(None)).drop_nulls(g).collect()
    measured, predicted = (found[name].cast(pl.Float64).to_numpy() for name in g)
    with np.errstate(invalid="ignore"):
        off = np.where(measured == predicted, 0.0, np.abs(measured - predicted))
    rows, sd = (found[name].cast(pl.Float64).to_numpy() for name in ("rows", "theory_sd"))
    error = standard_error(rows, np.full(len(rows), np.nan), sd)
    near = pl.Series(off <= _DEVIATIONS * error, dtype=pl.Boolean())
    agrees = regime(measured, limits) == regime(predicted, limits)
    return found.with_columns(
        off=pl.Series(off, dtype=pl.Float64),
        within=pl.when(pl.Series(~np.isnan(error), dtype=pl.Boolean())).then(near),
        agrees=pl.Series(agrees, dtype=pl.Boolean()),
    )


@dataclass(frozen=True)
class PredictionScore:
    """How well theory does over `cells`: the median of `off`, the share `agreeing` on the regime, and of the
    `with_spread` cells whose deviation is predicted the share `within` (None of none)."""

    cells: int
    off: float
    with_spread: int
    within: float | None
    agreeing: float


def prediction_score(predicted: pl.DataFrame) -> PredictionScore:
    """The score over rows of `predicted_cells`, of which there must be one."""
    row = predicted.select(
        cells=pl.len(),
        off=pl.col("off").median(),
        with_spread=pl.col("within").count(),
        within=pl.col("within").mean(),
        agreeing=pl.col("agrees").mean(),
    )
    return PredictionScore(**row.row(0, named=True))
