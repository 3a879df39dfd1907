"""Runs that get more points: what is there stays, the sequence goes on, a kill in between loses nothing."""

from __future__ import annotations

import json

import pytest

from gradatlas.study.experiment import results
from gradatlas.sweeps.errors import UserError
from gradatlas.sweeps.planning.machine import this_node
from gradatlas.sweeps.running.runs import complete_plan, create_run, extend_run, state, sweep_of
from gradatlas.sweeps.spec.sweep import load_sweep
from gradatlas.sweeps.store.ledger import Ledger


def _plan(ledger: Ledger) -> list[dict]:
    return ledger.plan().sort("trial").collect().to_dicts()


def _extended(ledger: Ledger, points: int) -> None:
    with ledger.locked():
        complete_plan(ledger, extend_run(ledger, points), [this_node(2)])


def test_an_extended_run_goes_on_with_its_sequence(finished_run, spec, tmp_path):
    before, kept = _plan(finished_run), sorted(finished_run.results.glob("*.parquet"))
    _extended(finished_run, 10)
    longer = create_run(tmp_path / "longer", load_sweep(spec, ("search.points=34",)), "", cpus=2)
    assert _plan(finished_run)[:24] == before
    others = [{**row, "pack": ""} for row in _plan(finished_run)]
    assert others == [{**row, "pack": ""} for row in _plan(longer)]
    assert sorted(finished_run.results.glob("*.parquet")) == kept
    assert sweep_of(finished_run).trials == 34
    now = state(finished_run)
    assert (now.planned, now.finished, now.is_complete) == (34, 24, False)
    for pack in finished_run.pending_packs():
        finished_run.write_result(pack, results(finished_run.pack_trials(pack)))
    assert state(finished_run).is_complete


def test_every_part_gets_the_points_and_numbers_follow(spec, tmp_path):
    spec.write_text(spec.read_text() + '[[part]]\nname = "a"\n[[part]]\nname = "b"\nsearch = { points = 3 }')
    ledger = create_run(tmp_path / "run", load_sweep(spec), "", cpus=2)
    before = _plan(ledger)
    _extended(ledger, 2)
    plan = _plan(ledger)
    assert plan[:27] == before
    assert [(row["trial"], row["part"], row["point"]) for row in plan[27:]] == [
        (27, "a", 27),
        (28, "a", 28),
        (29, "b", 29),
        (30, "b", 30),
    ]
    assert [part.points for part in sweep_of(ledger).parts] == [26, 5]
    assert len({row["seed"] for row in plan}) == 31


def test_a_kill_between_sweep_and_plan_is_made_up_for_by_resume(finished_run):
    sweep = extend_run(finished_run, 5)  # and here the process dies
    assert not state(finished_run).is_complete
    for _ in range(2):
        complete_plan(finished_run, sweep, [this_node(2)])
    assert [row["trial"] for row in _plan(finished_run)] == list(range(29))


def test_a_grid_cannot_be_extended(spec, tmp_path):
    text = spec.read_text().replace("points = 24", 'sampler = "grid"')
    spec.write_text(text)
    ledger = create_run(tmp_path / "run", load_sweep(spec), "", cpus=2)
    with pytest.raises(UserError, match="a grid has no further points; run it with more levels"):
        extend_run(ledger, 1)


def test_more_than_a_learning_sampler_takes_changes_nothing(spec, tmp_path):
    ledger = create_run(tmp_path / "run", load_sweep(spec, ("search.sampler=tpe",)), "", cpus=2)
    before = ledger.sweep_file.read_bytes()
    with pytest.raises(UserError, match="must be <= 10000 with sampler tpe"):
        extend_run(ledger, 10_000)
    assert ledger.sweep_file.read_bytes() == before


def test_status_tells_what_is_proposed_of_what_is_planned(command, spec, tmp_path):
    ledger = create_run(tmp_path / "run", load_sweep(spec, ("search.sampler=tpe",)), "", cpus=2)
    told = json.loads(command("status", ledger.folder, "--json").out)
    assert (told["planned"], told["proposed"], told["finished"], told["complete"]) == (24, 1, 0, False)
    assert "proposed so far: 1 of 24 trials" in command("status", ledger.folder).out
    dry = command("run", spec, "--set", "search.sampler=tpe", "--dry-run", "--cpus", 1).out
    assert "tpe proposes 3 points at a time" in dry
