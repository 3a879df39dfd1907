"""The command, called in this process, and small runs, made without Ray.

Nothing of gradatlas is imported above: jaxtyping's hook must stand before `study` is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
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


class Ended(NamedTuple):
    """How a call of the command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Calls the command as its entry point does."""
    from gradatlas.sweeps import cli

    def call(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["gradatlas", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A small sweep file."""
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


@pytest.fixture
def planned_run(tmp_path: Path, spec: Path) -> Ledger:
    """A run with a plan and no results."""
    from gradatlas.sweeps.running.runs import create_run
    from gradatlas.sweeps.spec.sweep import load_sweep

    return create_run(tmp_path / "runs" / "small", load_sweep(spec), "small.toml", cpus=2)


@pytest.fixture
def finished_run(planned_run: Ledger) -> Ledger:
    """A run whose packs were all measured and trained in this process."""
    from gradatlas.study.experiment import results

    for pack in planned_run.pending_packs():
        planned_run.write_result(pack, results(planned_run.pack_trials(pack)))
    return planned_run
