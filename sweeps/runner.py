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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal
from uuid import uuid4

# Before Ray is imported: a cluster of our own on the loopback needs no token, Tune's own tables, loggers and
# saved states would only repeat what the ledger holds, and Ctrl-C is ours to handle.
for _name, _value in {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}.items():
    os.environ.setdefault(_name, _value)

import ray
from ray import tune
from ray.tune import Callback, CheckpointConfig, FailureConfig, RunConfig, TuneConfig, Tuner
from ray.tune.search import Searcher

from sweeps.display import Watcher
from sweeps.errors import PREEMPTED, UserError
from sweeps.ledger import Ledger
from sweeps.packing import worker_count
from sweeps.spec import Schedule, Sweep
from sweeps.trainable import PackTrainable

_LOOK_SECONDS = 5.0  # between two looks at whether Ray's node is alive
_RESTARTS = 30  # of a pack whose workers die: enough to halve 256 trials down to one and to give that up
_GRACE_SECONDS = 15.0  # that SIGTERM leaves for saving; SLURM kills after 30
_OBJECT_STORE = 100 * 2**20  # bytes; nothing travels through it, Ray would take 30 % of the memory


class PackSearcher(Searcher):
    """Hands out the packs of the plan in their order."""

    def __init__(self, configs: Sequence[dict[str, Any]]) -> None:
        super().__init__(metric="trials", mode="max")
        self._configs = list(configs)
        self._next = 0

    def set_search_properties(self, metric: Any, mode: Any, config: Any, **spec: Any) -> bool:
        """There is nothing to set."""
        return True

    def suggest(self, trial_id: str) -> Any:
        """The next pack, or the end."""
        if self._next == len(self._configs):
            return Searcher.FINISHED
        self._next += 1
        return self._configs[self._next - 1]

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """The ledger knows."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to keep: the ledger is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing was kept."""


Reason = Literal["interrupted", "preempted", "out of time", "no room", "dying workers", "taken over"]


@dataclass(frozen=True)
class Ended:
    """How packs ended: why before the end of the plan, if so, and what failed, in one line each."""

    stopped: Reason | None
    failures: tuple[str, ...]


class Stop:
    """Whether a run ends before its plan does, and why; the first reason stands."""

    def __init__(self, ledger: Ledger, seconds: float | None) -> None:
        self._ledger = ledger
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
        """SIGTERM and Ctrl-C become requests; a second Ctrl-C stops at once."""

        def requested(number: int, frame: FrameType | None) -> None:
            if number == signal.SIGINT and self.reason == "interrupted":
                raise KeyboardInterrupt
            self.request("interrupted" if number == signal.SIGINT else "preempted")
            if number == signal.SIGTERM:
                _leave_after(_GRACE_SECONDS, self._ledger.folder)

        before = {number: signal.signal(number, requested) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _leave_after(seconds: float, run: Path) -> None:
    """Ends this process with the code of a preemption, whatever it is doing then.

    A SIGTERM to all processes of a job ends Ray's too, and a call that waits for them would wait a minute.
    """

    def leave() -> None:
        print(f"preempted (SIGTERM): go on with: gradatlas resume {run}", file=sys.stderr, flush=True)
        os._exit(PREEMPTED)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()


class _UntilStopped(PackSearcher):
    """Hands out no pack any more once the run is to stop."""

    def __init__(self, configs: Sequence[dict[str, Any]], stop: Stop) -> None:
        super().__init__(configs)
        self._stop = stop

    def suggest(self, trial_id: str) -> Any:
        """The next pack, unless the run is to stop."""
        return Searcher.FINISHED if self._stop.reason else super().suggest(trial_id)


class NodeLostError(RuntimeError):
    """Ray's own processes died under the run."""


class _Reporter(Callback):
    """Passes reports to who watches, and looks after the run between them."""

    def __init__(self, watcher: Watcher, stop: Stop, patience: int) -> None:
        self._watcher: Watcher | None = watcher
        self._stop, self._patience = stop, patience
        self._deaths = 0  # of workers, in a row
        self._started = False
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


def run_packs(ledger: Ledger, sweep: Sweep, cpus: int, watcher: Watcher) -> Ended:
    """Runs every pending pack on a Ray of this machine, and what failed again, `max_failures` times.

    The caller holds the run. Raises UserError where Ray can never run a pack.
    """
    driver = uuid4().hex
    stop = Stop(ledger, sweep.schedule.time_budget)
    failures: list[str] = []
    ledger.clear_states()
    try:
        for _ in range(sweep.schedule.max_failures + 1):
            pending = ledger.pending_packs()
            if not pending or stop.reason:
                break
            ledger.write_driver(driver)
            failures = _run_on_ray(_configs(ledger, sweep, driver, pending), sweep, cpus, watcher, stop)
    finally:
        ledger.clear_states()
    return Ended(stop.reason, tuple(failures))


def _configs(ledger: Ledger, sweep: Sweep, driver: str, packs: Sequence[str]) -> list[dict[str, Any]]:
    """What Ray's trials are told."""
    schedule = sweep.schedule
    shared = {
        "run": str(ledger.folder.resolve()),
        "driver": driver,
        "limits": vars(sweep.limits),
        "threads": schedule.cpus_per_pack,
        "gpus": schedule.gpus_per_pack,
        "save_interval": schedule.save_interval,
        "max_failures": schedule.max_failures,
    }
    return [shared | {"pack": pack} for pack in packs]


def _run_on_ray(
    configs: list[dict[str, Any]], sweep: Sweep, cpus: int, watcher: Watcher, stop: Stop
) -> list[str]:
    """Gives the packs to a Ray that lives as long as this takes; what failed, in one line each."""
    scratch = Path(tempfile.mkdtemp(prefix="gradatlas-"))
    try:
        ray.init(
            num_cpus=cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=_OBJECT_STORE,
            _node_ip_address="127.0.0.1",
        )
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # it logs a traceback for each dead worker
        reject_unschedulable(sweep.schedule, ray.cluster_resources())
        workers = worker_count(sweep.schedule, cpus=cpus, gpus=int(ray.cluster_resources().get("GPU", 0)))
        reporter = _Reporter(watcher, stop, patience=10 + 2 * workers)
        with stop.on_signals():
            grid = _tuner(configs, sweep.schedule, workers, scratch, stop, reporter).fit()
        return reporter.failures + [_last_line(error) for error in grid.errors]
    except SystemExit:  # Ray's own answer to a SIGTERM while it starts
        stop.request("preempted")
        return []
    except NodeLostError as error:
        return [str(error)]
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


def reject_unschedulable(schedule: Schedule, resources: dict[str, float]) -> None:
    """Raises UserError for packs that ask for more than Ray has: Tune would wait for ever."""
    for key, name in (("cpus_per_pack", "CPU"), ("gpus_per_pack", "GPU")):
        asked, there = getattr(schedule, key), resources.get(name, 0)
        if asked > there:
            raise UserError(
                f"schedule.{key}: must be <= the {there:g} {name}s that Ray has, but got {asked:g}"
            )


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


def _tuner(
    configs: list[dict[str, Any]],
    schedule: Schedule,
    workers: int,
    scratch: Path,
    stop: Stop,
    reporter: _Reporter,
) -> Tuner:
    return Tuner(
        tune.with_resources(PackTrainable, {"cpu": schedule.cpus_per_pack, "gpu": schedule.gpus_per_pack}),
        tune_config=TuneConfig(
            search_alg=_UntilStopped(configs, stop),
            num_samples=-1,
            max_concurrent_trials=workers,
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
