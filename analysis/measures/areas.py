"""Regions: the shares of the regimes by setting with intervals, and the area that is stable.

The area is that in the plane of log10 depth and log10 σ_w, in square decades: the plane is cut into bins of
an octave of depth and half an octave of σ_w, and each bin counts by its own share of stable cells, so a sweep
that tried one corner more densely than another gives the same area.
"""

from __future__ import annotations

import math

import polars as pl

from gradatlas.analysis.measures.regions import wilson
from gradatlas.analysis.reading.panels import setting_columns
from gradatlas.study.regimes import REGIMES, UNDETERMINED

_BIN = math.log10(2) * math.log10(2) / 2  # square decades
_ENDS = ("low", "high")


def region_table(cells: pl.LazyFrame) -> pl.DataFrame:
    """One row per setting, from the rows of `analysis.reading.cells.cells`.

    `cells`, `unmeasured`; of the measured ones the share of each regime with its 95 % interval (`stable`,
    `stable_low`, `stable_high`, …), `severe` and `undetermined`; `area`, the square decades that are stable,
    with its interval, and `covered`, the square decades that were tried; null where depth or σ_w was fixed.
    """
    columns = setting_columns(cells)
    measured = pl.col("regime").is_not_null()
    shares = (
        cells.group_by(columns)
        .agg(
            cells=pl.len(),
            unmeasured=(~measured).sum(),
            **{name: (pl.col("regime") == name).mean() for name in REGIMES},
            severe=pl.col("severe").filter(measured).mean(),
            undetermined=(pl.col("label") == UNDETERMINED).filter(measured).mean(),
        )
        .collect()
        .sort(columns)
    )
    return _with_intervals(shares).join(_areas(cells, columns), on=columns, how="left", nulls_equal=True)


def _with_intervals(shares: pl.DataFrame) -> pl.DataFrame:
    n = (shares["cells"] - shares["unmeasured"]).to_list()
    for name in REGIMES:
        ends = [
            wilson(share * count, count) if share is not None else (None, None)
            for share, count in zip(shares[name].to_list(), n, strict=True)
        ]
        shares = shares.with_columns(
            pl.Series(f"{name}_{end}", [pair[place] for pair in ends], dtype=pl.Float64())
            for place, end in enumerate(_ENDS)
        )
    return shares


def _areas(cells: pl.LazyFrame, columns: list[str]) -> pl.DataFrame:
    place = cells.filter(pl.col("regime").is_not_null(), pl.col("sigma_w") > 0).with_columns(
        x=pl.col("depth").log(2), y=2 * pl.col("sigma_w").log(2)
    )
    # A bin counts as far as its part of the study was tried.
    extent = [
        side(pl.col(name)).over("part").alias(f"{name}_{side.__name__}")
        for name in ("x", "y")
        for side in (pl.Expr.min, pl.Expr.max)
    ]
    bins = (
        place.with_columns(extent)
        .group_by(*columns, pl.col("x", "y").floor())
        .agg(pl.col("x_min", "x_max", "y_min", "y_max").first(), n=pl.len(), stable=_is_stable().mean())
        .with_columns(area=_BIN * _width("x") * _width("y"))
        .filter(pl.col("area") > 0)
        .collect()
        .sort(*columns, "x", "y")
    )
    rows = [(*key, *_stable_area(group)) for key, group in bins.group_by(columns, maintain_order=True)]
    schema: dict[str, pl.DataType] = {name: bins.schema[name] for name in columns}
    schema |= dict.fromkeys(("area", "area_low", "area_high", "covered"), pl.Float64())
    return pl.DataFrame(rows, schema=schema, orient="row")


def _is_stable() -> pl.Expr:
    return pl.col("regime") == "stable"


def _width(name: str) -> pl.Expr:
    """Of a bin inside what was tried, in bins."""
    return pl.min_horizontal(f"{name}_max", pl.col(name) + 1) - pl.max_horizontal(f"{name}_min", name)


def _stable_area(bins: pl.DataFrame) -> list[float]:
    """(stable area, low, high, covered area) of the bins of a setting."""
    covered = float(bins["area"].sum())
    weight = bins["area"].to_numpy() / covered
    share = float(weight @ bins["stable"].to_numpy())
    # As many cells as give the variance of the mean of the bins' shares.
    effective = 1 / float((weight**2 / bins["n"].to_numpy()).sum())
    low, high = wilson(share * effective, effective)
    return [covered * share, covered * low, covered * high, covered]
