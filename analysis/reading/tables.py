"""Tables of a run: LazyFrame in, LazyFrame out.

A trial is a row of the results; a cell is all rows of a point. Labels are derived from the raw G =
`gradient_decades` with the limits of the run, so another limit gives another map without another run.
G = -inf is a number here (a gradient that is exactly zero): the median and the labels take it as it is.
"""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import polars as pl

from gradatlas.analysis.reading.cells import cells
from gradatlas.analysis.reading.run_files import Run, RunFiles
from gradatlas.study.records import column_types
from gradatlas.study.regimes import DEFAULT_LIMITS, OUTCOMES, Limits, is_severe, regime
from gradatlas.study.result_files import file_fault, is_planned_by_us, pack_codes, printable

__all__ = [
    "SCHEMA", "Counts", "NoResultsError", "Run", "Unreadable", "cells", "counts", "failures", "labelled",
    "layer_quantiles", "layers", "read_sweep", "scan_plans", "scan_results", "scan_runs", "sweep_limits",
]  # fmt: skip

_log = logging.getLogger("gradatlas.analysis.reading")

SCHEMA = pl.Schema(column_types(pl))


class NoResultsError(ValueError):
    """A run from which nothing can be reported; the message says which and what to do."""


@dataclass(frozen=True)
class Unreadable:
    """A file of the run folder that could not be read, and why."""

    file: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.file.parent.name}/{self.file.name}: {self.reason}"


@dataclass(frozen=True)
class Counts:
    """How many trials were planned and what became of them; `planned` is None where no plan is readable."""

    planned: int | None
    finished: int
    missing: int | None
    failed: int
    diverged: int
    unmeasured: int


def scan_results(run: Run, *, thorough: bool = False) -> tuple[pl.LazyFrame, list[Unreadable]]:
    """(all trials with the columns of `study.records`, files that could not be read).

    Columns that a file lacks are null. `thorough` reads every file to its end; otherwise its footer must be
    sound, which a truncated file's never is. Raises NoResultsError where no file can be read.
    """
    found = _scan(run, "results", thorough)
    if found is None:
        kind = RunFiles(run).kind
        raise NoResultsError(f"{run}: must be {kind}, but there is none; `gradatlas list` names the runs")
    frame, unreadable = found
    if frame is not None:
        return frame, unreadable
    if unreadable:
        raise NoResultsError(
            f"{run}: none of its {len(unreadable)} result files can be read (first {unreadable[0]}); "
            f"`gradatlas resume {run}` runs again what is damaged"
        )
    raise NoResultsError(
        f"{run}: has no results yet; `gradatlas resume {run}` runs what its plan still lacks"
    )


def scan_runs(runs: Sequence[Run]) -> tuple[pl.LazyFrame, Limits]:
    """(the trials of several runs with the column `run`, the limits that all of them have).

    Points are numbered on from run to run, so that cells stay apart. Raises ValueError where the runs' limits
    differ: labels of different meaning would be mixed.
    """
    limits = {str(run): sweep_limits(read_sweep(run)) for run in runs}
    if len(set(limits.values())) > 1:
        listed = "; ".join(f"{run}: {_limits_words(limit)}" for run, limit in limits.items())
        raise ValueError(f"the limits must be the same in all runs, but differ: {listed}")
    frames, first = [], 0
    for run in runs:
        frame, _ = scan_results(run)
        frames.append(frame.with_columns(pl.col("point") + first, run=pl.lit(str(run))))
        first += (frame.select(pl.col("point").max()).collect().item() or 0) + 1
    return pl.concat(frames), next(iter(limits.values()), DEFAULT_LIMITS)


def _limits_words(limits: Limits) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in vars(limits).items())


def scan_plans(run: Run) -> tuple[pl.LazyFrame | None, list[Unreadable]]:
    """(planned trials with identity and parameters, files that could not be read); None without a plan."""
    return _scan(run, "plans", thorough=False) or (None, [])


def _scan(run: Run, folder: str, thorough: bool) -> tuple[pl.LazyFrame | None, list[Unreadable]] | None:
    files = RunFiles(run)
    try:
        tables = files.tables(folder)
    except OSError as error:
        raise NoResultsError(f"{run}: cannot be read: {str(error).splitlines()[0]}") from None
    if tables is None:
        return None
    codes = _codes(files) if folder == "results" else {}
    with ThreadPoolExecutor(files.readers) as pool:
        found = pool.map(lambda table: _fault(files, table, codes, thorough=thorough), tables)
        faults = dict(zip(tables, found, strict=True))
    unreadable = [Unreadable(Path(printable(table)), fault) for table, fault in faults.items() if fault]
    for fault in unreadable:
        _log.warning("%s: left out: %s", run, fault)
    sound = [table for table in tables if not faults[table]]
    return (files.scan(sound, SCHEMA) if sound else None), unreadable


def _codes(files: RunFiles) -> dict[str, str]:
    """Of each planned pack a code of its trials; empty where no plan is there to compare results with."""
    codes: dict[str, str] = {}
    if not files.is_local:
        return codes
    for table in files.tables("plans") or ():
        try:
            if Path(table).is_file() and not file_fault(files.content(table), pl, name=Path(table).stem):
                codes |= pack_codes(files.read(table).select("pack", "trial"))
        except (pl.exceptions.PolarsError, OSError):
            return {}
    return codes if is_planned_by_us(codes) else {}


def _fault(files: RunFiles, table: str, codes: Mapping[str, str], *, thorough: bool) -> str:
    """Why a table cannot be scanned, in one line; empty if it can.

    On a disk the whole file is checked, and against the plan. In a store an upload is whole or not there, and
    its footer alone is read.
    """
    name = Path(table).stem
    if codes and name not in codes:
        return "is not the result of a pack of the plan"
    try:
        if files.is_local:
            if not Path(table).is_file():  # a pipe would let a reader wait for ever
                return "must be a file, but is none"
            return file_fault(files.content(table), pl, name=name, trials=codes.get(name))
        schema = files.schema(table)
        if thorough:
            files.read(table)
    except (pl.exceptions.PolarsError, OSError) as error:
        return f"not a whole Parquet file ({(str(error).splitlines() or ['no reason'])[0]})"
    if "trial" not in schema:
        return "has no column 'trial'"
    wrong = [name for name, dtype in schema.items() if name in SCHEMA and dtype != SCHEMA[name]]
    return f"column '{wrong[0]}' must be {SCHEMA[wrong[0]]}, but is {schema[wrong[0]]}" if wrong else ""


def read_sweep(run: Run) -> dict[str, Any]:
    """The run's sweep file; empty where there is none that can be read."""
    text = RunFiles(run).text("sweep.toml")
    try:
        sweep = tomllib.loads(text)
    except (ValueError, RecursionError):
        sweep = {}
    if not sweep and RunFiles(run).tables("results"):  # else that is what is said
        _log.warning("%s: sweep.toml is missing or damaged; the default limits are taken", run)
    return sweep


def sweep_limits(sweep: Mapping[str, Any]) -> Limits:
    """The limits that a sweep file sets, the defaults for those it does not name.

    Raises ValueError for others than there can be: with guessed ones every regime could be wrong.
    """
    table = sweep.get("limits", {})
    if not isinstance(table, Mapping):
        raise ValueError(f"sweep.toml: limits must be a table, but is {table!r}")
    known = {entry.name for entry in fields(Limits)}
    try:
        return Limits(**{name: value for name, value in table.items() if name in known})
    except TypeError as error:
        raise ValueError(f"sweep.toml: limits must be numbers ({error})") from None


def labelled(trials: pl.LazyFrame, limits: Limits = DEFAULT_LIMITS) -> pl.LazyFrame:
    """The rows with `regime` (vanishing, stable, exploding; null where G is) and `severe`."""
    g = pl.col("gradient_decades").fill_nan(None)
    return trials.with_columns(g).with_columns(
        regime=g.map_batches(
            lambda values: pl.Series(regime(_array(values), limits).tolist(), dtype=pl.String),
            return_dtype=pl.String,
            is_elementwise=True,
        ),
        severe=g.map_batches(
            lambda values: pl.Series(is_severe(_array(values), limits)),
            return_dtype=pl.Boolean,
            is_elementwise=True,
        ),
    )


def _array(values: pl.Series) -> Any:
    """Float64 with nan for null."""
    return values.cast(pl.Float64).to_numpy()


def layers(trials: pl.LazyFrame, profile: str = "gradient_profile") -> pl.LazyFrame:
    """One row per trial and layer: `layer` (1 … L), `back` (layers before the last), `value`, `relative`.

    `relative` is the value less that of the last layer, in decades; null where either is missing or both are
    zero gradients. The trial's parameters and labels stay beside it.
    """
    scalars = pl.selectors.exclude(pl.selectors.list())
    count = pl.col(profile).list.len()
    long = (
        trials.filter(count > 0)
        .select(
            scalars,
            value=pl.col(profile),
            layer=pl.int_ranges(1, count + 1, dtype=pl.Int64),
            last=pl.col(profile).list.last(),
            layers=count.cast(pl.Int64),
        )
        .explode("value", "layer")
    )
    return long.with_columns(
        back=pl.col("layers") - pl.col("layer"),
        relative=(pl.col("value") - pl.col("last")).fill_nan(None),
    ).drop("last", "layers")


def layer_quantiles(
    trials: pl.LazyFrame, by: Sequence[str], profile: str = "gradient_profile"
) -> pl.DataFrame:
    """Per setting `by` and `back` (layers before the last): the profile less that of the last layer.

    `median`, `low` and `high` (10 % and 90 % quantile) and `trials`. The profiles are read once; one row per
    layer is in memory for one setting at a time.
    """
    length = pl.col("value").list.len()
    whole = (
        trials.filter(pl.col(profile).list.len() > 0)
        .select(*by, value=pl.col(profile) - pl.col(profile).list.last())
        .collect()
        .lazy()
    )
    value = pl.col("value").fill_nan(None)
    low, high = (value.quantile(share, "nearest").alias(name) for name, share in _BAND)
    found = []
    for key in whole.select(by).unique().collect().sort(by).iter_rows():
        here = [pl.col(name).eq_missing(pl.lit(entry)) for name, entry in zip(by, key, strict=True)]
        long = (
            whole.filter(*here)
            .select("value", back=pl.int_ranges(length - 1, -1, -1, dtype=pl.Int32))
            .explode("value", "back")
        )
        bands = long.group_by("back").agg(value.median().alias("median"), low, high, trials=value.count())
        named = [pl.lit(entry).alias(name) for name, entry in zip(by, key, strict=True)]
        found.append(bands.collect().sort("back").select(*named, pl.all()))
    return pl.concat(found, how="vertical_relaxed") if found else pl.DataFrame()


_BAND = (("low", 0.1), ("high", 0.9))


def counts(trials: pl.LazyFrame, plans: pl.LazyFrame | None) -> Counts:
    """What was planned, what is there, what failed and what diverged."""
    row = trials.select(
        finished=pl.len(),
        unmeasured=pl.col("gradient_decades").is_null().sum(),
        **{name: (pl.col("outcome") == name).sum() for name in OUTCOMES},
    ).collect()
    found = row.row(0, named=True)
    planned = missing = None
    if plans is not None:
        wanted = plans.select("trial").unique()
        planned = wanted.select(pl.len()).collect().item()
        missing = (
            wanted.join(trials.select("trial"), on="trial", how="anti").select(pl.len()).collect().item()
        )
    return Counts(
        planned, found["finished"], missing, found["failed"], found["diverged"], found["unmeasured"]
    )


def failures(trials: pl.LazyFrame, most: int = 5) -> list[tuple[str, int]]:
    """(reason, trials) of failed trials, the most frequent reasons first."""
    failed = trials.filter(pl.col("outcome") == "failed")
    reasons = failed.group_by(pl.col("failure").fill_null("no reason recorded")).agg(trials=pl.len())
    return reasons.sort(-pl.col("trials").cast(pl.Int64), "failure").head(most).collect().rows()
