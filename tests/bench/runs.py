"""Whole runs of the command against Ray Tune, Optuna and the bare engine, on the same two cores in one go.

    python -m tests.bench.runs [CASE …] [--scale S]

The trials: 10 ReLU layers of 64, batch 64, 100 steps, of which weight gain and learning rate vary. A run's
time is that of its whole process, Ray's start-up included; of the peers only the pace after their first
trials counts. Prints a table and writes bench-runs.json; words choose the cases that contain one, `--scale`
makes everything smaller for a try.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl

from gradatlas.sweeps.running.runs import create_run
from gradatlas.sweeps.spec.sweep import parse_sweep
from gradatlas.sweeps.store.location import Location
from tests.bench import peers

ROOT = Path(__file__).parents[2]
TRIALS, PEER_TRIALS, LOOP_PACKS, SMALL_PACKS = 32_768, {"function": 40, "class": 160, "optuna": 400}, 16, 600
WARM = 4  # trials of a peer that its pace leaves out

SWEEP = f"""
question = "How many trials a second?"
[scientific]
weight_gain = {{ low = {peers.GAINS[0]}, high = {peers.GAINS[1]}, log = true }}
[nuisance]
learning_rate = {{ low = {peers.LEARNING_RATES[0]}, high = {peers.LEARNING_RATES[1]}, log = true }}
[fixed]
depth = {peers.DEPTH}
width = {peers.WIDTH}
activation = "relu"
init = "he"
batch_size = {peers.BATCH}
steps = {peers.STEPS}
[schedule]
cpus = 2
"""
SMALL = """
question = "What does a pack leave behind?"
[scientific]
weight_gain = { low = 0.7, high = 1.4, log = true }
[fixed]
depth = 2
width = 8
batch_size = 8
steps = 2
[schedule]
cpus = 2
pack_size = 2
"""
_scale = 1.0


def _scaled(count: int, least: int = 8) -> int:
    return max(least, round(count * _scale))


@dataclass(frozen=True)
class Run:
    """What was seen of a run of the command: events with their times, what Ray held, how long it took."""

    folder: Path
    trials: int
    seconds: float
    events: list[tuple[float, dict[str, Any]]]
    held: list[tuple[int, int, int, int]]  # packs done, driver's bytes, Ray's files and their bytes

    def times(self, event: str) -> list[float]:
        """Seconds since the start at which an event was told."""
        return [at for at, told in self.events if told["event"] == event]


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="b-", dir="/tmp") as folder:  # Ray's sockets need a short path
        yield Path(folder)


@cache
def _kept() -> Path:
    """A folder for as long as this process lives."""
    keeper = tempfile.TemporaryDirectory(prefix="b-", dir="/tmp")
    _KEEPERS.append(keeper)
    return Path(keeper.name)


_KEEPERS: list[tempfile.TemporaryDirectory] = []


def observed(text: str, points: int, name: str, *, look: bool = False) -> Run:
    """Runs the command on a sweep in a process of its own; looks after each pack if wanted."""
    folder = _kept()
    (folder / f"{name}.toml").write_text(text)
    arguments = ["run", folder / f"{name}.toml", "--runs", folder, "--name", name, "--no-report"]
    arguments += ["--json-lines", "--set", f"search.points={points}"]
    with _scratch() as scratch:
        environment = _environment() | {"TMPDIR": str(scratch), "RAY_TMPDIR": str(scratch)}
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "gradatlas", *map(str, arguments)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=ROOT,
        )
        events, held, packs = [], [], 0
        for line in process.stdout or ():
            event = json.loads(line)
            events.append((time.monotonic() - started, event))
            packs += event["event"] == "pack"
            if look and event["event"] == "pack" and packs % 20 == 0:
                held.append((packs, _resident(process.pid), *_files(scratch)))
        assert process.wait() == 0
        return Run(folder / name, points, time.monotonic() - started, events, held)


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _files(folder: Path) -> tuple[int, int]:
    """Files below a folder and their bytes; those that go while one looks do not count."""
    sizes = []
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                sizes.append(os.lstat(os.path.join(path, name)).st_size)
            except FileNotFoundError:
                continue
    return len(sizes), sum(sizes)


@cache
def run_and_loop() -> tuple[Run, float]:
    """The trials through `gradatlas run`, and trials per second of its packs in a loop over the engine.

    Both in two processes. The loop takes some of the packs before the run and some after it, since a shared
    machine is not equally fast all the time; its imports do not count.
    """
    points = _scaled(TRIALS)
    sweep = parse_sweep(tomllib.loads(SWEEP) | {"search": {"points": points}}, "the sweep")
    before = _loop_pace(create_run(_kept() / "plan", sweep, "", cpus=2).folder)
    run = observed(SWEEP, points, "run")
    return run, (before + _loop_pace(run.folder)) / 2


def _loop_pace(run: Location) -> float:
    command = [sys.executable, "-m", "tests.bench.loop", str(run), str(_scaled(LOOP_PACKS, 4))]
    done = subprocess.run(
        command, cwd=ROOT, env=_environment(), stdout=subprocess.PIPE, text=True, check=True
    )
    return sum(trials / seconds for trials, seconds in json.loads(done.stdout))


@cache
def trials_per_second() -> float:
    """Of the whole process."""
    run, _ = run_and_loop()
    return run.trials / run.seconds


@cache
def pace_of_peer(kind: str) -> float:
    """Trials per second of a peer after its first ones."""
    count = _scaled(PEER_TRIALS[kind], 2 * WARM)
    with _scratch() as scratch:
        environment = _environment() | {"RAY_TMPDIR": str(scratch), "HOME": str(scratch)}
        command = [sys.executable, "-c", "from tests.bench.peers import main; main()", kind, str(count)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    times = json.loads(done.stdout.splitlines()[-1])
    if len(times) != count:
        raise RuntimeError(f"{kind}: {len(times)} of {count} trials were done: {done.stderr[-2000:]}")
    return (len(times) - WARM) / (times[-1] - times[WARM - 1])


def times_a_peer(kind: str) -> dict[str, float]:
    """How many times a peer's pace the run has."""
    ours, theirs = trials_per_second(), pace_of_peer(kind)
    return {"value": ours / theirs, "trials_per_second": ours, "peer_trials_per_second": theirs}


def busy_workers() -> dict[str, float]:
    """Share of the two workers' time that the engine computes, from the first worker's start to the last
    pack's end.
    """
    run, _ = run_and_loop()
    seconds = pl.read_parquet(run.folder / "results" / "*.parquet")["seconds"].sum()
    first, last = run.times("workers")[0], run.times("pack")[-1]
    return {"value": seconds / (2 * (last - first)), "before_first": first, "after_last": run.seconds - last}


def over_the_loop() -> dict[str, float]:
    """The run's time over that of its packs in a loop over the engine."""
    run, pace = run_and_loop()
    return {"value": pace * run.seconds / run.trials, "loop_trials_per_second": pace}


@cache
def many_packs() -> Run:
    """Hundreds of tiny packs."""
    return observed(SMALL, 2 * _scaled(SMALL_PACKS, 100), "small", look=True)


def _growth(column: int) -> float:
    """Per pack, between a third of a run and its end; before that caches and pools fill."""
    held = many_packs().held
    first, last = held[len(held) // 3], held[-1]
    return (last[column] - first[column]) / (last[0] - first[0])


def packs_per_second() -> dict[str, float]:
    """Of packs that cost next to nothing: what scheduling one takes."""
    run = many_packs()
    times = run.times("pack")
    gaps = sorted(b - a for a, b in pairwise(times))
    return {"value": (len(times) - 1) / (times[-1] - times[0]), "largest_gap": gaps[-1]}


# name, value to reach (negative: at least), measurement
CASES: tuple[tuple[str, float | None, Callable[[], dict[str, float]]], ...] = (
    (
        "run / Ray Tune + OptunaSearch, a function for a trainable",
        -150.0,
        lambda: times_a_peer("function"),
    ),
    ("run / Ray Tune + OptunaSearch, a class and reused actors", -9.0, lambda: times_a_peer("class")),
    ("run / Optuna alone in two processes", -2.5, lambda: times_a_peer("optuna")),
    ("run: trials a second, the whole process", None, lambda: {"value": trials_per_second()}),
    ("run: share of the workers' time that is computing", -0.9, busy_workers),
    ("run / engine in a loop, time", 1.1, over_the_loop),
    ("many packs: packs a second", None, packs_per_second),
    ("many packs: driver's memory per pack, kB", None, lambda: {"value": _growth(1) / 1e3}),
    ("many packs: Ray's files per pack", None, lambda: {"value": _growth(2)}),
    ("many packs: Ray's files per pack, kB", None, lambda: {"value": _growth(3) / 1e3}),
)


def main() -> None:
    """Prints a table and writes bench-runs.json."""
    global _scale
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--scale", type=float, default=1.0)
    chosen = parser.parse_args()
    _scale = chosen.scale
    results = {}
    for name, reach, measure in CASES:
        if chosen.cases and not any(word in name for word in chosen.cases):
            continue
        found = results[name] = measure()
        goal = "" if reach is None else f"  reach {'≥' if reach < 0 else '≤'} {abs(reach):g}"
        print(f"{name:60} {found['value']:8.2f}{goal}", flush=True)
    if results:
        Path("bench-runs.json").write_text(json.dumps(results, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
