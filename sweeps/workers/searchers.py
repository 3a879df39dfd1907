"""What Ray Tune asks for trials: packs from a feed, each for a kind of worker."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from gradatlas.sweeps.workers import cluster  # isort: skip  (first: it sets what Ray reads)

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from gradatlas.sweeps.planning.packing import slots_of
from gradatlas.sweeps.running.feed import Feed, Kind
from gradatlas.sweeps.spec.spec_tables import Schedule
from gradatlas.sweeps.workers.stopping import Stop

_LOOK_SECONDS = 2.0  # between two looks at which nodes are there


class NodeWatch:
    """Looks now and then which nodes there are, and tells a feed how many packs of each kind they hold."""

    def __init__(self, feed: Feed, schedule: Schedule) -> None:
        self._feed, self._schedule = feed, schedule
        self._with_gpus: set[str] = set()
        self._looked = -_LOOK_SECONDS
        self.look()

    def look(self) -> None:
        """Counts the nodes' slots if it is time."""
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        found = cluster.alive_nodes()
        self._with_gpus |= {node["NodeID"] for node in found if node["Resources"].get("GPU")}
        self._feed.resize(slots_by_kind(self._schedule, found))

    @property
    def with_gpus(self) -> list[str]:
        """Ids of the nodes that have GPUs, or had when they lived."""
        return sorted(self._with_gpus)


class PackSearcher(Searcher):
    """Hands out packs, each with what all are told, until there are no more or the run is to stop.

    `nodes` is given where GPUs and nodes without one work on the same run.
    """

    def __init__(
        self, feed: Feed, shared: dict[str, Any], stop: Stop, nodes: NodeWatch | None = None
    ) -> None:
        super().__init__(metric="trials", mode="max")
        self._feed, self._shared, self._stop, self._nodes = feed, shared, stop, nodes
        self._packs: dict[str, str] = {}  # in hand, by the trial's id

    def set_search_properties(self, metric: Any, mode: Any, config: Any, **spec: Any) -> bool:
        """There is nothing to set."""
        return True

    def suggest(self, trial_id: str) -> Any:
        """The next pack with what its worker is told, the end, or None where no worker needs one now.

        Asked only when a worker is free: a learning sampler knows most then.
        """
        if self._stop.reason or self._feed.is_over:
            return Searcher.FINISHED
        handed = self._feed.next()
        if handed is None:
            return None
        self._packs[trial_id] = handed.pack
        told = self._shared | {"pack": handed.pack}
        if handed.kind == "cpu" and self._nodes is not None:
            told |= {"gpus": 0, "not_on": self._nodes.with_gpus}
        return told

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """A pack has its result, is given up for now, or was taken out of the queue."""
        pack = self._packs.pop(trial_id)
        if result and "outcomes" in result:
            self._feed.finished(pack, result["time_total_s"])
        elif result or error:
            self._feed.ended(pack)
        else:
            self._feed.returned(pack)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to keep: the ledger is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing was kept."""


class RequeueStranded(FIFOScheduler):
    """Takes packs that wait for the last node of a kind, which is gone, back into the feed."""

    def __init__(self, feed: Feed, nodes: NodeWatch) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._feed, self._nodes = feed, nodes

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Asked several times a second."""
        self._nodes.look()
        for trial in filter(self._is_stranded, list(tune_controller.get_live_trials())):
            tune_controller.stop_trial(trial)
        return super().choose_trial_to_run(tune_controller)

    def _is_stranded(self, trial: Trial) -> bool:
        """Whether a trial waits for nodes that are gone."""
        return trial.status == Trial.PENDING and self._feed.is_stranded(trial.config["pack"])


def slots_by_kind(schedule: Schedule, found: Sequence[Mapping[str, Any]]) -> dict[Kind, int]:
    """Packs of each kind that Ray's nodes hold at a time."""
    slots: dict[Kind, int] = {"gpu": 0, "cpu": 0}
    for node in found:
        cpus, gpus = (int(node["Resources"].get(name, 0)) for name in ("CPU", "GPU"))
        slots["gpu" if gpus else "cpu"] += slots_of(schedule, cpus, gpus)
    return slots
