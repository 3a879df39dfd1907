"""How a preempted process leaves."""

from __future__ import annotations

import os
import threading

from gradatlas.sweeps.store.storage import location_of
from gradatlas.sweeps.workers import stopping


def test_a_process_whose_grace_is_over_says_how_to_go_on_and_leaves(monkeypatch, capsys, tmp_path):
    left, codes = threading.Event(), []

    def leave(code: int) -> None:
        codes.append(code)
        left.set()

    monkeypatch.setattr(os, "_exit", leave)
    stopping._leave_after(0.0, location_of(tmp_path / "run"))
    assert left.wait(60)
    assert codes == [75]
    assert f"gradatlas resume {tmp_path / 'run'}" in capsys.readouterr().err
