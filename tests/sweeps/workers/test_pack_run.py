"""A pack's way to its result: stopped, killed, out of memory, with a trial that breaks it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path

import polars as pl
import pytest
import torch

from gradatlas.study.experiment import Row, results
from gradatlas.study.networks.memory import pack_memory
from gradatlas.study.regimes import DEFAULT_LIMITS
from gradatlas.study.training import pack as training
from gradatlas.study.trial import Trial
from gradatlas.sweeps.store.ledger import Ledger
from gradatlas.sweeps.store.pack_states import PackStates
from gradatlas.sweeps.workers.pack_run import PackRun

PACK = "pack-000000"


def _opened(
    ledger: Ledger,
    *,
    driver: str = "a",
    max_failures: int = 2,
    save_interval: float = 60.0,
    memory: float = inf,
) -> PackRun:
    return PackRun(
        ledger,
        PACK,
        driver=driver,
        device=torch.device("cpu"),
        limits=DEFAULT_LIMITS,
        save_interval=save_interval,
        max_failures=max_failures,
        memory=memory,
    )


def _states(ledger: Ledger) -> PackStates:
    return PackStates(ledger.states / PACK)


def _finish(run: PackRun) -> None:
    run.keep()
    while run.rows is None:
        run.advance()
        run.keep()


def _rows(ledger: Ledger) -> list[Row]:
    frame = pl.read_parquet(ledger.results / f"{PACK}.parquet").drop("seconds", "device")
    return frame.to_dicts()


def _expected(ledger: Ledger) -> list[Row]:
    """The rows of an undisturbed pack, in the columns of the ledger."""
    trials = ledger.pack_trials(PACK)
    return [
        {name: value for name, value in row.items() if name not in ("seconds", "device")}
        for row in results(trials)
    ]


def _assert_undisturbed(ledger: Ledger, *, but: Sequence[int] = ()) -> None:
    """Every trial has its row with the same numbers, and no state is left."""
    rows = _rows(ledger)
    assert [row["trial"] for row in rows] == [row["trial"] for row in ledger.pack_rows(PACK)]
    for place, (row, expected) in enumerate(zip(rows, _expected(ledger), strict=True)):
        if place not in but:
            assert {name: row[name] for name in expected} == expected
    assert not (ledger.states / PACK).exists()


def _break_training(
    monkeypatch: pytest.MonkeyPatch, breaks: Callable[[Sequence[Trial]], bool], error: Exception | type
) -> None:
    """Training raises where a pack is of that kind."""
    advance = training.PackInTraining.advance

    def broken(self: training.PackInTraining, steps: int) -> None:
        if breaks(self._trials):
            raise error
        advance(self, steps)

    monkeypatch.setattr(training.PackInTraining, "advance", broken)


def test_an_undisturbed_pack_is_one_result_and_nothing_else(planned_run):
    _finish(_opened(planned_run))
    _assert_undisturbed(planned_run)
    assert [path.name for path in planned_run.results.iterdir()] == [f"{PACK}.parquet"]


@pytest.mark.parametrize("orderly", [True, False], ids=["stopped", "killed"])
def test_a_pack_goes_on_where_it_was_saved(planned_run, monkeypatch, orderly):
    run = _opened(planned_run, save_interval=0.0)
    run.keep()
    run.advance()  # one step of three
    run.leave() if orderly else run.keep()
    saved = _states(planned_run).piece_folder((0, 5)) / "training.npz"
    assert saved.exists()
    steps: list[int] = []
    train_to = training.PackInTraining._train_to

    def counted(self, end):
        steps.extend(range(self.steps_done, end))
        train_to(self, end)

    monkeypatch.setattr(training.PackInTraining, "_train_to", counted)
    _finish(_opened(planned_run, driver="b"))
    monkeypatch.undo()
    assert steps == [1, 2]
    _assert_undisturbed(planned_run)


def test_progress_goes_from_nothing_to_all(planned_run):
    run = _opened(planned_run)
    seen = [run.progress]
    run.keep()
    while run.rows is None:
        run.advance()
        run.keep()
        seen.append(run.progress)
    assert seen[0] == 0.0
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert len(set(seen)) > 2


@pytest.mark.parametrize(
    ("deaths", "pieces"), [(0, [(0, 5)]), (1, [(0, 5)]), (2, [(0, 2), (2, 5)]), (4, [(0, 1), (1, 2), (2, 5)])]
)
def test_a_piece_is_halved_after_two_deaths_without_progress(planned_run, deaths, pieces):
    for _ in range(deaths):
        _opened(planned_run)  # a worker that begins and never says anything again
    run = _opened(planned_run)
    assert run._journal.pieces == pieces
    _finish(run)
    _assert_undisturbed(planned_run)


def test_a_saved_state_forgets_the_deaths_before_it(planned_run):
    for _ in range(3):
        run = _opened(planned_run, save_interval=0.0)
        run.keep()
        run.advance()
        run.keep()
    assert _opened(planned_run)._journal.pieces == [(0, 5)]


def test_a_worker_that_leaves_in_order_is_no_death(planned_run):
    for _ in range(5):
        _opened(planned_run).leave()
    run = _opened(planned_run)
    assert run._journal.pieces == [(0, 5)]
    _finish(run)
    _assert_undisturbed(planned_run)


def test_a_trial_that_kills_its_workers_is_given_up_alone(planned_run):
    """Deaths with the driver never are its fault; those that the driver outlives are, after max_failures."""

    def killed(driver: str) -> bool:
        run = _opened(planned_run, driver=driver, max_failures=2)
        run.keep()
        while run.rows is None:
            if run._waiting[0][0] == 0:  # the first trial is in this piece: dies here
                return True
            run.advance()
            run.keep()
        return False

    for number in range(20):
        assert killed(f"driver {number}")
    assert _states(Ledger(planned_run.folder)).journal(5).pieces[0] == (0, 1)
    deaths = 0
    while killed("the same"):
        deaths += 1
    assert deaths == 3  # and the one before, of another driver, is not counted
    _assert_undisturbed(planned_run, but=[0])
    assert _rows(planned_run)[0]["outcome"] == "failed"
    assert "its worker died 3 times" in _rows(planned_run)[0]["failure"]


@pytest.mark.thorough
@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("division by zero\nand more"),
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_breaks_a_pack_is_found_and_the_others_count(planned_run, monkeypatch, place, error):
    fault = planned_run.pack_trials(PACK)[place]
    _break_training(monkeypatch, lambda trials: fault in trials, error)
    run = _opened(planned_run)
    _finish(run)
    monkeypatch.undo()
    _assert_undisturbed(planned_run, but=[place])
    row = _rows(planned_run)[place]
    assert row["outcome"] == "failed"
    assert row["failure"].startswith(type(error).__name__)
    assert "\n" not in row["failure"]
    assert row["gradient_decades"] == _expected(planned_run)[place]["gradient_decades"]
    assert planned_run.finished_packs() == {PACK}


def test_a_pack_too_large_for_memory_is_trained_in_parts(planned_run, monkeypatch):
    _break_training(monkeypatch, lambda trials: len(trials) > 2, torch.OutOfMemoryError("no"))
    _finish(_opened(planned_run))
    monkeypatch.undo()
    _assert_undisturbed(planned_run)


def test_a_pack_that_meets_a_smaller_memory_is_halved_before_it_is_tried(planned_run, monkeypatch):
    trials = planned_run.pack_trials(PACK)  # 5
    sizes: list[int] = []
    whole, half = pack_memory(trials), pack_memory(trials[2:])
    monkeypatch.setattr(training.PackInTraining, "advance", _noting(sizes, training.PackInTraining.advance))
    began = _opened(planned_run, save_interval=0.0, memory=whole)
    began.advance()
    began.keep()
    assert max(sizes) == 5
    sizes.clear()
    _finish(_opened(planned_run, memory=half))
    assert max(sizes) == 3
    _assert_undisturbed(planned_run)


def test_a_memory_that_holds_no_trial_has_each_tried_alone(planned_run):
    _opened(planned_run, memory=-1.0)
    assert _states(planned_run).journal(5).pieces == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
    _finish(_opened(planned_run, memory=-1.0))
    _assert_undisturbed(planned_run)


def _noting(sizes: list[int], advance: Callable) -> Callable:
    """The same, with the sizes of the packs that it trains noted."""

    def noted(self: training.PackInTraining, steps: int) -> None:
        sizes.append(len(self._trials))
        advance(self, steps)

    return noted


@pytest.mark.parametrize("files", ["journal", "state", "both"])
def test_what_a_power_cut_left_half_written_is_done_again(planned_run, files):
    run = _opened(planned_run, save_interval=0.0)
    run.keep()
    run.advance()
    run.keep()
    if files != "state":
        (planned_run.states / PACK / "journal.json").write_bytes(b"\0\0\0")
    if files != "journal":
        for path in _states(planned_run).piece_folder((0, 5)).iterdir():
            path.write_bytes(path.read_bytes()[:60])
    _finish(_opened(planned_run))
    _assert_undisturbed(planned_run)


def test_finished_pieces_are_not_done_again(planned_run, monkeypatch):
    for _ in range(2):
        _opened(planned_run)
    run = _opened(planned_run)
    run.keep()
    while len(run._waiting) == 2:
        run.advance()
        run.keep()
    trained: list[int] = []
    advance = training.PackInTraining.advance

    def counted(self: training.PackInTraining, steps: int) -> None:
        trained.append(len(self._trials))
        advance(self, steps)

    monkeypatch.setattr(training.PackInTraining, "advance", counted)
    _finish(_opened(planned_run))
    assert set(trained) == {3}
    _assert_undisturbed(planned_run)


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), KeyboardInterrupt(), SystemExit(1)]
)
def test_what_is_no_trials_fault_is_not_recorded_as_one(planned_run, monkeypatch, error):
    _break_training(monkeypatch, lambda trials: True, error)
    run = _opened(planned_run)
    with pytest.raises(type(error)):
        _finish(run)
    monkeypatch.undo()
    assert planned_run.finished_packs() == set()
    _finish(_opened(planned_run))
    _assert_undisturbed(planned_run)


def test_states_of_finished_packs_and_drafts_are_cleared_and_others_kept(planned_run):
    _finish(_opened(planned_run))
    for name in (PACK, "pack-000001"):
        (planned_run.states / name / "0-5").mkdir(parents=True)
    (planned_run.results / ".pack-000001.parquet.1.draft").write_bytes(b"PAR1")
    planned_run.write_driver("a")
    assert planned_run.driver() == "a"
    planned_run.clear_states()
    assert planned_run.driver() is None
    assert [path.name for path in planned_run.states.iterdir()] == ["pack-000001"]
    assert [path.name for path in planned_run.results.iterdir()] == [f"{PACK}.parquet"]


SHORT_OF_MEMORY = """
import resource, sys
from pathlib import Path
import torch
from gradatlas.study.experiment import results
from gradatlas.study.trial import Trial
from gradatlas.sweeps.store.ledger import Ledger
from tests.sweeps.workers.test_pack_run import PACK, _finish, _opened
torch.set_num_threads(1)
results([Trial(depth=1, steps=1)])  # loads and compiles
run = _opened(Ledger(Path(sys.argv[1])))
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + int(sys.argv[2]) * 2**20,) * 2)
_finish(run)
print(sorted(pieces for pieces in run._journal.pieces))
"""


@pytest.mark.thorough
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space as Linux does")
def test_a_pack_that_really_runs_out_of_memory_is_halved_to_the_same_rows(tmp_path):
    from gradatlas.sweeps.running.runs import create_run
    from gradatlas.sweeps.spec.sweep import parse_sweep

    document = {
        "scientific": {"weight_gain": {"low": 0.5, "high": 2.0}},
        "fixed": {"depth": 6, "width": 512, "batch_size": 64, "steps": 2},
        "search": {"points": 24},
        "schedule": {"pack_size": 24},
    }
    ledger = create_run(tmp_path / "r", parse_sweep(document, "memory.toml"), "memory.toml", cpus=1)
    ended = subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY, str(ledger.folder), "300"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        env=os.environ | {"MALLOC_ARENA_MAX": "1"},
    )
    assert ended.returncode == 0, ended.stderr
    assert len(ended.stdout.split("), (")) >= 2, ended.stdout
    assert "failed" not in {row["outcome"] for row in _rows(ledger)}
    _assert_undisturbed(ledger)
