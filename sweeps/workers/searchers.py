"""What Ray Tune asks for trials: packs, for one kind of workers or for two."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from gradatlas.sweeps.workers import cluster  # isort: skip  (first: it sets what Ray reads)

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from gradatlas.sweeps.planning.packing import slots_of
from gradatlas.sweeps.running.feed import Feed
from gradatlas.sweeps.spec.sweep import Schedule
from gradatlas.sweeps.workers.mixed_feed import Kind, MixedFeed
from gradatlas.sweeps.workers.stopping import Stop

_LOOK_SECONDS = 2.0  # between two looks at which nodes are there


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


class MixedSearcher(PackSearcher):
    """Hands out packs to workers on GPUs and on nodes without one, each with what it computes on."""

    _feed: MixedFeed  # type: ignore[assignment]

    def __init__(self, feed: MixedFeed, shared: dict[str, Any], stop: Stop, schedule: Schedule) -> None:
        super().__init__(feed, shared, stop)  # type: ignore[arg-type]
        self._schedule = schedule
        self._packs: dict[str, str] = {}  # in hand, by the trial's id
        self._with_gpus: set[str] = set()  # ids of the nodes that have any, or had when they lived
        self._looked = -_LOOK_SECONDS
        self.look()

    def look(self) -> None:
        """Counts the nodes' slots, now and then."""
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        found = cluster.alive_nodes()
        self._with_gpus |= {node["NodeID"] for node in found if node["Resources"].get("GPU")}
        self._feed.resize(slots_by_kind(self._schedule, found))

    def suggest(self, trial_id: str) -> Any:
        """The next pack for the kind of worker that needs one; None where none does now."""
        if self._stop.reason or self._feed.is_over:
            return Searcher.FINISHED
        handed = self._feed.next()
        if handed is None:
            return None
        pack, kind = handed
        self._packs[trial_id] = pack
        if kind == "gpu":
            return self._shared | {"pack": pack}
        return self._shared | {"pack": pack, "gpus": 0, "not_on": sorted(self._with_gpus)}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """A pack has its result, is given up for now, or was taken from a place in the queue."""
        pack = self._packs.pop(trial_id)
        if result and "outcomes" in result:
            self._feed.finished(pack, result["time_total_s"])
        elif result or error:
            self._feed.ended(pack)
        else:
            self._feed.returned(pack)

    def is_stranded(self, trial: Trial) -> bool:
        """Whether a trial waits for nodes that are gone."""
        return trial.status == Trial.PENDING and self._feed.is_stranded(trial.config["pack"])


class Unstranding(FIFOScheduler):
    """Takes packs that wait for the last node of a kind, which is gone, back into the feed."""

    def __init__(self, searcher: MixedSearcher) -> None:
        super().__init__()
        self._searcher = searcher

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Asked several times a second."""
        self._searcher.look()
        for trial in filter(self._searcher.is_stranded, list(tune_controller.get_live_trials())):
            tune_controller.stop_trial(trial)
        return super().choose_trial_to_run(tune_controller)


def slots_by_kind(schedule: Schedule, found: Sequence[Mapping[str, Any]]) -> dict[Kind, int]:
    """Packs of each kind that Ray's nodes hold at a time."""
    slots: dict[Kind, int] = {"gpu": 0, "cpu": 0}
    for node in found:
        cpus, gpus = (int(node["Resources"].get(name, 0)) for name in ("CPU", "GPU"))
        slots["gpu" if gpus else "cpu"] += slots_of(schedule, cpus, gpus)
    return slots
