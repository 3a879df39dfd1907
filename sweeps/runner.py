"""Runs a ledger's pending packs on Ray Tune. The only file that starts Ray."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal
from uuid import uuid4

from sweeps import cluster  # isort: skip  (first: it sets what Ray reads when it is imported)

import ray
from ray import tune
from ray.tune import Callback, CheckpointConfig, FailureConfig, RunConfig, TuneConfig, Tuner
from ray.tune.search import Searcher

from sweeps.display import Watcher
from sweeps.errors import PREEMPTED, UserError
from sweeps.learning import Feed, Learner
from sweeps.ledger import Ledger
from sweeps.machine import gpu_count
from sweeps.packing import worker_count
from sweeps.samplers import is_learning
from sweeps.spec import Schedule, Sweep
from sweeps.storage import Place
from sweeps.trainable import PackTrainable

_LOOK_SECONDS = 5.0  # between two looks at whether Ray's node is alive
_RESTARTS = 30  # of a pack whose workers die: enough to halve 256 trials down to one and to give that up
_PREEMPTIONS = (signal.SIGTERM, signal.SIGUSR1)  # what batch systems send before the end
_PENDING = 16  # packs that wait for a place in a cluster, so that nodes which come find some at once


Reason = Literal["interrupted", "preempted", "out of time", "no room", "dying workers", "taken over"]


@dataclass(frozen=True)
class Ended:
    """How packs ended: why before the end of the plan, if so, and what failed, in one line each."""

    stopped: Reason | None
    failures: tuple[str, ...]


class Stop:
    """Whether a run ends before its plan does, and why; the first reason stands."""

    def __init__(self, ledger: Ledger, seconds: float | None, grace: float = 15.0) -> None:
        self._ledger, self._grace = ledger, grace
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._told = False
        self.reason: Reason | None = None

    def request(self, reason: Reason) -> None:
        """No pack starts any more, and those in hand are saved."""
        self.reason = self.reason or reason

    def tell_workers(self) -> None:
        """Passes the request on, once."""
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self.request("out of time")
        if self._ledger.is_lost:
            self.request("taken over")
        if self.reason is not None and not self._told:
            self._told = True
            self._ledger.remove_driver()

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """SIGTERM, SIGUSR1 and Ctrl-C become requests; a second Ctrl-C stops at once."""
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, *_PREEMPTIONS)}
        self.catch_signals()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def catch_signals(self) -> None:
        """Makes the signals ours; Tune takes SIGUSR1 for itself when it starts."""
        for number in (signal.SIGINT, *_PREEMPTIONS):
            signal.signal(number, self._requested)

    def _requested(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.reason == "interrupted":
            raise KeyboardInterrupt
        if number != signal.SIGINT and self.reason is None:
            _leave_after(self._grace, self._ledger.folder)
        self.request("interrupted" if number == signal.SIGINT else "preempted")


def _leave_after(seconds: float, run: Place) -> None:
    """Ends this process with the code of a preemption, whatever it is doing then.

    A SIGTERM to all processes of a job ends Ray's too, and a call that waits for them would wait a minute.
    """

    def leave() -> None:
        print(f"preempted: go on with: gradatlas resume {run}", file=sys.stderr, flush=True)
        os._exit(PREEMPTED)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()


class PackSearcher(Searcher):
    """Hands out packs, each with what all are told, until there are no more or the run is to stop."""

    def __init__(self, feed: Feed, shared: dict[str, Any], stop: Stop) -> None:
        super().__init__(metric="trials", mode="max")
        self._feed, self._shared, self._stop = feed, shared, stop

    def set_search_properties(self, metric: Any, mode: Any, config: Any, **spec: Any) -> bool:
        """There is nothing to set."""
        return True

    def suggest(self, trial_id: str) -> Any:
        """The next pack, or the end. Asked only when a worker is free: a learning sampler knows most then."""
        pack = None if self._stop.reason else self._feed.next()
        return Searcher.FINISHED if pack is None else self._shared | {"pack": pack}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """A pack may have its result."""
        if result and "outcomes" in result:
            self._feed.finished(result["pack"])

    def save(self, checkpoint_path: str) -> None:
        """Nothing to keep: the ledger is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing was kept."""


class NodeLostError(RuntimeError):
    """Ray's own processes died under the run."""


class _Reporter(Callback):
    """Passes reports to who watches, and looks after the run between them."""

    def __init__(self, watcher: Watcher, stop: Stop, patience: int) -> None:
        self._watcher: Watcher | None = watcher
        self._stop, self._patience = stop, patience
        self._deaths = 0  # of workers, in a row
        self._started = self._stepped = False
        self._looked = time.monotonic()
        self.failures: list[str] = []

    def on_trial_start(self, *unused: Any, **info: Any) -> None:
        """The first worker is there."""
        if self._watcher is not None and not self._started:
            self._watcher.started()
        self._started = True

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
        """A pack is so far, or done."""
        self._deaths = 0
        if "failure" in result:
            self.failures.append(result["failure"])
            if result["no_room"]:
                self._stop.request("no room")
        if self._watcher is not None:
            self._watcher.reported(result)

    def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """A worker died, and its pack is started again: not for ever where none lives to report."""
        self._deaths += 1
        if self._watcher is not None:
            self._watcher.restarted(trial.config["pack"])
        if self._deaths > self._patience:
            self.failures.append(f"{self._deaths} workers in a row died before they reported anything")
            self._stop.request("dying workers")

    def on_step_begin(self, *unused: Any, **info: Any) -> None:
        """Tune has set its own signals by now."""
        if not self._stepped:
            self._stepped = True
            self._stop.catch_signals()

    def on_step_end(self, *unused: Any, **info: Any) -> None:
        """Several times a second."""
        self._stop.tell_workers()
        if self._watcher is not None:
            self._watcher.tick()
        if self._stop.reason is None and time.monotonic() - self._looked >= _LOOK_SECONDS:
            self._looked = time.monotonic()
            # Tune would wait for ever for a node to put the packs on.
            if not any(node["Alive"] for node in ray.nodes()):
                raise NodeLostError("Ray's node died")

    def __getstate__(self) -> dict[str, Any]:
        return {"_watcher": None}  # Tune pickles its callbacks; a live display cannot be


def run_packs(
    ledger: Ledger, sweep: Sweep, cpus: int, watcher: Watcher, *, in_cluster: bool = False
) -> Ended:
    """Runs every pending pack, and what failed again, `max_failures` times.

    On a Ray of this machine, or on the cluster that the caller has joined. The caller holds the run. Raises
    UserError where Ray can never run a pack.
    """
    driver = uuid4().hex
    stop = Stop(ledger, sweep.schedule.time_budget, sweep.schedule.grace)
    failures: list[str] = []
    ledger.clear_states()
    try:
        learner = _learner(ledger, sweep, cpus)
        for _ in range(sweep.schedule.max_failures + 1):
            pending = ledger.pending_packs()
            if stop.reason or not (pending or (learner and learner.has_more)):
                break
            ledger.write_driver(driver)
            feed, shared = Feed(pending, learner), _shared(ledger, sweep, driver)
            if in_cluster:
                cluster.reject_unshared_folder(ledger)
                failures = _run_on_ray(feed, shared, sweep, watcher, stop, in_cluster=True)
            else:
                failures = _run_on_own_ray(feed, shared, sweep, cpus, watcher, stop)
    finally:
        ledger.clear_states()
    return Ended(stop.reason, tuple(failures))


def _learner(ledger: Ledger, sweep: Sweep, cpus: int) -> Learner | None:
    """Who plans on while the run goes on, where the sampler learns."""
    if not is_learning(sweep.search.sampler):
        return None
    return Learner(ledger, sweep, worker_count(sweep.schedule, cpus=cpus, gpus=gpu_count()))


def _shared(ledger: Ledger, sweep: Sweep, driver: str) -> dict[str, Any]:
    """What every trial of Ray is told, beside its pack."""
    schedule = sweep.schedule
    return {
        "run": str(ledger.folder.resolve()),
        "driver": driver,
        "limits": vars(sweep.limits),
        "threads": schedule.cpus_per_pack,
        "gpus": schedule.gpus_per_pack,
        "save_interval": schedule.save_interval,
        "max_failures": schedule.max_failures,
    }


def _run_on_own_ray(
    feed: Feed, shared: dict[str, Any], sweep: Sweep, cpus: int, watcher: Watcher, stop: Stop
) -> list[str]:
    """Gives the packs to a Ray that lives as long as this takes; what failed, in one line each."""
    try:
        with cluster.own_ray(cpus):
            return _run_on_ray(feed, shared, sweep, watcher, stop)
    except SystemExit:  # Ray's own answer to a SIGTERM while it starts
        stop.request("preempted")
        return []


def _run_on_ray(
    feed: Feed,
    shared: dict[str, Any],
    sweep: Sweep,
    watcher: Watcher,
    stop: Stop,
    *,
    in_cluster: bool = False,
) -> list[str]:
    """Gives the packs to the Ray that is there; what failed, in one line each."""
    scratch = Path(tempfile.mkdtemp(prefix="gradatlas-"))
    try:
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # it logs a traceback for each dead worker
        reject_unschedulable(sweep.schedule, [node["Resources"] for node in cluster.alive_nodes()])
        workers = _workers(sweep.schedule)
        reporter = _Reporter(watcher, stop, patience=10 + 2 * workers)
        with stop.on_signals():
            # A sampler that learns is asked when a worker is free, not for packs that would wait.
            most = sweep.schedule.concurrency if in_cluster and not feed.learns else workers
            searcher = PackSearcher(feed, shared, stop)
            grid = _tuner(searcher, sweep.schedule, most, scratch, reporter).fit()
        return reporter.failures + [_last_line(error) for error in grid.errors]
    except NodeLostError as error:
        return [str(error)]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _workers(schedule: Schedule) -> int:
    """Packs that the nodes hold at a time now."""
    resources = [node["Resources"] for node in cluster.alive_nodes()]
    held = [worker_count(schedule, cpus=int(r["CPU"]), gpus=int(r.get("GPU", 0))) for r in resources]
    return min(sum(held), schedule.concurrency or sum(held))


def reject_unschedulable(schedule: Schedule, resources: Sequence[Mapping[str, float]]) -> None:
    """Raises UserError for packs that ask for more than any of Ray's nodes has: Tune would wait for ever."""
    for key, name in (("cpus_per_pack", "CPU"), ("gpus_per_pack", "GPU")):
        asked, there = getattr(schedule, key), max((node.get(name, 0) for node in resources), default=0)
        if asked > there:
            raise UserError(
                f"schedule.{key}: must be <= the {there:g} {name}s that Ray has on a node, but got {asked:g}"
            )


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


def _tuner(
    searcher: PackSearcher,
    schedule: Schedule,
    most: int | None,
    scratch: Path,
    reporter: _Reporter,
) -> Tuner:
    """`most` packs at a time; None: as many as the nodes hold, also those that are still to come."""
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = "auto" if most else str(_PENDING)
    return Tuner(
        tune.with_resources(PackTrainable, {"cpu": schedule.cpus_per_pack, "gpu": schedule.gpus_per_pack}),
        tune_config=TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            max_concurrent_trials=most,
            reuse_actors=True,
        ),
        run_config=RunConfig(
            name="packs",
            storage_path=str(scratch),
            verbose=0,
            callbacks=[reporter],
            checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
            failure_config=FailureConfig(max_failures=_RESTARTS),
        ),
    )
