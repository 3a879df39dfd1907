"""Other people's run folders: reading one runs no code of it, and no name in it leads outside."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from gradatlas.study.regimes import DEFAULT_LIMITS
from gradatlas.study.state import load_tensors, save_tensors
from gradatlas.sweeps.running.runs import State, state
from gradatlas.sweeps.sampling import learned
from gradatlas.sweeps.store.journal import Journal, read_journal
from gradatlas.sweeps.store.ledger import Ledger
from gradatlas.sweeps.store.location import Location
from gradatlas.sweeps.store.parquet import write_table
from gradatlas.sweeps.store.storage import location_of
from gradatlas.sweeps.workers.pack_run import PackRun


def _reading(run: Path) -> list[tuple[object, ...]]:
    out = run.parent / "out"
    return [
        ("status", run), ("list", "--runs", run.parent), ("claims", run), ("tables", run, "--out", out / "t"),
        ("compare", run, run), ("export", run, "--optuna-storage", out / "export.log"),
    ]  # fmt: skip


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that is there once the module `planted_sampler` is imported."""
    mark = tmp_path / "imported"
    (tmp_path / "planted_sampler.py").write_text(
        "from optuna.samplers import TPESampler as Sampler\n"
        f"from pathlib import Path\nPath({str(mark)!r}).touch()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    learned._announce.cache_clear()
    return mark


def test_reading_a_folder_imports_no_sampler_and_resuming_it_says_so(command, finished_run, planted):
    text = finished_run.sweep_file.read_text()
    (finished_run.folder / "sweep.toml").write_text(text.replace('"qmc"', '"planted_sampler.Sampler"'))
    for arguments in [*_reading(finished_run.folder), ("resume", finished_run.folder, "--no-report")]:
        ended = command(*arguments)
        assert ended.code == 0, (arguments, ended)
        assert not planted.exists(), arguments
    (finished_run.results / "pack-000001.parquet").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradatlas.sweeps.command.execution._run_watched", lambda *_, **__: (None, ()))
        ended = command("resume", finished_run.folder, "--no-report")
    assert planted.exists()
    assert "imports planted_sampler for sampler planted_sampler.Sampler" in ended.err


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("pack", "../../victim"), ("pack", "/tmp/victim"), ("pack", "pack-000000/../../../victim"),
        ("pack", "pack-1"), ("pack", ""), ("task", "../../victim.npz"), ("task", "/tmp/victim.npz"),
        ("task", "data/../../victim.npz"),
    ],
)  # fmt: skip
def test_names_in_a_plan_that_lead_outside_are_damage(command, planned_run, tmp_path, column, name):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "thesis.txt").touch()
    (file,) = planned_run.plans.glob("*.parquet")
    plan = pl.read_parquet(file)
    chosen = pl.when(pl.col("trial") == 3).then(pl.lit(name)).otherwise(column).alias(column)
    write_table(file, plan.with_columns(chosen))
    for arguments in [("status", planned_run.folder), ("resume", planned_run.folder, "--no-report")]:
        ended = command(*arguments)
        assert ended.code == 2
        assert "plans/plan-000000.parquet cannot be read: " in ended.err
    assert [path.name for path in victim.iterdir()] == ["thesis.txt"]
    assert {path.name for path in tmp_path.iterdir()} == {"victim", "runs", "small.toml"}


@pytest.mark.parametrize(
    "name", ["results", "states", "states/pack-000000", "states/pack-000000/0-5", "plans", "data", "report"]
)
def test_folders_that_lead_outside_are_neither_written_to_nor_cleared(command, planned_run, tmp_path, name):
    victim = tmp_path / "victim"
    link = planned_run.folder / name
    if link.exists():
        link.rename(victim)
    else:
        victim.mkdir()
        link.parent.mkdir(parents=True, exist_ok=True)
    (victim / "pack-000000").mkdir()
    (victim / "pack-000000" / "thesis.txt").touch()
    link.symlink_to(victim)
    before = sorted(victim.rglob("*"))
    for arguments in (("resume",), ("extend", "--points", 3)):
        ended = command(arguments[0], planned_run.folder, *arguments[1:], "--no-report")
        assert ended.code == 2
        assert f"{link}: must not be a link" in ended.err
    assert sorted(victim.rglob("*")) == before


def test_a_report_is_not_written_through_links(command, finished_run, tmp_path):
    victim = tmp_path / "thesis.txt"
    victim.write_text("mine")
    report = finished_run.folder / "report"
    report.mkdir()
    for name in (".report.html.part", ".report.md.part", "report.html"):
        (report / name).symlink_to(victim)
    assert command("report", finished_run.folder).code == 0
    assert victim.read_text() == "mine"
    assert not (report / "report.html").is_symlink()
    report.rename(tmp_path / "elsewhere")
    report.symlink_to(tmp_path / "elsewhere")
    ended = command("report", finished_run.folder)
    assert ended.code == 2
    assert "must not be a link" in ended.err


def test_a_file_is_not_written_through_a_link_in_its_drafts_place(tmp_path):
    victim = tmp_path / "thesis.txt"
    victim.write_text("mine")
    (tmp_path / f".sweep.toml.{os.getpid()}.draft").symlink_to(victim)
    location_of(tmp_path / "sweep.toml").write_whole(b"x")
    assert victim.read_text() == "mine"
    assert (tmp_path / "sweep.toml").read_text() == "x"


def test_a_folder_whose_path_looks_like_a_pattern_is_read_like_any(command, finished_run, tmp_path):
    run = tmp_path / "runs [b]*?" / "r{1,2}"
    shutil.copytree(finished_run.folder, run)
    assert "complete, 24 of 24 trials" in command("status", run).out
    plain, odd = (json.loads(command("claims", path, "--json").out) for path in (finished_run.folder, run))
    assert plain == odd
    for arguments in _reading(run):
        ended = command(*arguments)
        assert (ended.code, ended.err) == (0, ""), (arguments, ended)
    assert pl.read_csv(run.parent / "out" / "t" / "cells.csv", glob=False).height > 0


def test_results_that_come_while_a_status_is_taken_are_not_damaged(finished_run, monkeypatch):
    """As in a run that goes on: between two looks of `status` a pack ends."""
    late = finished_run.results / "pack-000001.parquet"
    content, looks = late.read_bytes(), []
    late.unlink()
    listed = type(finished_run.results).files

    def files(self: Location, **options: bool) -> object:
        found = listed(self, **options)
        if self == finished_run.results:
            looks.append(len(found))
            late.write_bytes(content)
        return found

    monkeypatch.setattr(type(finished_run.results), "files", files)
    now: State = state(Ledger(finished_run.folder))
    assert looks
    assert now.damaged == ()
    assert now.finished == 19


BAD_JOURNALS = {
    "no cuts": {"cuts": []},
    "cuts that fall": {"cuts": [0, 4, 2, 5]},
    "cuts twice": {"cuts": [0, 2, 2, 5]},
    "texts": {"cuts": ["0", "5"]},
    "parts": {"cuts": [0, 2.5, 5]},
    "a number": {"cuts": 5},
    "more": {"cuts": [0, 5], "surprise": 1},
    "deaths": {"cuts": [0, 5], "deaths": "many"},
    "less than none": {"cuts": [0, 5], "deaths": -1},
    "whose": {"cuts": [0, 5], "driver": ["a"]},
    "in hand": {"cuts": [0, 5], "in_hand": "yes"},
    "of another pack": {"cuts": [0, 6]},
}


@pytest.mark.parametrize("name", BAD_JOURNALS)
def test_a_malformed_journal_is_a_blank_one(tmp_path, name):
    path = location_of(tmp_path / "journal.json")
    path.write_whole(json.dumps(BAD_JOURNALS[name]).encode())
    assert read_journal(path, 5) == Journal((0, 5))
    path.write_whole(b'{"cuts": [0, 2, 5], "deaths": 1}')
    assert read_journal(path, 5) == Journal((0, 2, 5), deaths=1)


def _huge(path: Path) -> None:
    """A state whose header claims 8e18 bytes."""
    save_tensors(path, {"x": torch.zeros(3)})
    content = path.read_bytes()
    header = b"'shape': (3,), }" + b" " * 20
    claimed = b"'shape': (1" + b"0" * 18 + b",), }"
    assert header[:16] in content
    path.write_bytes(content.replace(header[: len(claimed)], claimed))


def _compressed(path: Path) -> None:
    np.savez_compressed(path, x=np.zeros(10**6))


def _text(path: Path) -> None:
    path.write_text("no state")


def _folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("damaged", [_huge, _compressed, _text, _folder])
def test_a_state_that_cannot_be_one_is_refused_and_its_pack_starts_anew(planned_run, tmp_path, damaged):
    damaged(tmp_path / "state.npz")
    with pytest.raises(ValueError, match=r"must be a saved state \(.npz\), but cannot be read"):
        load_tensors(tmp_path / "state.npz")

    def worked(steps: int) -> PackRun:
        run = PackRun(
            planned_run, "pack-000000", driver="test", device=torch.device("cpu"), limits=DEFAULT_LIMITS,
            save_interval=0.0, max_failures=0,
        )  # fmt: skip
        for _ in range(steps):
            run.advance()
            run.keep()
        return run

    worked(1)
    states = list((planned_run.states / "pack-000000").glob("*/*.npz"))
    assert states
    for path in states:
        path.unlink()
        damaged(Path(path))
    again = worked(0)
    while again.rows is None:
        again.advance()
        again.keep()
    assert len(pl.read_parquet(planned_run.results / "pack-000000.parquet")) == 5
