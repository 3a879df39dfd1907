"""Whole runs of the command in a process of its own, on a real Ray."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from study.experiment import results
from sweeps.ledger import Ledger

pytestmark = pytest.mark.cluster


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", "from sweeps.cli import main; main()", *map(str, arguments)]


def _rows(run: Path) -> pl.DataFrame:
    return pl.read_parquet(run / "results" / "*.parquet").sort("trial").drop("seconds", "device")


def _wait_for_results(run: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while len(list((run / "results").glob("*.parquet"))) < count:
        assert time.monotonic() < deadline, "no results within two minutes"
        time.sleep(0.05)


def test_a_run_leaves_the_rows_of_its_plan_and_a_report(spec, tmp_path):
    ended = subprocess.run(
        _command("run", spec, "--runs", tmp_path, "--name", "r", "--cpus", 2), capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    assert "24/24 trials" in ended.stdout
    assert "report: " in ended.stdout
    run = tmp_path / "r"
    assert {path.name for path in run.iterdir() if not path.name.startswith(".")} == {
        "sweep.toml",
        "environment.json",
        "plans",
        "results",
        "report",
    }
    rows = _rows(run)
    assert rows["trial"].to_list() == list(range(24))
    ledger = Ledger(run)
    for pack in ledger.pack_sizes():
        expected = results(ledger.pack_trials(pack))
        measured = rows.filter(pl.col("pack") == pack)
        by_seed = {row["seed"]: row for row in measured.to_dicts()}
        for row in expected:
            assert by_seed[row["seed"]]["losses"] == row["losses"]
            assert by_seed[row["seed"]]["gradient_profile"] == row["gradient_profile"]


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_keeps_its_packs_and_resumes_to_the_same_rows(spec, tmp_path, kill):
    slow = spec.read_text().replace("steps = 3", "steps = 300").replace("pack_size = 5", "pack_size = 1")
    spec.write_text(slow)
    run = tmp_path / "r"
    process = subprocess.Popen(
        _command("run", spec, "--runs", tmp_path, "--name", "r", "--no-report"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _wait_for_results(run, 3)
    if kill == signal.SIGINT:
        os.killpg(process.pid, kill)  # as a terminal's Ctrl-C: to every process in the foreground
    else:
        process.kill()
    _, err = process.communicate(timeout=120)
    kept = {path.name: path.stat().st_mtime_ns for path in (run / "results").glob("*.parquet")}
    assert 3 <= len(kept) < 24
    if kill == signal.SIGINT:
        assert process.returncode == 130
        assert err.strip().splitlines()[-1].endswith(f"go on with: gradatlas resume {run}")
        assert "Traceback" not in err
    resumed = subprocess.run(_command("resume", run, "--no-report"), capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    assert _rows(run)["trial"].to_list() == list(range(24))
    for name, modified in kept.items():
        assert (run / "results" / name).stat().st_mtime_ns == modified
    ledger = Ledger(run)
    for pack in list(ledger.pack_sizes())[:4]:
        (expected,) = results(ledger.pack_trials(pack))
        (row,) = _rows(run).filter(pl.col("pack") == pack).to_dicts()
        assert row["losses"] == expected["losses"]
