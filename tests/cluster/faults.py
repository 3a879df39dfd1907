"""Runs of the command that are killed, starved and resumed; and what must be true of them afterwards.

    python -m tests.cluster.faults --kills 20

kills one run's driver that many times at random moments, resumes it to the end, and checks every row.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from gradatlas.study.experiment import results
from gradatlas.study.regimes import DEFAULT_LIMITS
from gradatlas.sweeps.running.runs import create_run
from gradatlas.sweeps.spec.sweep import parse_sweep
from gradatlas.sweeps.store.ledger import Ledger
from gradatlas.sweeps.workers.pack_run import PackRun

ROOT = Path(__file__).parents[2]
PATCHES = str(Path(__file__).parent / "patches")  # on PYTHONPATH they are faults of a process
# Only where Ray thinks that this machine cannot be part of a cluster do all its processes, and the drivers
# that join them, listen on 127.0.0.1 alone.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
DEADLINE = 180.0  # seconds: far beyond what any wait here takes, so that a test fails and does not hang
MAY_DIFFER = ("seconds", "device", "pack")

SWEEP = """
question = "What survives?"
[scientific]
depth = [2, 4, 8]
activation = ["relu", "tanh"]
weight_gain = {{ low = 0.5, high = 2.0, log = true, levels = 10 }}
[nuisance]
learning_rate = {{ low = 1e-2, high = 100.0, log = true }}
[fixed]
width = 16
batch_size = 16
steps = {steps}
[search]
sampler = "{sampler}"
{points}
[schedule]
pack_size = 8
cpus = 2
save_interval = 0.2
"""


def sweep_text(*, sampler: str = "qmc", points: int = 64, steps: int = 400) -> str:
    """A sweep whose packs of 8 take about a second each, on one thread; a grid has 60 points."""
    counted = "" if sampler == "grid" else f"points = {points}"
    return SWEEP.format(sampler=sampler, points=counted, steps=steps)


def expected_rows(text: str, folder: Path) -> pl.DataFrame:
    """The rows of a sweep that nothing disturbs: trained in this process, without Ray, in other packs."""
    other_packs = text.replace("pack_size = 8", "pack_size = 256")
    ledger = create_run(folder, parse_sweep(tomllib.loads(other_packs), "sweep.toml"), "sweep.toml", cpus=2)
    with _one_thread():
        for pack in ledger.pending_packs():
            ledger.write_result(pack, results(ledger.pack_trials(pack)))
    return rows(folder)


@contextmanager
def _one_thread() -> Iterator[None]:
    """torch as a worker has it."""
    threads, grad = torch.get_num_threads(), torch.is_grad_enabled()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_grad_enabled(grad)


def rows(run: Path) -> pl.DataFrame:
    """The rows of a run, in the order of its trials."""
    return pl.read_parquet(run / "results" / "*.parquet").sort("trial").drop(MAY_DIFFER)


def assert_undisturbed(run: Path, expected: pl.DataFrame, *, but: tuple[int, ...] = ()) -> None:
    """Every planned trial has one row, with the numbers of an undisturbed run; nothing else is left."""
    found = rows(run)
    planned = Ledger(run).plan().select("trial").collect()["trial"].sort()
    assert found["trial"].to_list() == planned.to_list()
    others = pl.col("trial").is_in(but).not_()
    assert found.filter(others).equals(expected.filter(others), null_equal=True)
    left = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    packs = {f"results/{pack}.parquet" for pack in Ledger(run).pack_sizes()}
    plans = {name for name in left if name.startswith("plans/") and name.endswith(".parquet")}
    assert left == packs | plans | {"sweep.toml", "environment.json", ".lock"}


def wait_until(condition: Callable[[], Any], what: str) -> None:
    """Returns as soon as the condition holds; raises AssertionError after the deadline."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {DEADLINE:.0f} s"
        time.sleep(0.01)


class Command:
    """The command in a process of its own, started `through` another command."""

    def __init__(self, *arguments: object, through: Sequence[str] = (), **environment: str) -> None:
        self.process = subprocess.Popen(
            [
                *through,
                sys.executable,
                "-m",
                "gradatlas",
                *map(str, arguments),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
            start_new_session=True,
        )

    def ended(self, deadline: float | None = DEADLINE) -> tuple[int, str, str]:
        """Exit code, standard output and error, once it has ended."""
        out, err = self.process.communicate(timeout=deadline)
        return self.process.returncode, out, err

    def descendants(self, name: str) -> list[int]:
        """Processes below this one whose command line contains a name."""
        return [pid for pid in descendants(self.process.pid) if name in _command_line(pid)]

    def workers(self) -> list[int]:
        """Ray's actors that train packs."""
        return [pid for pid in self.descendants("ray::") if "Trainable" in _command_line(pid)]


def descendants(pid: int) -> Iterator[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in map(int, children):
        yield child
        yield from descendants(child)


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def states(run: Path) -> list[Path]:
    """Saved states of packs in hand."""
    return list((run / "states").glob("*/*/training.npz"))


@contextmanager
def started(
    text: str, folder: Path, *arguments: object, through: Sequence[str] = (), **environment: str
) -> Iterator[Command]:
    """A new run of a sweep in RUNS/run, killed at the end if it still goes on."""
    spec = folder / "sweep.toml"
    spec.write_text(text)
    called = ("run", spec, "--runs", folder, "--name", "run", "--no-report", *arguments)
    command = Command(*called, through=through, **environment)
    try:
        yield command
    finally:
        if command.process.poll() is None:
            command.process.kill()
            command.process.communicate()


def resumed(run: Path, *arguments: object, **environment: str) -> tuple[int, str, str]:
    """How `resume` ended."""
    return Command("resume", run, "--no-report", *arguments, **environment).ended()


def ended_here(run: Path) -> None:
    """Ends a run's packs in this process, from what is saved of them, as Ray's workers would."""
    ledger = Ledger(run)
    with _one_thread():
        for pack in ledger.pending_packs():
            left = PackRun(
                ledger,
                pack,
                driver="test",
                device=torch.device("cpu"),
                limits=DEFAULT_LIMITS,
                save_interval=math.inf,
                max_failures=0,
            )
            while left.rows is None:
                left.advance()
                left.keep()
    with ledger.locked():
        ledger.clear_states()


def survive(kills: int, folder: Path, seed: int) -> None:
    """Kills a run's driver at random moments of its life, resumes it, and checks what it leaves."""
    chance = np.random.Generator(np.random.Philox(seed))
    text, run = sweep_text(points=60 * kills), folder / "run"
    print(f"{60 * kills} trials on 2 CPUs in {folder}", flush=True)
    with started(text, folder) as command:
        wait_until((run / "sweep.toml").exists, "the run's folder")
        for number in range(1, kills + 1):
            begun, seen = time.monotonic(), len(list((run / "results").glob("*.parquet")))
            moment = chance.uniform(0.0, 12.0)
            if number % 2 == 0:  # a start takes long on a busy machine: every second life lasts to its packs
                wait_until(
                    lambda seen=seen: len(list((run / "results").glob("*.parquet"))) > seen,  # type: ignore[misc]
                    "a pack more",
                )
                moment = chance.uniform(0.0, 3.0)
            with_in = time.monotonic() + moment
            wait_until(lambda end=with_in: time.monotonic() >= end, "the moment")  # type: ignore[misc]
            alive, lived = command.process.poll() is None, time.monotonic() - begun
            command.process.kill()
            command.ended()
            done, held = len(list((run / "results").glob("*.parquet"))), len(states(run))
            mark = f"{done:3} packs done, {held} saved in the middle"
            print(
                f"kill {number:2} after {lived:4.1f} s: {mark}{'' if alive else ' (had ended)'}", flush=True
            )
            assert alive, "the sweep is too short for so many kills"
            if number < kills:
                command.process = Command("resume", run, "--no-report").process
    code, _, err = Command("resume", run, "--no-report").ended(deadline=None)
    assert code == 0, err
    expected = expected_rows(text, folder / "expected")
    assert_undisturbed(run, expected)
    print(
        f"{kills} kills survived, {len(expected)} rows checked: equal to an undisturbed run's, no state left"
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=survive.__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        survive(chosen.kills, Path(folder), chosen.seed)


if __name__ == "__main__":
    main()
