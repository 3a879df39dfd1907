"""How far driver, search and ledger go: real plans and files, fake packs, no Ray actors.

    PYTHONPATH=. python tests/bench/scale.py --trials 1000000 --workers 1000

plans a sweep of so many trials, writes the plan, hands the packs out by the runner's searcher, takes a report
for each from as many fake workers, writes one result in a hundred for real and asks for the run's state. Each
line: what, seconds, rate, the process' memory at that point.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gradatlas.study.experiment import results
from gradatlas.sweeps.command.display import JsonLines
from gradatlas.sweeps.planning.machine import Node
from gradatlas.sweeps.planning.packing import capacity, packs, planned_trials
from gradatlas.sweeps.running.feed import QueueFeed
from gradatlas.sweeps.running.runs import create_run, state
from gradatlas.sweeps.spec.sweep import parse_sweep
from gradatlas.sweeps.store.ledger import Ledger
from gradatlas.sweeps.workers.searchers import PackSearcher
from gradatlas.sweeps.workers.stopping import Stop

_SWEEP = """
[scientific]
depth = {{ low = 2, high = 64, log = true }}
weight_gain = {{ low = 0.25, high = 4.0, log = true }}
activation = ["relu", "tanh", "gelu", "sigmoid"]
[fixed]
width = 16
steps = 0
[search]
points = {points}
"""


@contextmanager
def timed(what: str, count: int) -> Iterator[None]:
    """Prints the seconds that a step took."""
    started = time.perf_counter()
    yield
    seconds = time.perf_counter() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{what:<34}{seconds:9.1f} s{count / seconds:14,.0f} /s{memory:9.2f} GiB at most", flush=True)


def measure(trials: int, workers: int, folder: Path) -> None:
    """Runs every step that one process does for all trials."""
    sweep = parse_sweep(tomllib.loads(_SWEEP.format(points=trials)), "scale.toml")
    nodes = [Node(32, 0, 128 * 2**30, 0)] * (-(-workers // 32))
    with timed("search and trials", trials):
        planned = planned_trials(sweep)
    with timed("cutting packs", trials):
        cut = packs(planned, sweep.schedule, *capacity(sweep.schedule, nodes))
    count = len(cut)
    print(f"{count} packs of {min(map(len, cut))} to {max(map(len, cut))} trials")
    del planned, cut
    with timed("the run's folder, all of that again", trials):
        ledger = create_run(folder / "run", sweep, "scale.toml", 32, nodes)
    size = sum(path.stat().st_size for path in ledger.plans.glob("*"))
    print(f"the plan: {size / 2**20:.0f} MiB, {size / trials:.0f} bytes a trial")
    with timed("predicted cost of what is to do", trials):
        cost = ledger.pending_cost()
    pending = ledger.pending_packs()
    with timed("a pack's trials, as workers read them", 20):
        for pack in pending[:20]:
            Ledger(ledger.folder).pack_trials(pack)
    _hand_out(ledger, pending, trials, cost)
    _write_results(ledger, pending)


def _hand_out(ledger: Ledger, pending: list[str], trials: int, cost: float) -> None:
    """Every pack is suggested, reported and told."""
    sizes = ledger.pack_sizes()
    searcher = PackSearcher(QueueFeed(pending), {}, Stop(ledger, None))
    lines: list[str] = []
    with (
        timed("packs handed out and reported", len(pending)),
        JsonLines(trials, 0, cost, _kept(lines)) as watcher,
    ):
        for pack in pending:
            searcher.suggest(pack)
            report = {"pack": pack, "trials": sizes[pack], "cost": cost / len(pending), "progress": 1.0}
            counts = {"regimes": {"stable": sizes[pack]}, "outcomes": {"learned": sizes[pack]}, "failed": []}
            watcher.reported(report | counts | {"done": True})
            watcher.tick()


def _kept(lines: list[str]) -> Callable[[str], Any]:
    def write(line: str) -> None:
        lines[:] = [line]

    return write


def _write_results(ledger: Ledger, pending: list[str]) -> None:
    """One pack is measured; its rows stand in for those of all."""
    pack = min(pending, key=lambda name: (ledger.pack_sizes()[name], name))
    (row,) = results(ledger.pack_trials(pack)[:1])
    some = pending[:: max(1, len(pending) // 200)]
    sizes = ledger.pack_sizes()
    trials = sum(sizes[name] for name in some)
    with timed(f"{len(some)} results written", trials):
        for name in some:
            ledger.write_result(name, [row] * sizes[name])
    bytes_written = sum(path.stat().st_size for path in ledger.results.glob("*.parquet"))
    print(f"results: {bytes_written / trials:,.0f} bytes a trial, one file a pack")
    frame = (ledger.results / f"{some[0]}.parquet").read_bytes()
    for name in pending:
        path = ledger.results / f"{name}.parquet"
        if not path.exists():
            path.write_bytes(frame)
    with timed("which packs are done, first asked", len(pending)):
        Ledger(ledger.folder).finished_packs()
    with timed("the run's state (`status`)", len(pending)):
        state(Ledger(ledger.folder))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=1000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        measure(chosen.trials, chosen.workers, Path(folder))


if __name__ == "__main__":
    main()
