"""Whatever is killed when: every planned trial has one row in the end, equal to an undisturbed run's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gradatlas.study.experiment import results
from gradatlas.sweeps.running.optuna_export import export
from gradatlas.sweeps.running.runs import create_run, sweep_of
from gradatlas.sweeps.spec.sweep import parse_sweep
from gradatlas.sweeps.store.ledger import Ledger
from gradatlas.sweeps.store.pack_states import PackStates
from tests.cluster.faults import (
    DEADLINE,
    PATCHES,
    ROOT,
    Command,
    assert_undisturbed,
    ended_here,
    expected_rows,
    resumed,
    rows,
    started,
    states,
    sweep_text,
    wait_until,
)

pytestmark = pytest.mark.cluster

TEXT = sweep_text()
LONGER = sweep_text(steps=1200)  # for tests that act while two packs are in hand


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """The rows of the sweep when nothing disturbs it."""
    return expected_rows(TEXT, tmp_path_factory.mktemp("expected") / "run")


def _results(run: Path) -> list[Path]:
    return list((run / "results").glob("*.parquet"))


def _in_the_middle(run: Path) -> None:
    """Returns when packs are done and others are saved half-way."""
    wait_until(lambda: len(_results(run)) >= 2 and states(run), "packs in hand")


def _fault(name: str, **more: str) -> dict[str, str]:
    """The environment in which the processes of a run have a fault."""
    path = os.pathsep.join(filter(None, (PATCHES, os.environ.get("PYTHONPATH"))))
    return {"PYTHONPATH": path, "FAULT": name, **more}


def _modified(run: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in _results(run)}


def test_a_driver_that_is_killed_three_times(tmp_path, expected):
    run = tmp_path / "run"
    chance = np.random.Generator(np.random.Philox(1))
    with started(TEXT, tmp_path) as command:
        for kill in range(3):
            seen = len(_results(run))
            wait_until(lambda seen=seen: len(_results(run)) > seen and states(run), "a pack more")
            moment = time.monotonic() + chance.uniform(0.0, 1.0)
            wait_until(lambda moment=moment: time.monotonic() > moment, "the moment")
            assert command.process.poll() is None
            command.process.kill()
            command.ended()
            if kill < 2:
                command.process = Command("resume", run, "--no-report").process
    kept = _modified(run)
    assert len(kept) < 8
    code, _, err = resumed(run)
    assert code == 0, err
    assert kept.items() <= _modified(run).items()  # what was done is not done again
    assert_undisturbed(run, expected)


def test_a_worker_that_is_killed_in_the_middle_of_a_pack(tmp_path):
    text = sweep_text(sampler="random")
    run = tmp_path / "run"
    with started(text, tmp_path) as command:
        _in_the_middle(run)
        os.kill(command.workers()[0], signal.SIGKILL)
        code, _, err = command.ended()
    assert (code, err) == (0, "")
    assert_undisturbed(run, expected_rows(text, tmp_path / "expected"))


def test_workers_that_rays_memory_monitor_kills_go_on_when_there_is_room(tmp_path, expected):
    """Its monitor is set to strike 4 GB above what the machine uses now; then 6 GB are taken for a while."""
    total, used = _memory()
    threshold = (used + 4 * 2**30) / total
    with started(TEXT, tmp_path, RAY_memory_usage_threshold=f"{threshold:.4f}") as command:
        _in_the_middle(tmp_path / "run")
        before = set(command.workers())
        taken = bytearray(b"x") * (6 * 2**30)
        wait_until(lambda: not before <= set(command.workers()), "a worker that is killed")
        del taken
        code, _, err = command.ended()
    assert (code, err) == (0, "")
    assert_undisturbed(tmp_path / "run", expected)


def _memory() -> tuple[int, int]:
    """(Bytes of memory, of them in use)."""
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    total, free = (1024 * int(lines[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
    return total, total - free


def test_rays_node_that_is_killed(tmp_path, expected):
    run = tmp_path / "run"
    with started(TEXT, tmp_path) as command:
        _in_the_middle(run)
        os.kill(command.descendants("raylet/raylet ")[0], signal.SIGKILL)
        code, _, err = command.ended()
    if code:  # the run starts another Ray itself, unless the loss took the driver along
        code, _, err = resumed(run)
    assert code == 0, err
    assert_undisturbed(run, expected)


def test_rays_head_process_that_is_killed_ends_the_run_with_a_line(tmp_path, expected):
    run = tmp_path / "run"
    with started(TEXT, tmp_path) as command:
        _in_the_middle(run)
        os.kill(command.descendants("gcs_server")[0], signal.SIGKILL)
        code, _, err = command.ended(deadline=30)  # Ray itself takes a minute
    assert code == 1
    assert err.splitlines()[-1] == (
        f"Ray's head process died: what is done is kept; go on with: gradatlas resume {run}"
    )
    assert "Traceback" not in err
    code, _, err = resumed(run)
    assert code == 0, err
    assert_undisturbed(run, expected)


@pytest.fixture(scope="module")
def longer_expected(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """The rows of the longer sweep when nothing disturbs it."""
    return expected_rows(LONGER, tmp_path_factory.mktemp("longer") / "run")


@pytest.mark.parametrize(
    ("stop", "everyone", "code"),
    [
        (signal.SIGTERM, False, 75),
        (signal.SIGTERM, True, 75),  # as a batch system does to all processes of a job
        (signal.SIGINT, True, 130),  # as a terminal does
        (signal.SIGHUP, True, 75),  # as a terminal that goes away does
    ],
)
def test_a_run_that_is_told_to_stop_saves_its_packs(tmp_path, longer_expected, stop, everyone, code):
    run = tmp_path / "run"
    with started(LONGER, tmp_path) as command:
        _in_the_middle(run)
        wait_until(lambda: len({path.parents[1] for path in states(run)}) == 2, "two packs in hand")
        (os.killpg if everyone else os.kill)(command.process.pid, stop)
        ended, _, err = command.ended()
    assert ended == code, err
    assert f"go on with: gradatlas resume {run}" in err.strip().splitlines()[-1]
    assert "Traceback" not in err
    pending = Ledger(run).pending_packs()
    in_hand = [pack for pack in pending if (run / "states" / pack).exists()]
    assert 1 <= len(in_hand) <= 2  # one that was about to end may have ended
    if not (everyone and stop == signal.SIGTERM):  # which ends Ray's node too, maybe before a worker is done
        assert not any(PackStates(Ledger(run).states / pack).journal(8).in_hand for pack in in_hand)
    ended_here(run)
    assert_undisturbed(run, longer_expected)


def test_a_run_under_nohup_outlives_its_terminal(tmp_path, expected):
    run = tmp_path / "run"
    with started(TEXT, tmp_path, through=["nohup"]) as command:
        _in_the_middle(run)
        os.killpg(command.process.pid, signal.SIGHUP)
        code, _, err = command.ended()
    assert code == 0, err
    assert_undisturbed(run, expected)


def test_a_time_budget_ends_a_run_in_order(tmp_path):
    text = TEXT + "time_budget = 0.5\n"  # spent while Ray starts
    run = tmp_path / "run"
    with started(text, tmp_path) as command:
        code, _, err = command.ended()
    assert code == 75
    said = "schedule.time_budget is spent: 0 of 64 trials are done and kept; go on with: gradatlas resume"
    assert f"{said} {run}" in err
    assert len(Ledger(run).pending_packs()) == 8
    assert not states(run)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True, text=True
    )
    if mount.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mount.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def test_a_full_disk_ends_the_run_and_room_lets_it_go_on(small_disk, tmp_path, expected):
    run, filler = small_disk / "run", small_disk / "filler"
    with started(TEXT, small_disk) as command:
        wait_until(lambda: _results(run), "a result")
        with pytest.raises(OSError, match="No space left"):
            _fill(filler)
        code, _, err = command.ended()
    assert code == 1
    assert "No space left on device" in err
    assert f"try again with: gradatlas resume {run}" in err
    filler.unlink()
    ended_here(run)
    assert_undisturbed(run, expected)


def test_results_that_are_cut_short_or_gone_are_run_again(tmp_path, expected):
    ledger = create_run(
        tmp_path / "run", parse_sweep(tomllib.loads(TEXT), "sweep.toml"), "sweep.toml", cpus=2
    )
    for pack in ledger.pending_packs()[:4]:
        ledger.write_result(pack, results(ledger.pack_trials(pack)))
    first, second, third, _ = sorted(_results(ledger.folder))
    first.write_bytes(first.read_bytes()[:500])
    second.write_bytes(b"")
    third.unlink()
    code, _, err = resumed(ledger.folder)
    assert code == 0, err
    assert_undisturbed(ledger.folder, expected)


def test_a_clock_that_jumps_changes_nothing(tmp_path):
    text = sweep_text(sampler="grid")
    run, yesterday = tmp_path / "run", tmp_path / "yesterday"
    fault = _fault("jumping clock", FAULT_FILE=str(yesterday))
    with started(text, tmp_path, **fault) as command:
        _in_the_middle(run)
        yesterday.touch()
        seen = len(_results(run))
        wait_until(lambda: len(_results(run)) > seen and states(run), "a pack more")
        command.process.kill()
        command.ended()
    for path in states(run):
        os.utime(path, (2**32, 2**32))  # saved in 2106
    code, _, err = resumed(run, **fault)
    assert code == 0, err
    assert_undisturbed(run, expected_rows(text, tmp_path / "expected"))


def test_trials_that_break_the_engine_are_failed_rows_and_the_others_count(tmp_path, expected):
    run = tmp_path / "run"
    broken = tuple(expected.filter(pl.col("learning_rate") > 50)["trial"].to_list())
    assert broken
    with started(TEXT, tmp_path, **_fault("broken trial")) as command:
        code, out, err = command.ended()
    assert (code, err) == (0, "")
    assert f"{len(broken)} failed" in out
    assert_undisturbed(run, expected, but=broken)
    failed = rows(run).filter(pl.col("outcome") == "failed")
    assert tuple(failed["trial"].to_list()) == broken
    assert set(failed["failure"]) == {"ArithmeticError: no such learning rate"}
    whole = failed["gradient_decades"].to_list()
    assert whole == expected.filter(pl.col("trial").is_in(broken))["gradient_decades"].to_list()


def test_workers_that_the_system_kills_for_memory_train_their_packs_in_parts(tmp_path, expected):
    text = sweep_text(points=8).replace('["relu", "tanh"]', '["tanh"]')  # one pack
    run = tmp_path / "run"
    with started(text, tmp_path, **_fault("killed for memory")) as command:
        code, _, err = command.ended()
    assert (code, err) == (0, "")
    assert_undisturbed(run, expected_rows(text, tmp_path / "expected"))


def test_a_learning_search_whose_driver_is_killed_loses_and_repeats_nothing(tmp_path):
    """Rows equal those of the plan's trials; which trials are planned depends on when packs finish."""
    import optuna

    text = sweep_text(sampler="tpe", points=32, steps=200)
    run = tmp_path / "run"
    with started(text, tmp_path) as command:
        wait_until(lambda: len(_results(run)) >= 3, "packs")
        command.process.kill()
        command.ended()
    planned = Ledger(run).plan().sort("trial").collect()
    assert 0 < planned.height < 32
    code, _, err = resumed(run)
    assert code == 0, err
    whole = Ledger(run).plan().sort("trial").collect()
    assert whole["trial"].to_list() == list(range(32))
    assert whole.head(planned.height).equals(planned)
    assert rows(run)["trial"].to_list() == list(range(32))
    export(Ledger(run), sweep_of(Ledger(run)), str(tmp_path / "study.log"), lambda count: None)
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.log"))
    )
    trials = optuna.load_study(study_name="run", storage=storage).trials
    assert [trial.number for trial in trials] == list(range(32))
    assert {trial.state.name for trial in trials} == {"COMPLETE"}


@pytest.mark.parametrize("option", ["", "--json-lines"])
def test_a_reader_of_the_display_that_goes_away_ends_the_display_and_not_the_run(tmp_path, option):
    text = sweep_text(points=16, steps=20)
    (tmp_path / "sweep.toml").write_text(text)
    command = f"{sys.executable} -m gradatlas run sweep.toml --runs . --name run --no-report {option}"
    ended = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | head -1"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=DEADLINE,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    assert len(ended.stdout.splitlines()) == 1
    assert_undisturbed(tmp_path / "run", expected_rows(text, tmp_path / "expected"))
