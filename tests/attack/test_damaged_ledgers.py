"""Eight commands on damaged run folders: no traceback, no hang, nothing silently wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gradatlas.analysis import report
from gradatlas.analysis.figures import plot
from gradatlas.analysis.page import explorer
from gradatlas.study.experiment import results
from gradatlas.sweeps.command import execution
from gradatlas.sweeps.running.runs import create_run, state
from gradatlas.sweeps.spec.sweep import load_sweep
from gradatlas.sweeps.store.ledger import Ledger
from tests.attack.damaged_ledgers import DAMAGES
from tests.attack.guard import guarded

SWEEP = """
question = "Is it whole?"
[scientific]
depth = [2, 4]
activation = ["relu", "tanh"]
[fixed]
width = 4
steps = 2
batch_size = 8
[search]
points = 9
[schedule]
pack_size = 3
"""
READING: dict[str, Callable[[Path], tuple[object, ...]]] = {
    "status": lambda run: ("status", run),
    "list": lambda run: ("list", "--runs", run.parent),
    "claims": lambda run: ("claims", run, "--json"),
    "tables": lambda run: ("tables", run, "--out", run.parent / "tables"),
    "compare": lambda run: ("compare", run, run),
    "export": lambda run: ("export", run, "--optuna-storage", run.parent / "export.log"),
    "report": lambda run: ("report", run, "--out", run.parent / "report.html"),
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "small.toml").write_text(SWEEP)
    ledger = create_run(folder / "run", load_sweep(folder / "small.toml"), "small.toml", cpus=2)
    for pack in ledger.pending_packs():
        ledger.write_result(pack, results(ledger.pack_trials(pack)))
    return folder / "run"


@pytest.fixture(autouse=True)
def _light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packs are trained in this process, without Ray; of figures all is made but the drawing."""

    def trained(ledger: Ledger, *unused: object, **named: object) -> tuple[None, tuple[()]]:
        for pack in ledger.pending_packs():
            ledger.write_result(pack, results(ledger.pack_trials(pack)))
        return None, ()

    def saved(figure: Any, drawing: Any, files: list[Path]) -> tuple[float, float]:
        for file in files:
            file.write_text("<svg/>")
        return 1.0, 1.0

    @contextmanager
    def nobody(*unused: object) -> Iterator[list[object]]:
        yield []

    monkeypatch.setattr(execution, "_run_watched", trained)
    monkeypatch.setattr(plot, "save", saved)
    monkeypatch.setattr(report, "figure_processes", nobody)
    monkeypatch.setattr(explorer, "bundle", lambda: "")


def _rows(run: Path) -> pl.DataFrame:
    files = sorted((run / "results").glob("pack-*.parquet"))
    rows = pl.concat([pl.read_parquet(file.read_bytes()) for file in files])
    return rows.drop("seconds", "device").sort("trial")


@pytest.fixture(scope="module")
def sound(template: Path) -> pl.DataFrame:
    """The rows of the run."""
    return _rows(template)


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_folder_is_read_or_refused_by_name_and_made_whole(name, template, sound, tmp_path, command):
    run = tmp_path / "run"
    shutil.copytree(template, run)
    DAMAGES[name](run)
    told = {}
    for reader, arguments in READING.items():
        with guarded():
            ended = command(*arguments(run))
        assert ended.code in (0, 2), (reader, ended)
        assert "Traceback" not in ended.out + ended.err
        assert len(ended.err.splitlines()) <= 3, (reader, ended.err)
        told[reader] = ended
    if name.startswith("results/") and "gone" not in name:
        now = state(Ledger(run))
        assert (now.finished, len(now.damaged)) == (6, 1)
        for reader, ended in told.items():
            assert reader == "list" or "pack-000001.parquet" in ended.out + ended.err, reader
    with guarded():
        resumed = command("resume", run, "--no-report")
    assert resumed.code in (0, 2), resumed
    assert "Traceback" not in resumed.out + resumed.err
    if resumed.code == 0:
        assert _rows(run).equals(sound)
    elif name.startswith(("results/", "environment.json")):
        raise AssertionError(f"what is damaged can be made again, but {resumed.err}")


@pytest.mark.parametrize("name", [name for name in DAMAGES if name.startswith("environment.json")])
def test_what_is_counted_does_not_depend_on_where_a_run_was(name, template, tmp_path, command):
    sound = json.loads(command("claims", template, "--json").out)
    run = tmp_path / "run"
    shutil.copytree(template, run)
    DAMAGES[name](run)
    assert json.loads(command("claims", run, "--json").out) == sound


def test_the_real_command_on_damaged_folders(template, tmp_path):
    """Twenty damages, each with the next of the commands."""
    called = []
    for number, (name, reader) in enumerate(zip(list(DAMAGES)[::3][:20], cycle(READING), strict=False)):
        run = tmp_path / str(number) / "run"
        shutil.copytree(template, run)
        DAMAGES[name](run)
        called.append((name, [str(part) for part in READING[reader](run)]))

    def ended(call: tuple[str, list[str]]) -> tuple[str, subprocess.CompletedProcess[str]]:
        command = [sys.executable, "-m", "gradatlas", *call[1]]
        return call[0], subprocess.run(command, capture_output=True, text=True, timeout=120)

    assert len(called) == 20
    with ThreadPoolExecutor(2) as pool:
        for name, done in pool.map(ended, called):
            assert done.returncode in (0, 2), (name, done)
            assert "Traceback" not in done.stdout + done.stderr, (name, done)
            assert len(done.stderr.splitlines()) <= 3, (name, done.stderr)
