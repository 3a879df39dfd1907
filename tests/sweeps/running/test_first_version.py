"""A run folder that version 0.1.0 left, one pack short: opened, resumed, extended, reported."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest

import gradatlas
from gradatlas.study.experiment import results
from gradatlas.sweeps.planning.machine import this_node
from gradatlas.sweeps.running.runs import complete_plan, extend_run, state
from gradatlas.sweeps.store.ledger import Ledger

LEFT = Path(__file__).parent / "first_version"


@pytest.fixture
def run(tmp_path: Path) -> Ledger:
    """A copy of the folder."""
    shutil.copytree(LEFT, tmp_path / "first")
    return Ledger.opened(tmp_path / "first")


def test_it_opens_and_says_what_is_missing(run, command):
    now = state(run)
    assert (now.planned, now.finished, now.damaged) == (8, 6, ())
    assert "not complete, 6 of 8 trials" in command("status", run.folder).out
    trials = gradatlas.open(str(run.folder)).trials.collect()
    assert trials.height == 6
    assert trials["regime"].null_count() == 0
    for name in ("probe_size", "probe_losses", "probe_steps", "relative_gradient_decades"):
        assert trials[name].null_count() == 6
    assert {trial.probe_size for pack in run.pack_sizes() for trial in run.pack_trials(pack)} == {0}


def test_what_is_missing_has_a_cost_and_is_run_with_its_own_seeds(run):
    (pack,) = run.pending_packs()
    assert run.pending_costs()[pack] > 0
    run.write_result(pack, results(run.pack_trials(pack)))
    assert state(run).is_complete
    files = [pl.read_parquet(file.read_bytes()) for file in run.results.glob("*.parquet")]
    rows = pl.concat(files, how="diagonal_relaxed")
    assert rows["seed"].n_unique() == 8
    for name in run.pack_sizes():
        there = rows.filter(pack=name)["losses"].to_list()
        # On one kind of processor to the bit; float32 over four steps differs by little on another.
        for row, losses in zip(results(run.pack_trials(name)), there, strict=True):
            assert row["losses"] == pytest.approx(losses, rel=1e-4)


def test_it_can_be_extended_and_reported(run, command):
    sweep = extend_run(run, 4)
    complete_plan(run, sweep, [this_node(2)])
    assert sweep.trials == 12
    assert run.plan().select("cost").collect()["cost"].null_count() == 8  # those of the first plan
    for pack in run.pending_packs():
        run.write_result(pack, results(run.pack_trials(pack)))
    assert state(run).is_complete
    assert command("report", run.folder).code == 0
    assert command("tables", run.folder, "--out", Path(str(run.folder)) / "tables").code == 0
