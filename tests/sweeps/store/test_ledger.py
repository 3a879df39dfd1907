"""The ledger: files that are whole or absent, one row per planned trial, every column as declared."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from gradatlas.study.experiment import results
from gradatlas.study.records import COLUMNS
from gradatlas.study.trial import PARAMETERS
from gradatlas.sweeps.errors import UserError
from gradatlas.sweeps.planning.costs import cost
from gradatlas.sweeps.running.runs import sweep_of
from gradatlas.sweeps.store import local
from gradatlas.sweeps.store.ledger import Ledger
from gradatlas.sweeps.store.parquet import schema


def _rows(ledger: Ledger) -> pl.DataFrame:
    return pl.read_parquet(ledger.results / "*.parquet").sort("trial")


def test_every_written_file_has_exactly_the_declared_columns(finished_run):
    expected = {name: str(dtype) for name, dtype in schema().items()}
    assert list(expected) == list(COLUMNS)
    for path in finished_run.results.glob("*.parquet"):
        assert {name: str(dtype) for name, dtype in pl.read_parquet_schema(path).items()} == expected
    plan = pl.read_parquet(finished_run.plans / "*.parquet")
    repeated = [c.name for c in COLUMNS.values() if c.role in ("identity", "parameter")]
    assert plan.columns == [*repeated, "cost"]


def test_a_plan_keeps_the_cost_that_packs_were_cut_by(planned_run):
    costs = dict.fromkeys(planned_run.pack_sizes(), 0.0)
    for pack in costs:
        costs[pack] = sum(map(cost, planned_run.pack_trials(pack)))
        assert planned_run.pack_costs(pack) == [cost(trial) for trial in planned_run.pack_trials(pack)]
    assert planned_run.pending_costs() == pytest.approx(costs, rel=1e-12)


def test_a_plan_without_costs_has_them_computed(planned_run):
    known, mean = planned_run.pending_costs(), planned_run.mean_cost()
    for file in planned_run.plans.glob("*.parquet"):
        pl.read_parquet(file).drop("cost").write_parquet(file)
    assert planned_run.pending_costs() == pytest.approx(known, rel=1e-12)
    assert planned_run.mean_cost() == pytest.approx(mean, rel=1e-12)


def test_every_planned_trial_has_one_row_with_its_own_parameters(finished_run):
    plan, rows = finished_run.plan().sort("trial").collect(), _rows(finished_run)
    assert rows["trial"].to_list() == list(range(24))
    for name in ("point", "draw", "repetition", "seed", "pack", *PARAMETERS):
        assert rows[name].to_list() == plan[name].to_list(), name


def test_rows_equal_those_of_each_trial_alone(finished_run):
    ignored = {"seconds", "device", "trial", "part", "point", "draw", "repetition", "pack"}
    rows = {row["seed"]: row for row in _rows(finished_run).to_dicts()}
    for pack in finished_run.pack_sizes():
        for trial in finished_run.pack_trials(pack):
            (alone,) = results([trial])
            for name in set(alone) - ignored:
                assert rows[trial.seed][name] == alone[name], name


def test_lists_have_a_value_for_each_layer(finished_run):
    for row in _rows(finished_run).to_dicts():
        for name in ("gradient_profile", "forward_profile", "update_profile", "dead_profile"):
            assert len(row[name]) == row["depth"]
        assert row["weight_factor_profile"][-1] is None
        assert len(row["losses"]) == len(row["loss_steps"]) == 3


def test_a_truncated_result_counts_as_missing_and_is_run_again(finished_run):
    victim = sorted(finished_run.results.glob("*.parquet"))[1]
    victim.write_bytes(victim.read_bytes()[:-100])
    assert finished_run.pending_packs() == [victim.stem]
    finished_run.write_result(victim.stem, results(finished_run.pack_trials(victim.stem)))
    assert finished_run.pending_packs() == []
    assert _rows(finished_run)["trial"].to_list() == list(range(24))


def test_a_write_that_breaks_leaves_no_file(planned_run, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    pack = planned_run.pending_packs()[0]
    monkeypatch.setattr(local.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        planned_run.write_result(pack, results(planned_run.pack_trials(pack)))
    assert list(planned_run.results.iterdir()) == []


def test_a_result_has_no_name_before_it_is_whole(planned_run, monkeypatch):
    def killed(self: Path, target: object) -> None:
        raise OSError(5, "killed here")

    pack = planned_run.pending_packs()[0]
    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(OSError, match="killed here"):
        planned_run.write_result(pack, results(planned_run.pack_trials(pack)))
    assert list(planned_run.results.glob("*.parquet")) == []


def test_the_resolved_sweep_plans_the_same_trials(planned_run, tmp_path):
    from gradatlas.sweeps.running.runs import create_run

    again = create_run(tmp_path / "again", sweep_of(planned_run), "small.toml", cpus=2)
    assert again.plan().collect().equals(planned_run.plan().collect())


def test_one_process_at_a_time_writes_a_run(planned_run):
    with (
        planned_run.locked(),
        pytest.raises(UserError, match="another process is running it"),
        Ledger(planned_run.folder).locked(),
    ):
        pass
    with planned_run.locked():
        pass
