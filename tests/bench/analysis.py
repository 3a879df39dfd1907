"""The analysis on a planted run of a million trials in a thousand files: seconds, peak memory, and pandas.

`make bench` runs it: `python -m tests.bench.analysis [TRIALS]`. Every measurement is a process of its own
with two threads, timed from when Python and the libraries are up. The trials have 33 to 124 layers, 64 in the
middle, and four profiles each, so that their long table has 70 million rows; the tables' time has them read
and grouped, that of the files has them written.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

from gradatlas.analysis.claims import claims_of
from gradatlas.analysis.claims.evidence import evidence
from gradatlas.analysis.measures import areas, boundaries, regions
from gradatlas.analysis.measures.mitigations import mitigations
from gradatlas.analysis.reading import tables
from gradatlas.analysis.reading.tables import SCHEMA
from gradatlas.analysis.report import write_report
from gradatlas.analysis.table_files import write_tables
from gradatlas.study.trial import DEFAULTS, PARAMETERS

TRIALS, FILES = 1_000_000, 1_000
PROFILES = ("gradient_profile", "forward_profile", "weight_factor_profile", "derivative_factor_profile")
ACTIVATIONS = np.array(["sigmoid", "tanh", "relu"])
CRITICAL = np.array([10.0, 1.0, 1.41])
SWEEP = 'question = "A bench"\n[scientific]\ndepth = { low = 33, high = 124 }\n'


def plant(run: Path, trials: int, files: int) -> None:
    """Writes a run folder of planted trials."""
    for folder in ("results", "plans"):
        (run / folder).mkdir(parents=True)
    (run / "sweep.toml").write_text(SWEEP)
    (run / "environment.json").write_text("{}")
    each = max(trials // files, 1)
    for number in range(files):
        frame = block(np.arange(number * each, (number + 1) * each), np.random.default_rng(number))
        frame.write_parquet(run / "results" / f"pack-{number:06d}.parquet", compression="lz4")
        plan = frame.select("trial", "part", "point", "draw", "repetition", "seed", "pack", *PARAMETERS)
        plan.write_parquet(run / "plans" / f"plan-{number:06d}.parquet", compression="lz4")


def block(trial: np.ndarray, rng: np.random.Generator) -> pl.DataFrame:
    """Planted trials with these numbers, scattered over depth and σ_w."""
    n = len(trial)
    depth = (33 * (125 / 33) ** rng.random(n)).astype(np.int64)
    sigma, kind = 0.25 * 64 ** rng.random(n), rng.integers(0, 3, n)
    norm, clip = rng.integers(0, 2, n), rng.integers(0, 4, n)
    slope = np.where(norm == 1, 0.02, np.log10(sigma / CRITICAL[kind]))
    g = slope * (depth - 1) + 0.2 * rng.normal(size=n)
    clips = np.array([np.nan, 0.1, 1.0, 10.0])[clip]
    outcome = np.where(
        np.abs(g) <= 1.3, "learned", np.where((g > 1.3) & np.isnan(clips), "diverged", "stalled")
    )
    same = {
        "draw": 0,
        "repetition": 0,
        "part": "main",
        "pack": str(trial[0]),
        "sigma_b": 0.0,
        "theory_sd": 0.3,
    }
    columns = {name: pl.lit(DEFAULTS[name], dtype=SCHEMA[name]) for name in PARAMETERS} | {
        **{name: pl.lit(value, dtype=SCHEMA[name]) for name, value in same.items()},
        **{name: pl.Series(trial) for name in ("trial", "point", "seed")},
        "depth": pl.Series(depth), "activation": pl.Series(ACTIVATIONS[kind].tolist()),
        "weight_gain": pl.Series(sigma), "sigma_w": pl.Series(sigma),
        "clip_norm": pl.Series(clips).fill_nan(None),
        "norm": pl.Series(np.array(["none", "batch"])[norm].tolist()),
        "learning_rate": pl.Series(10 ** rng.uniform(-3, 0, n)),
        "gradient_decades": pl.Series(g), "theory_gradient_decades": pl.Series(g),
        "forward_decades": pl.Series(-slope), "gradient_slope": pl.Series(slope),
        "gradient_slope_stderr": pl.lit(0.01), "outcome": pl.Series(outcome.tolist()),
        "initial_loss": pl.lit(2.3), "seconds": pl.lit(0.1),
        "final_loss": pl.Series(np.where(outcome == "diverged", np.nan, rng.random(n))).fill_nan(None),
        "loss_sign_changes": pl.Series(rng.integers(10, 40, n)),
        **{name: pl.Series(profile(name, depth, slope)) for name in PROFILES},
    }  # fmt: skip
    missing = {name: pl.lit(None, dtype=kind) for name, kind in SCHEMA.items() if name not in columns}
    frame = pl.DataFrame({"row": np.arange(n)}).select(**(columns | missing))
    return frame.select([pl.col(name).cast(dtype) for name, dtype in SCHEMA.items()])


def profile(name: str, depth: np.ndarray, slope: np.ndarray) -> pa.Array:
    """A list per trial, straight in the layer; factors are constant."""
    ends = np.concatenate([[0], np.cumsum(depth)]).astype(np.int32)
    back = np.repeat(ends[1:], depth) - 1 - np.arange(ends[-1])
    each = np.repeat(slope, depth)
    values = {
        "gradient_profile": each * back,
        "forward_profile": -each * back,
        "weight_factor_profile": each + 0.15,
        "derivative_factor_profile": np.full(len(each), -0.15),
    }[name]
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(np.round(values, 3)))


def with_polars(run: Path) -> None:
    """All tables: labels, cells, regions, boundaries, windows, mitigations, claims, quantiles by layer."""
    results, _ = tables.scan_results(run)
    limits = tables.sweep_limits(tables.read_sweep(run))
    trials = tables.labelled(results, limits)
    cells = tables.cells(trials, limits).collect().lazy()
    areas.region_table(cells)
    boundaries.boundaries_of_cells(cells)
    boundaries.windows_of_cells(cells, limits)
    found = evidence(trials, limits)
    mitigations(found.cells)
    claims_of(found)
    tables.layer_quantiles(trials, ["activation", "norm"])


def same_with_polars(run: Path) -> None:
    """What `with_pandas` makes, by the analysis' own functions."""
    results, _ = tables.scan_results(run)
    trials = tables.labelled(results)
    cells = tables.cells(trials).collect().lazy()
    regions.regime_shares(cells, ["activation", "norm"]).collect()
    regions.outcome_shares(trials, ["activation", "norm"]).collect()
    tables.layer_quantiles(trials, ["activation", "norm"])


def with_pandas(run: Path) -> None:
    """Cells with median, quantiles and labels, shares by setting, quantiles by layer: as pandas is used."""
    names = [*PARAMETERS, "part", "point", "sigma_w", "sigma_b", "gradient_decades", "forward_decades"]
    names += ["gradient_slope", "theory_sd", "outcome", "gradient_profile"]
    files = sorted((run / "results").glob("*.parquet"))
    trials = pd.concat([pd.read_parquet(file, columns=names) for file in files], ignore_index=True)
    groups = trials.groupby(["part", "point"])
    kept = [*PARAMETERS, "sigma_w", "sigma_b"]
    cells = groups[kept].first()
    cells["gradient_decades"] = groups["gradient_decades"].median()
    cells["low"] = groups["gradient_decades"].quantile(0.1)
    cells["high"] = groups["gradient_decades"].quantile(0.9)
    cells["slope"], cells["rows"] = groups["gradient_slope"].median(), groups.size()
    ends = [-np.inf, -1.3, 1.3, np.inf]
    cells["regime"] = pd.cut(cells["gradient_decades"], ends, labels=["vanishing", "stable", "exploding"])
    cells.groupby(["activation", "norm"])["regime"].value_counts(normalize=True)
    trials.groupby(["activation", "norm"])["outcome"].value_counts(normalize=True)
    long = trials[["activation", "norm", "gradient_profile"]].explode("gradient_profile")
    profile = long["gradient_profile"].astype(float)
    back = long.groupby(level=0).cumcount(ascending=False)
    relative = profile - profile.groupby(level=0).transform("last")
    layers = pd.DataFrame(
        {"activation": long["activation"], "norm": long["norm"], "back": back, "relative": relative}
    )
    layers.groupby(["activation", "norm", "back"])["relative"].quantile([0.1, 0.5, 0.9])


def report(run: Path) -> None:
    """The whole report."""
    write_report(run)


def export(run: Path) -> None:
    """Every table as a file, the long one of layers too."""
    with tempfile.TemporaryDirectory(dir=run) as folder:
        write_tables(run, Path(folder))


STEPS = {
    "tables": with_polars,
    "polars": same_with_polars,
    "pandas": with_pandas,
    "report": report,
    "export": export,
}


def measured(step: str, run: Path) -> tuple[float, float]:
    """(seconds, peak GiB) of a step in a process of its own."""
    arguments = [sys.executable, "-m", "tests.bench.analysis", "--step", step, str(run)]
    ended = subprocess.run(
        arguments, env=os.environ | {"POLARS_MAX_THREADS": "2"}, check=True, capture_output=True, text=True
    )
    seconds, peak = ended.stdout.split()[-2:]
    return float(seconds), float(peak)


def main(trials: int) -> None:
    """Prints each measurement beside what it should reach, and writes bench-analysis.json."""
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="gradatlas-bench-") as folder:
        runs = {"whole": (trials, FILES), "small": (10_000, 10), "tenth": (trials // 10, FILES // 10)}
        for name, (count, files) in runs.items():
            plant(Path(folder) / name, count, files)
        for label, step, name, reach in (
            (f"all tables, {trials:,} trials", "tables", "whole", "reach ≤ 20 s, ≤ 3 GiB"),
            (f"report, {trials:,} trials", "report", "whole", "reach ≤ 60 s"),
            ("report, 10,000 trials", "report", "small", "reach ≤ 12 s"),
            (f"tables as files, {trials:,} trials", "export", "whole", ""),
            (f"same tables in Polars, {trials // 10:,} trials", "polars", "tenth", ""),
            (f"same tables in pandas, {trials // 10:,} trials", "pandas", "tenth", ""),
        ):
            seconds, peak = measured(step, Path(folder) / name)
            found[label] = {"seconds": seconds, "peak_gib": peak}
            print(f"{label:48} {seconds:7.1f} s  {peak:5.2f} GiB  {reach}", flush=True)
    polars, pandas = (found[label]["seconds"] for label in list(found)[-2:])
    print(f"{'pandas / Polars':48} {pandas / polars:7.1f}    reach ≥ 5", flush=True)
    Path("bench-analysis.json").write_text(json.dumps(found, indent=2), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--step"]:
        started = time.perf_counter()
        STEPS[sys.argv[2]](Path(sys.argv[3]))
        print(time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
    else:
        main(int(sys.argv[1]) if sys.argv[1:] else TRIALS)
