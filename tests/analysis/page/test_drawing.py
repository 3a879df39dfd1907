"""Processes that draw: what they do when a figure cannot be drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradatlas.analysis.figures.registry import FIGURES
from gradatlas.analysis.page.drawing import figure_processes


@pytest.mark.thorough
def test_a_figure_that_cannot_be_drawn_is_an_error_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text("{}")
    with figure_processes(tmp_path, 2) as processes:
        assert processes[0].names == list(FIGURES)
        with pytest.raises(ValueError, match="must be a figure"):
            processes[0].draw("no figure")
        with pytest.raises(RuntimeError, match=r"(?s)ended with 1: .*trials\.parquet"):
            processes[0].draw("regime_map")
        with pytest.raises(RuntimeError, match="ended with 1"):
            processes[0].draw("factors")
    assert [one._process.returncode is not None for one in processes] == [True, True]


def test_one_worker_needs_no_process(tmp_path: Path) -> None:
    with figure_processes(tmp_path, 1) as processes:
        assert processes == []
