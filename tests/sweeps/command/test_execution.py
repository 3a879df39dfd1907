"""How a run ends when another process takes it over while it goes on."""

from __future__ import annotations

from datetime import datetime

import pytest

from gradatlas.study.experiment import results
from gradatlas.sweeps.running import runs
from gradatlas.sweeps.workers import runner
from gradatlas.sweeps.workers.runner import Ended


@pytest.mark.parametrize("is_complete", [False, True])
def test_a_run_that_was_taken_over_says_so_and_leaves_the_report_to_the_other(
    planned_run, command, monkeypatch, is_complete
):
    def displaced(ledger, *unused, **more):
        for pack in ledger.pending_packs()[: None if is_complete else 1]:
            ledger.write_result(pack, results(ledger.pack_trials(pack)))
        return Ended("taken over", ())

    monkeypatch.setattr(runner, "run_packs", displaced)
    ended = command("resume", planned_run.folder)
    assert ended.code == (0 if is_complete else 1)
    there = "and it is complete" if is_complete else "it goes on there"
    assert "another process took the run over" in ended.err
    assert there in ended.err.replace("\n", " ")
    assert not (planned_run.folder / "report").exists()


def test_runs_that_begin_in_one_second_have_names_of_their_own(command, spec, tmp_path, monkeypatch):
    class Noon(datetime):
        @classmethod
        def now(cls, zone=None):
            return datetime(2026, 1, 2, 12)

    monkeypatch.setattr(runs, "datetime", Noon)
    monkeypatch.setattr(runner, "run_packs", lambda *unused, **more: Ended("preempted", ()))
    for name in ("small-20260102-120000", "small-20260102-120000-2", "small-20260102-120000-3"):
        ended = command("run", spec, "--runs", tmp_path / "runs", "--no-report")
        assert ended.code == 75
        assert f"into {tmp_path / 'runs' / name}\n" in ended.out
        assert f"go on with: gradatlas resume {tmp_path / 'runs' / name}" in ended.err.replace("\n", " ")
