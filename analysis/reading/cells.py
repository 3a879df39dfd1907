"""Cells: one row per point, with G over its draws and repetitions, its labels and what training did there.

A cell's label is only as good as its median: `label` is "undetermined" within two standard errors of a limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from gradatlas.study.regimes import (
    DEFAULT_LIMITS,
    OUTCOMES,
    QUANTILES,
    Limits,
    cell_regime,
    is_determined,
    is_severe,
    phase,
    regime,
    standard_error,
)
from gradatlas.study.trial import PARAMETERS

KEY = ("part", "point")
_ENOUGH = 5  # repetitions from which on their own spread counts


def cells(
    trials: pl.LazyFrame,
    limits: Limits = DEFAULT_LIMITS,
    *more: pl.Expr,
    by: Sequence[str] = KEY,
) -> pl.LazyFrame:
    """One row per point (or other `by`), in decades where nothing else is said:

    the parameters, `rows`, and over the rows: `gradient_decades` (median), `low`, `high` (10 % and 90 %
    quantile), `error` (standard error), `forward_decades`, `theory_gradient_decades`, `theory_sd`, `slope`,
    `slope_error` (per layer); the labels `regime` (of the median), `severe`, `determined`, `label` (the
    regime, or undetermined), `phase` (of the slope); `trained` (trials), the share of each outcome; `more`.

    Nuisance parameters differ inside a cell; what stands here is those of one of its rows.
    """
    found = trials.group_by(by).agg(*_parameters(by), *_gradients(), *_training(), *more)
    labelled = found.with_columns(
        error=_of(_error, "rows", "deviation", "theory_sd"),
        slope_error=_of(_slope_error, "rows", "slope_deviation", "slope_stderr"),
    ).with_columns(**_labels(limits))
    return labelled.drop("deviation", "slope_deviation", "slope_stderr")


def _labels(limits: Limits) -> dict[str, pl.Expr]:
    g, error = "gradient_decades", "error"
    yes, text = pl.Boolean(), pl.String()
    return {
        "regime": _of(lambda g: _listed(regime(g, limits), text), g, dtype=text),
        "severe": _of(lambda g: pl.Series(is_severe(g, limits)), g, dtype=yes),
        "determined": _of(lambda m, s: _listed(is_determined(m, s, limits), yes), g, error, dtype=yes),
        "label": _of(lambda m, s: _listed(cell_regime(m, s, limits), text), g, error, dtype=text),
        "phase": _of(lambda m, s: _listed(phase(m, s), text), "slope", "slope_error", dtype=text),
    }


def _parameters(by: Sequence[str]) -> list[pl.Expr]:
    return [pl.col(name).first() for name in (*PARAMETERS, "sigma_w", "sigma_b") if name not in by]


def _gradients() -> list[pl.Expr]:
    g = pl.col("gradient_decades").fill_nan(None)
    slope = pl.col("gradient_slope").fill_nan(None)
    low, high = (g.quantile(share, "nearest") for share in QUANTILES)
    return [
        pl.len().alias("rows"),
        g.median(),
        low.alias("low"),
        high.alias("high"),
        g.std().alias("deviation"),
        pl.col("theory_sd").fill_nan(None).max(),
        pl.col("theory_gradient_decades", "forward_decades").fill_nan(None).median(),
        slope.median().alias("slope"),
        slope.std().alias("slope_deviation"),
        pl.col("gradient_slope_stderr").fill_nan(None).mean().alias("slope_stderr"),
    ]


def _training() -> list[pl.Expr]:
    outcome = pl.col("outcome")
    return [
        outcome.count().alias("trained"),
        *((outcome == name).mean().alias(name) for name in OUTCOMES),
    ]


def _error(rows: np.ndarray, deviation: np.ndarray, predicted: np.ndarray) -> pl.Series:
    finite = np.where(np.isfinite(deviation), deviation, np.nan)
    return pl.Series(standard_error(rows, finite, predicted))


def _slope_error(rows: np.ndarray, deviation: np.ndarray, stderr: np.ndarray) -> pl.Series:
    """Of the median slope: from the spread over enough rows, else from the spread over layers."""
    return pl.Series(np.where((rows >= _ENOUGH) & np.isfinite(deviation), deviation, stderr) / np.sqrt(rows))


def _listed(values: np.ndarray, dtype: pl.DataType) -> pl.Series:
    return pl.Series(values.tolist(), dtype=dtype)


def _of(function: Callable[..., pl.Series], *names: str, dtype: pl.DataType | None = None) -> pl.Expr:
    """The function of whole columns, as float arrays with nan for null; nan comes back as null."""

    def applied(rows: pl.Series) -> pl.Series:
        columns = rows.struct.unnest()
        found = function(*(columns[name].cast(pl.Float64).to_numpy() for name in names))
        return found.fill_nan(None) if found.dtype == pl.Float64 else found

    return pl.struct(names).map_batches(applied, return_dtype=dtype or pl.Float64(), is_elementwise=True)
