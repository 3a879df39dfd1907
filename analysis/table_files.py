"""The tables of a run as files: tidy Parquet and CSV."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path

import polars as pl

from gradatlas.analysis.claims import Claim, claims_of
from gradatlas.analysis.claims.evidence import evidence
from gradatlas.analysis.measures import areas, boundaries
from gradatlas.analysis.measures.mitigations import mitigations
from gradatlas.analysis.reading import tables
from gradatlas.study.regimes import Limits

CSV_ROWS = 2_000_000  # a CSV of more rows is left out: Parquet has them in a fraction of the space
_PROFILES = (
    "gradient_profile", "forward_profile", "weight_gradient_profile", "weight_factor_profile",
    "derivative_factor_profile", "norm_factor_profile", "saturated_profile", "dead_profile",
    "cell_gradient_profile", "update_profile",
)  # fmt: skip
Progress = Callable[[str], None]
Estimates = Mapping[str, Callable[[], pl.DataFrame]]


def write_tables(
    run: tables.Run, out: Path, on_progress: Progress | None = None, *, csv_rows: int = CSV_ROWS
) -> list[Path]:
    """Write every table of a run into a folder; returns the files, Parquet and CSV of each.

    `trials` (a row per trial, without lists, with its regime), `layers` (a row per trial and layer), `cells`,
    `regions`, `boundaries`, `windows`, `mitigations`, `claims`. Raises NoResultsError for a run without
    results. A table of more than `csv_rows` rows has no CSV.
    """
    say = on_progress or (lambda message: None)
    results, _ = tables.scan_results(run)
    limits = tables.sweep_limits(tables.read_sweep(run))
    trials = tables.labelled(results, limits)
    out.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for name, table in _lazy_tables(trials, limits).items():
        say(name)
        written += _sunk(table, out / name, csv_rows)
    cells = pl.scan_parquet(out / "cells.parquet", glob=False)
    for name, make in estimates(trials, cells, limits).items():
        say(name)
        written += _written(make(), out / name)
    return written


def _lazy_tables(trials: pl.LazyFrame, limits: Limits) -> dict[str, pl.LazyFrame]:
    return {
        "trials": trials.select(~pl.selectors.list()),
        "layers": long_layers(trials),
        "cells": tables.cells(trials, limits),
    }


def estimates(trials: pl.LazyFrame, cells: pl.LazyFrame, limits: Limits) -> Estimates:
    """The tables that are estimated from labelled trials and their cells, each computed when called."""
    found = cache(lambda: evidence(trials, limits))
    return {
        "regions": lambda: areas.region_table(cells),
        "boundaries": lambda: boundaries.boundaries_of_cells(cells),
        "windows": lambda: boundaries.windows_of_cells(cells, limits),
        "mitigations": lambda: mitigations(found().cells),
        "claims": lambda: claims_table(claims_of(found())),
    }


def long_layers(trials: pl.LazyFrame) -> pl.LazyFrame:
    """One row per trial and layer: `trial`, `layer` (from 1), and each profile's value there."""
    count = pl.col("gradient_profile").list.len()
    padded = [
        pl.when(pl.col(name).list.len() == count).then(pl.col(name)).otherwise(pl.lit(None).repeat_by(count))
        for name in _PROFILES
    ]
    return (
        trials.filter(count > 0)
        .select("trial", pl.int_ranges(1, count + 1, dtype=pl.Int32).alias("layer"), *padded)
        .explode("layer", *_PROFILES)
        .rename({name: name.removesuffix("_profile") for name in _PROFILES})
    )


def claims_table(found: list[Claim]) -> pl.DataFrame:
    """One row per claim; the interval as `low` and `high`."""
    rows = []
    for claim in found:
        row = asdict(claim)
        low, high = row.pop("interval") or (None, None)
        rows.append(row | {"low": low, "high": high})
    numbers = dict.fromkeys(("effect", "low", "high"), pl.Float64())
    return pl.DataFrame(rows, schema_overrides=numbers | {"n": pl.Int64()})


def _sunk(table: pl.LazyFrame, stem: Path, csv_rows: int) -> list[Path]:
    parquet, csv = stem.with_suffix(".parquet"), stem.with_suffix(".csv")
    table.sink_parquet(parquet, compression="lz4")
    rows = pl.scan_parquet(parquet, glob=False).select(pl.len()).collect().item()
    if rows > csv_rows:
        csv.unlink(missing_ok=True)
        return [parquet]
    pl.scan_parquet(parquet, glob=False).sink_csv(csv)
    return [parquet, csv]


def _written(table: pl.DataFrame, stem: Path) -> list[Path]:
    parquet, csv = stem.with_suffix(".parquet"), stem.with_suffix(".csv")
    table.write_parquet(parquet)
    table.write_csv(csv)
    return [parquet, csv]
