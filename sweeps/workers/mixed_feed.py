"""Handing out where GPUs and nodes without one work on the same run.

Workers on GPUs take packs from the costly end, those on nodes without a GPU from the cheap end, and only what
they will have done before all workers together are through with the rest: else the GPUs, a hundred times as
fast, would wait for a last pack on a CPU. Which kind is asked for a pack follows from which has a free slot.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from gradatlas.sweeps.running.feed import Handed, Kind
from gradatlas.sweeps.running.learning import Learner

KINDS: tuple[Kind, Kind] = ("gpu", "cpu")


class MixedFeed:
    """The packs of a run for two kinds of workers, of which nodes come and go."""

    def __init__(
        self,
        costs: Mapping[str, float],
        learner: Learner | None,
        cost_of: Callable[[str], float],
        *,
        cpus_of_gpu: float,
    ) -> None:
        """`costs` are those of the packs that wait, `cost_of` tells that of a pack still to be planned;
        `cpus_of_gpu` workers on CPUs are taken for one on a GPU until both have reported.
        """
        self._costs, self._learner, self._cost_of = dict(costs), learner, cost_of
        self._waiting = sorted(self._costs, key=self._place)  # cheapest first
        self._cpus_of_gpu = cpus_of_gpu
        self._in_hand: dict[str, Kind] = {}
        self._slots: dict[Kind, int] = dict.fromkeys(KINDS, 0)
        self._spent: Counter[Kind] = (
            Counter()
        )  # cost that workers of a kind did, and the seconds that it took
        self._seconds: Counter[Kind] = Counter()

    def _place(self, pack: str) -> tuple[float, str]:
        return self._costs[pack], pack

    def resize(self, slots: Mapping[Kind, int]) -> None:
        """So many packs of each kind the nodes hold at a time now."""
        self._slots = dict(slots)

    @property
    def learns(self) -> bool:
        """As `Feed.learns`."""
        return self._learner is not None

    @property
    def is_over(self) -> bool:
        """Whether no pack waits, is in hand, or is still to be planned."""
        return not (self._waiting or self._in_hand or self._has_more)

    @property
    def _has_more(self) -> bool:
        return self._learner is not None and self._learner.has_more

    def next(self) -> Handed | None:
        """The next pack and the kind of its worker; None where no worker needs one now.

        One pack more than a kind's slots is handed out, so that a worker goes on at once; but a sampler that
        learns is asked when a worker is free.
        """
        ahead = 0 if self._learner else 1
        held = Counter(self._in_hand.values())
        for kind in KINDS:
            if self._slots[kind] and held[kind] < self._slots[kind] + ahead:
                pack = self._taken(kind)
                if pack is not None:
                    self._in_hand[pack] = kind
                    return Handed(pack, kind)
        return None

    def _taken(self, kind: Kind) -> str | None:
        if not self._waiting and self._has_more:
            assert self._learner is not None
            for pack in self._learner.next_packs(on_gpu=kind == "gpu"):
                self._costs[pack] = self._cost_of(pack)
                insort(self._waiting, pack, key=self._place)
        if not self._waiting or (kind == "cpu" and not self._is_worth_a_cpu(self._waiting[0])):
            return None
        return self._waiting.pop(-1 if kind == "gpu" else 0)

    def _is_worth_a_cpu(self, pack: str) -> bool:
        """Whether a worker on CPUs will have done a pack before all together have done the rest."""
        if self._has_more or not self._slots["gpu"]:
            return True
        rest = sum(self._costs[name] for name in (*self._waiting, *self._in_hand))
        speed = self._gpu_speed()
        return self._costs[pack] * (self._slots["gpu"] * speed + self._slots["cpu"]) <= rest

    def _gpu_speed(self) -> float:
        """How many workers on CPUs one on a GPU is worth, as measured once both kinds reported."""
        if not all(self._seconds[kind] for kind in KINDS):
            return self._cpus_of_gpu
        paces = {kind: self._spent[kind] / self._seconds[kind] for kind in KINDS}
        return paces["gpu"] / paces["cpu"]

    def finished(self, pack: str, seconds: float) -> None:
        """A pack has its result, after so many seconds of its worker."""
        kind = self._in_hand[pack]
        self._spent[kind] += self._costs[pack]  # type: ignore[assignment]
        self._seconds[kind] += seconds  # type: ignore[assignment]
        self.ended(pack)
        if self._learner is not None:
            self._learner.finished(pack)

    def ended(self, pack: str) -> None:
        """A pack is in no hand any more and not to be handed out again."""
        self._in_hand.pop(pack, None)

    def returned(self, pack: str) -> None:
        """A pack that no worker began, or whose worker's node went, waits again."""
        self.ended(pack)
        insort(self._waiting, pack, key=self._place)

    def is_stranded(self, pack: str) -> bool:
        """Whether a pack without a worker waits for a kind of node that is gone, while the other is there."""
        kind = self._in_hand.get(pack)
        return kind is not None and not self._slots[kind] and any(self._slots.values())

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher; a study in use cannot be
