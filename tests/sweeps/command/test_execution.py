"""How a run ends when another process takes it over while it goes on."""

from __future__ import annotations

import pytest

from gradatlas.study.experiment import results
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
