"""Runs as Optuna studies: what Optuna and the real dashboard read back is what the ledger holds."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import optuna
import polars as pl
import pytest
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from gradatlas.sweeps.store.ledger import Ledger

optuna.logging.set_verbosity(optuna.logging.WARNING)


def _loaded(url: str, name: str) -> optuna.Study:
    file = url.startswith("journal://")
    storage = JournalStorage(JournalFileBackend(url[10:])) if file else RDBStorage(url)
    return optuna.load_study(study_name=name, storage=storage)


def _url(kind: str, folder: Path) -> str:
    return f"journal://{folder / 'study.log'}" if kind == "journal" else f"sqlite:///{folder / 'study.db'}"


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_a_study_holds_what_the_ledger_holds(command, finished_run, tmp_path, kind):
    results = sorted(finished_run.results.glob("*.parquet"))
    results[0].unlink()  # a pack that has not run yet
    rows = pl.read_parquet(results[1:]).sort("trial").to_dicts()
    url = _url(kind, tmp_path)
    ended = command("export", finished_run.folder, "--optuna-storage", url)
    assert (ended.code, ended.err) == (0, "")
    assert f"study small: {len(rows)} trials" in ended.out
    trials = _loaded(url, "small").trials
    assert [trial.number for trial in trials] == list(range(len(rows)))
    for trial, row in zip(trials, rows, strict=True):
        assert trial.params == {name: row[name] for name in ("depth", "activation", "learning_rate")}
        assert trial.user_attrs["trials"] == [row["trial"]]
        assert trial.user_attrs["outcome"] == [row["outcome"]]
        assert trial.user_attrs["gradient_decades"] == [row["gradient_decades"]]
        assert trial.state == TrialState.COMPLETE
        assert trial.values == [10.0 if row["final_loss"] is None else min(row["final_loss"], 10.0)]


def test_the_fast_way_into_a_database_writes_what_optunas_own_writes(command, finished_run, tmp_path):
    for kind in ("journal", "sqlite"):
        command("export", finished_run.folder, "--optuna-storage", _url(kind, tmp_path))
    journal, sqlite = (_loaded(_url(kind, tmp_path), "small") for kind in ("journal", "sqlite"))
    assert (journal.directions, journal.metric_names) == (sqlite.directions, sqlite.metric_names)
    for one, other in zip(journal.trials, sqlite.trials, strict=True):
        for name in ("number", "state", "params", "distributions", "values", "user_attrs"):
            assert getattr(one, name) == getattr(other, name), name


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_a_study_is_never_written_twice(command, finished_run, tmp_path, kind):
    url = _url(kind, tmp_path)
    assert command("export", finished_run.folder, "--optuna-storage", url).code == 0
    ended = command("export", finished_run.folder, "--optuna-storage", url)
    assert ended.code == 2
    assert "holds the study 'small' already, and nothing is written twice" in ended.err
    assert len(_loaded(url, "small").trials) == 24


def test_failed_trials_are_failed_and_infinite_gradients_words(command, finished_run, tmp_path):
    victim = sorted(finished_run.results.glob("*.parquet"))[0]
    rows = pl.read_parquet(victim).with_columns(
        outcome=pl.lit("failed"), failure=pl.lit("why"), gradient_decades=pl.lit(float("-inf"))
    )
    rows.write_parquet(victim)
    url = _url("sqlite", tmp_path)
    command("export", finished_run.folder, "--optuna-storage", url)
    failed = [trial for trial in _loaded(url, "small").trials if trial.state == TrialState.FAIL]
    assert [trial.user_attrs["trials"][0] for trial in failed] == sorted(rows["trial"])
    assert all(trial.user_attrs["gradient_decades"] == ["-inf"] for trial in failed)
    assert all(trial.user_attrs["failure"] == ["why"] for trial in failed)


def test_a_storage_that_cannot_be_written_is_one_line(command, finished_run):
    ended = command("export", finished_run.folder, "--optuna-storage", "nope://x")
    assert ended.code == 2
    assert len(ended.err.strip().splitlines()) == 1


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _answer(url: str, process: subprocess.Popen) -> dict:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)
        except OSError:
            assert process.poll() is None, "the dashboard ended"
            assert time.monotonic() < deadline, "the dashboard does not answer"
            time.sleep(0.1)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_the_real_dashboard_serves_the_exported_study(command, finished_run: Ledger, tmp_path, kind):
    url, port = _url(kind, tmp_path), _free_port()
    command("export", finished_run.folder, "--optuna-storage", url)
    served = url.removeprefix("journal://")
    program = "from optuna_dashboard._cli import main; main()"
    dashboard = subprocess.Popen(
        [sys.executable, "-c", program, served, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        (study,) = _answer(f"http://127.0.0.1:{port}/api/studies", dashboard)["study_summaries"]
        assert study["study_name"] == "small"
        found = _answer(f"http://127.0.0.1:{port}/api/studies/{study['study_id']}?after=0", dashboard)
        assert [trial["state"] for trial in found["trials"]] == ["Complete"] * 24
        assert {entry["name"] for entry in found["trials"][0]["params"]} == {
            "depth",
            "activation",
            "learning_rate",
        }
    finally:
        dashboard.kill()
        dashboard.wait()


@pytest.mark.parametrize("url", ["{}", "journal://{}", "sqlite:///{}"])
def test_a_file_of_another_kind_is_neither_read_nor_written_to(command, planned_run, tmp_path, url):
    (tmp_path / "notes.txt").write_text("mine\n")
    os.mkfifo(tmp_path / "fifo")
    for name, said in {
        "notes.txt": "must be new or an Optuna storage",
        "fifo": "must be a regular file",
    }.items():
        ended = command("export", planned_run.folder, "--optuna-storage", url.format(tmp_path / name))
        assert ended.code == 2
        assert said in ended.err
    assert (tmp_path / "notes.txt").read_text() == "mine\n"
