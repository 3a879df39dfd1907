"""A whole run of the command in a process of its own, on a real Ray; faults are in tests/cluster."""

from __future__ import annotations

import json
import subprocess
import sys

import polars as pl
import pytest

from gradatlas.study.experiment import results
from gradatlas.sweeps.store.ledger import Ledger

pytestmark = pytest.mark.cluster


def test_a_run_leaves_the_rows_of_its_plan_and_a_report_and_json_lines_are_all_it_writes(spec, tmp_path):
    arguments = ("run", spec, "--runs", tmp_path, "--name", "r", "--cpus", "2", "--json-lines")
    ended = subprocess.run([sys.executable, "-m", "gradatlas", *arguments], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    run = tmp_path / "r"
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    told = [event["event"] for event in events if event["event"] != "progress"]  # every 30 s, and at the end
    assert told[:2] == ["start", "workers"]
    assert sum(event["trials"] for event in events if event["event"] == "pack") == 24
    assert told[-2:] == ["report", "end"]
    assert events[-2] == {"event": "report", "file": str(run / "report" / "report.html")}
    last = {"event": "end", "run": str(run), "done": 24, "planned": 24, "stopped": None, "code": 0}
    assert events[-1] == last
    left = {path.name for path in run.iterdir() if not path.name.startswith(".")}
    assert left == {"sweep.toml", "environment.json", "plans", "results", "report"}
    rows = pl.read_parquet(run / "results" / "*.parquet").sort("trial")
    assert rows["trial"].to_list() == list(range(24))
    ledger = Ledger(run)
    for pack in ledger.pack_sizes():
        by_seed = {row["seed"]: row for row in rows.filter(pl.col("pack") == pack).to_dicts()}
        for row in results(ledger.pack_trials(pack)):
            assert by_seed[row["seed"]]["losses"] == row["losses"]
            assert by_seed[row["seed"]]["gradient_profile"] == row["gradient_profile"]
