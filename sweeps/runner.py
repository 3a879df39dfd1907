"""Runs a ledger's pending packs on Ray Tune. The only file that starts Ray."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Before Ray is imported: a cluster of our own on the loopback needs no token, Tune's own tables and
# loggers would only repeat what the ledger holds, and Ctrl-C is ours to handle.
for _name, _value in {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}.items():
    os.environ.setdefault(_name, _value)

import ray
from ray import tune
from ray.tune import Callback, CheckpointConfig, FailureConfig, RunConfig, TuneConfig, Tuner
from ray.tune.search import Searcher

from sweeps.display import Display
from sweeps.ledger import Ledger
from sweeps.spec import Sweep
from sweeps.trainable import PackTrainable

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


class _Reporter(Callback):
    """Passes what finished packs report to the display."""

    def __init__(self, display: Display) -> None:
        self._display: Display | None = display

    def on_trial_start(self, *unused: Any, **info: Any) -> None:
        """The first worker is there."""
        if self._display is not None and info["iteration"] <= 1:
            self._display.started()

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """A pack is done."""
        if self._display is not None:
            self._display.finished(trial.last_result)

    def __getstate__(self) -> dict[str, Any]:
        return {"_display": None}  # Tune pickles its callbacks; a live display cannot be


def run_packs(ledger: Ledger, sweep: Sweep, cpus: int, display: Display) -> list[str]:
    """Runs every pending pack on a Ray of this machine; the reasons of packs that failed."""
    pending = ledger.pending_packs()
    if not pending:
        return []
    shared = {
        "run": str(ledger.folder.resolve()),
        "limits": vars(sweep.limits),
        "threads": sweep.schedule.cpus_per_pack,
        "gpus": sweep.schedule.gpus_per_pack,
    }
    configs = [shared | {"pack": pack} for pack in pending]
    scratch = Path(tempfile.mkdtemp(prefix="gradatlas-"))
    ray.init(
        num_cpus=cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=_OBJECT_STORE,
        _node_ip_address="127.0.0.1",
    )
    try:
        grid = _tuner(configs, sweep, cpus, scratch, display).fit()
        return [str(error).strip().splitlines()[-1] for error in grid.errors]
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


def _tuner(configs: list[dict[str, Any]], sweep: Sweep, cpus: int, scratch: Path, display: Display) -> Tuner:
    schedule = sweep.schedule
    return Tuner(
        tune.with_resources(PackTrainable, {"cpu": schedule.cpus_per_pack, "gpu": schedule.gpus_per_pack}),
        tune_config=TuneConfig(
            search_alg=PackSearcher(configs),
            num_samples=-1,
            max_concurrent_trials=max(1, cpus // schedule.cpus_per_pack),  # GPUs bound it through Ray
            reuse_actors=True,
        ),
        run_config=RunConfig(
            name="packs",
            storage_path=str(scratch),
            verbose=0,
            callbacks=[_Reporter(display)],
            checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
            failure_config=FailureConfig(max_failures=schedule.max_failures),
        ),
    )
