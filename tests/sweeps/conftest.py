"""Small runs, made without Ray."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradatlas.study.experiment import results
from gradatlas.sweeps.running.runs import create_run
from gradatlas.sweeps.spec.sweep import load_sweep
from gradatlas.sweeps.store.ledger import Ledger

SMALL = """
question = "A small one?"
[scientific]
depth = [2, 4, 8]
activation = ["relu", "tanh"]
[nuisance]
learning_rate = { low = 1e-2, high = 1.0, log = true }
[fixed]
width = 8
steps = 3
batch_size = 16
[search]
points = 24
[schedule]
pack_size = 5
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A small sweep file."""
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


@pytest.fixture
def planned_run(tmp_path: Path, spec: Path) -> Ledger:
    """A run with a plan and no results."""
    return create_run(tmp_path / "runs" / "small", load_sweep(spec), "small.toml", cpus=2)


@pytest.fixture
def finished_run(planned_run: Ledger) -> Ledger:
    """A run whose packs were all measured and trained in this process."""
    for pack in planned_run.pending_packs():
        planned_run.write_result(pack, results(planned_run.pack_trials(pack)))
    return planned_run
