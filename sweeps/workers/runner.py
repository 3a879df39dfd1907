"""Runs a ledger's pending packs on Ray Tune. The only file that starts Ray."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from gradatlas.sweeps.workers import cluster  # isort: skip  (first: it sets what Ray reads)

from ray import tune
from ray._private import worker as ray_worker
from ray._private.ray_constants import PROCESS_TYPE_GCS_SERVER
from ray.air.execution._internal import actor_manager
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.tune import Callback, CheckpointConfig, FailureConfig, RunConfig, TuneConfig, Tuner

from gradatlas.sweeps.errors import UserError
from gradatlas.sweeps.planning.machine import gpu_count
from gradatlas.sweeps.planning.packing import cpus_of_gpu_pack, worker_count
from gradatlas.sweeps.running.feed import Feed, QueueFeed
from gradatlas.sweeps.running.learning import Learner
from gradatlas.sweeps.sampling.samplers import is_learning
from gradatlas.sweeps.spec.spec_tables import Schedule
from gradatlas.sweeps.spec.sweep import Sweep
from gradatlas.sweeps.store.ledger import Ledger
from gradatlas.sweeps.workers.mixed_feed import MixedFeed
from gradatlas.sweeps.workers.private_ray import private_folder
from gradatlas.sweeps.workers.searchers import NodeWatch, PackSearcher, RequeueStranded, slots_by_kind
from gradatlas.sweeps.workers.stopping import Reason, Stop, hangups_blocked
from gradatlas.sweeps.workers.trainable import PackTrainable, resources_of
from gradatlas.sweeps.workers.watcher import Watcher

_LOOK_SECONDS = 5.0  # between two looks at whether Ray's node is alive
_RESTARTS = 30  # of a pack whose workers die: enough to halve 256 trials down to one and to give that up
# Tune takes only some of the errors for a dead worker's. What Ray's memory monitor kills raises another one,
# which would end the whole run with a traceback.
vars(actor_manager)["RayActorError"] = (RayActorError, OutOfMemoryError)
_PENDING = 16  # packs that wait for a place in a cluster, so that nodes which come find some at once


@dataclass(frozen=True)
class Ended:
    """How packs ended: why before the end of the plan, if so, and what failed, in one line each."""

    stopped: Reason | None
    failures: tuple[str, ...]


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
        """A pack reported progress or finished."""
        self._deaths = 0
        if "failure" in result:
            self.failures.append(result["failure"])
            if result["no_room"]:
                self._stop.request("no room")
        if self._watcher is not None:
            self._watcher.reported(result)

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """A pack has ended: Tune keeps it, but nobody asks for 40 kB of statistics over its metrics."""
        trial.metric_analysis.clear()
        trial.metric_n_steps.clear()

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
            self._watcher.tick(stopping=self._stop.reason is not None)
        if self._stop.reason is None and time.monotonic() - self._looked >= _LOOK_SECONDS:
            self._looked = time.monotonic()
            # Tune would wait for ever for a node to put the packs on.
            if not any(node["Alive"] for node in cluster.all_nodes()):
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
    mixed = in_cluster and sweep.schedule.gpus_per_pack > 0
    try:
        learner = _learner(ledger, sweep, cpus, mixed=mixed)
        for _ in range(sweep.schedule.max_failures + 1):
            pending = ledger.pending_packs()
            if stop.reason or not (pending or (learner and learner.has_more)):
                break
            ledger.write_driver(driver)
            shared = _shared(ledger, sweep, driver)
            if in_cluster:
                cluster.reject_unshared_folder(ledger)
                feed = _mixed_feed(ledger, learner, sweep) if mixed else QueueFeed(pending, learner)
                failures = _run_on_ray(feed, shared, sweep, watcher, stop, in_cluster=True, mixed=mixed)
            else:
                feed = QueueFeed(pending, learner)
                failures = _run_on_own_ray(feed, shared, sweep, cpus, watcher, stop)
    finally:
        ledger.clear_states()
    return Ended(stop.reason, tuple(failures))


def _mixed_feed(ledger: Ledger, learner: Learner | None, sweep: Sweep) -> MixedFeed:
    """The packs still to do, for both kinds of workers."""

    def cost_of(pack: str) -> float:
        return sum(ledger.pack_costs(pack))

    worth = cpus_of_gpu_pack(sweep.schedule)
    return MixedFeed(ledger.pending_costs(), learner, cost_of, cpus_of_gpu=worth)


def _learner(ledger: Ledger, sweep: Sweep, cpus: int, *, mixed: bool) -> Learner | None:
    """The learner that keeps planning while the run goes on, where the sampler learns."""
    if not is_learning(sweep.search.sampler):
        return None
    if mixed:
        return Learner(
            ledger, sweep, max(1, sum(slots_by_kind(sweep.schedule, cluster.alive_nodes()).values()))
        )
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
        "is_fitted": schedule.gpus_per_pack > 0 and schedule.pack_size == "auto",
        "save_interval": schedule.save_interval,
        "max_failures": schedule.max_failures,
    }


def _run_on_own_ray(
    feed: Feed, shared: dict[str, Any], sweep: Sweep, cpus: int, watcher: Watcher, stop: Stop
) -> list[str]:
    """Gives the packs to a Ray that lives as long as this takes; what failed, in one line each."""
    try:
        with ExitStack() as ray:
            with hangups_blocked():
                ray.enter_context(cluster.own_ray(cpus))
            ray.enter_context(stop.watches_head(_own_head()))
            return _run_on_ray(feed, shared, sweep, watcher, stop)
    except SystemExit:  # Ray's own answer to a SIGTERM while it starts
        stop.request("preempted")
        return []


def _own_head() -> Callable[[], bool]:
    """Whether the head process of this process' own Ray has ended; Ray itself notices after a minute."""
    node = ray_worker._global_node
    heads: list[Any] = [] if node is None else node.all_processes.get(PROCESS_TYPE_GCS_SERVER, [])
    return lambda: any(head.process.poll() is not None for head in heads)


def _run_on_ray(
    feed: Feed,
    shared: dict[str, Any],
    sweep: Sweep,
    watcher: Watcher,
    stop: Stop,
    *,
    in_cluster: bool = False,
    mixed: bool = False,
) -> list[str]:
    """Gives the packs to the Ray that is there; what failed, in one line each.

    `mixed`: GPUs and nodes without one work on the same run.
    """
    try:
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # it logs a traceback for each dead worker
        reject_unschedulable(sweep.schedule, [node["Resources"] for node in cluster.alive_nodes()])
        workers = _workers(sweep.schedule, mixed=mixed)
        reporter = _Reporter(watcher, stop, patience=10 + 2 * workers)
        with stop.on_signals(), private_folder() as scratch:
            nodes = NodeWatch(feed, sweep.schedule) if mixed else None
            searcher = PackSearcher(feed, shared, stop, nodes)
            # A sampler that learns is asked when a worker is free, not for packs that would wait; a feed for
            # two kinds of workers sees to that itself.
            waits = mixed or (in_cluster and not feed.learns)
            most = sweep.schedule.concurrency if waits else workers
            scheduler = RequeueStranded(feed, nodes) if nodes is not None else None
            grid = _tuner(searcher, scheduler, sweep.schedule, most, scratch, reporter).fit()
        return reporter.failures + [_last_line(error) for error in grid.errors]
    except NodeLostError as error:
        return [str(error)]


def _workers(schedule: Schedule, *, mixed: bool) -> int:
    """Packs that the nodes hold at a time now."""
    found = cluster.alive_nodes()
    if mixed:
        count = sum(slots_by_kind(schedule, found).values())
    else:
        resources = [node["Resources"] for node in found]
        held = [worker_count(schedule, cpus=int(r["CPU"]), gpus=int(r.get("GPU", 0))) for r in resources]
        count = sum(held)
    return max(1, min(count, schedule.concurrency or count))


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
    scheduler: RequeueStranded | None,
    schedule: Schedule,
    most: int | None,
    scratch: Path,
    reporter: _Reporter,
) -> Tuner:
    """`most` packs at a time; None: as many as the nodes hold, also those that are still to come."""
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = "auto" if most else str(_PENDING)
    alike = {"cpu": schedule.cpus_per_pack, "gpu": schedule.gpus_per_pack}
    return Tuner(
        tune.with_resources(PackTrainable, resources_of if scheduler is not None else alike),
        tune_config=TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
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
