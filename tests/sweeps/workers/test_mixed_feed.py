"""Who gets which pack where GPUs and nodes without one share a run; and how its packs are cut."""

from __future__ import annotations

import pickle
import tomllib

import pytest

from gradatlas.study.networks.memory import pack_memory
from gradatlas.sweeps.planning.costs import cost
from gradatlas.sweeps.planning.machine import Node, memory_of_pack
from gradatlas.sweeps.planning.packing import capacity, capacity_beside_gpus, packs, planned_trials
from gradatlas.sweeps.spec.sweep import Schedule, parse_sweep
from gradatlas.sweeps.workers.mixed_feed import MixedFeed

_GIB = 2**30
TEN = {f"pack-{number}": float(10 - number) for number in range(10)}  # costs 10, 9, … 1


def _feed(costs=TEN, *, worth: float = 2.0, gpu: int = 1, cpu: int = 1, learner=None) -> MixedFeed:
    feed = MixedFeed(costs, learner, lambda pack: 1.0, cpus_of_gpu=worth)
    feed.resize({"gpu": gpu, "cpu": cpu})
    return feed


def _all(feed: MixedFeed) -> list[tuple[str, str]]:
    """What is handed out until no worker needs more."""
    handed = []
    while (one := feed.next()) is not None:
        handed.append(one)
    return handed


def test_gpus_take_the_costly_end_and_cpus_the_cheap_one_each_with_one_ahead():
    assert _all(_feed()) == [("pack-0", "gpu"), ("pack-1", "gpu"), ("pack-9", "cpu"), ("pack-8", "cpu")]


def test_the_kind_with_a_free_slot_gets_the_next_pack():
    feed = _feed()
    _all(feed)
    feed.finished("pack-9", 1.0)
    assert _all(feed) == [("pack-7", "cpu")]
    feed.finished("pack-0", 1.0)
    assert _all(feed) == [("pack-2", "gpu")]


def test_a_cpu_takes_no_pack_for_which_the_gpus_would_wait_at_the_end():
    costs = {"large": 50.0, "small": 1.0}
    # 1 on the CPU takes as long as 101 of all together, and 91 are to do.
    feed = _feed({**costs, "middle": 40.0}, worth=100.0)
    assert _all(feed) == [("large", "gpu"), ("middle", "gpu")]
    feed.finished("large", 1.0)
    assert _all(feed) == [("small", "gpu")]
    feed = _feed({**costs, "larger": 60.0, "tiny": 0.5}, worth=100.0)
    # 0.5 on the CPU takes as long as 50.5 of all together, and 111.5 are to do; 1 would take 101 of 111.5.
    assert _all(feed) == [("larger", "gpu"), ("large", "gpu"), ("tiny", "cpu"), ("small", "cpu")]


def test_what_was_measured_replaces_what_was_estimated():
    costs = {f"pack-{number}": 10.0 for number in range(8)}
    feed = _feed(costs, worth=1.0)
    held = _all(feed)
    assert [kind for _, kind in held] == ["gpu", "gpu", "cpu", "cpu"]
    feed.finished(held[0][0], 1.0)
    feed.finished(held[2][0], 100.0)  # a hundred times as long: what is left is not for a CPU
    assert [kind for _, kind in _all(feed)] == ["gpu"]


@pytest.mark.parametrize("gone", ["gpu", "cpu"])
def test_packs_that_wait_for_nodes_that_are_gone_go_to_the_others(gone):
    feed = _feed()
    held = _all(feed)
    waiting = [pack for pack, kind in held if kind == gone]
    assert not any(feed.is_stranded(pack) for pack, _ in held)
    feed.resize({"gpu": 1, "cpu": 1} | {gone: 0})
    assert [pack for pack, _ in held if feed.is_stranded(pack)] == waiting
    for pack in waiting:
        feed.returned(pack)
    others = {pack for pack, kind in held if kind != gone}
    seen = set(others)
    while not feed.is_over:
        for pack in others:
            feed.finished(pack, 1.0)
        others = {pack for pack, _ in _all(feed)}
        assert others or feed.is_over
        seen |= others
    assert seen == set(TEN)


def test_nothing_is_stranded_and_nothing_is_handed_out_while_no_node_is_there():
    feed = _feed()
    held = _all(feed)
    feed.resize({"gpu": 0, "cpu": 0})
    assert not any(feed.is_stranded(pack) for pack, _ in held)
    assert (feed.next(), feed.is_over) == (None, False)


@pytest.mark.parametrize(("gpu", "cpu"), [(1, 0), (1, 3), (4, 16), (2, 1)])
def test_every_pack_is_handed_out_once_whoever_ends_when(gpu, cpu):
    feed = _feed({f"pack-{number}": 1.0 + number % 7 for number in range(100)}, gpu=gpu, cpu=cpu)
    seen: list[str] = []
    held: list[str] = []
    while not feed.is_over:
        new = [pack for pack, _ in _all(feed)]
        seen, held = seen + new, held + new
        feed.finished(held.pop(len(seen) % len(held)), 1.0)
    assert len(seen) == len(set(seen)) == 100


class _Learner:
    """Plans two batches of two packs."""

    def __init__(self) -> None:
        self.asked: list[bool] = []
        self.told: list[str] = []

    @property
    def has_more(self) -> bool:
        return len(self.asked) < 2

    def next_packs(self, *, on_gpu: bool) -> list[str]:
        self.asked.append(on_gpu)
        return [f"batch-{len(self.asked)}-{part}" for part in range(2)]

    def finished(self, pack: str) -> None:
        self.told.append(pack)


def test_a_sampler_that_learns_is_asked_when_a_worker_is_free_and_told_for_whom():
    learner = _Learner()
    feed = _feed({}, learner=learner)
    assert _all(feed) == [("batch-1-1", "gpu"), ("batch-1-0", "cpu")]
    feed.finished("batch-1-0", 1.0)
    assert learner.told == ["batch-1-0"]
    assert _all(feed) == [("batch-2-0", "cpu")]
    assert learner.asked == [True, False]
    assert not feed.is_over


def test_tune_can_pickle_a_feed():
    pickle.dumps(_feed(learner=_Learner()))


TEXT = """
[scientific]
depth = { low = 2, high = 64, log = true }
activation = ["relu", "tanh"]
[fixed]
width = 64
[search]
points = 4000
[schedule]
gpus_per_pack = 0.5
"""


def test_a_plan_for_both_kinds_has_packs_of_both_sizes_and_every_trial_once():
    sweep = parse_sweep(tomllib.loads(TEXT), "study.toml")
    planned = planned_trials(sweep)
    nodes = [Node(8, 1, 64 * _GIB, 40 * _GIB), Node(20, 0, 16 * _GIB, 0), Node(5, 0, 8 * _GIB, 0)]
    gpus, beside = capacity(sweep.schedule, nodes), capacity_beside_gpus(sweep.schedule, nodes)
    assert gpus == (2, memory_of_pack(nodes[0], 2, gpus_per_pack=0.5))
    assert beside == (25, memory_of_pack(nodes[1], 20, gpus_per_pack=0.0))
    alone = packs(planned, sweep.schedule, *gpus)
    cut = packs(planned, sweep.schedule, *gpus, beside=beside)
    assert sorted(entry.number for pack in cut for entry in pack) == list(range(4000))
    costs = [sum(cost(entry.trial) for entry in pack) for pack in cut]
    assert costs == sorted(costs, reverse=True)
    # 25 CPUs beside what counts as 100 are to do a fifth, in packs of their own; the rest is as it was. (The
    # first of them may look like a pack of the GPUs that was shortened.)
    kept = [pack for pack in cut if any(pack == whole[: len(pack)] for whole in alone)]
    on_cpus = [pack for pack in cut if pack not in kept]
    share = sum(cost(entry.trial) for pack in on_cpus for entry in pack) / sum(costs)
    assert 0.19 <= share <= 0.2
    assert len(on_cpus) >= 2 * 25
    assert len(kept) >= 0.7 * len(alone)
    assert max(pack_memory([entry.trial for entry in pack]) for pack in on_cpus) <= beside[1]


def test_only_schedules_that_ask_for_gpus_have_workers_beside_them():
    nodes = [Node(8, 1, 64 * _GIB, 40 * _GIB), Node(20, 0, 16 * _GIB, 0)]
    assert capacity_beside_gpus(Schedule(), nodes)[0] == 0
    assert capacity(Schedule(), nodes)[0] == 28
    assert capacity_beside_gpus(Schedule(gpus_per_pack=1.0), nodes[:1])[0] == 0
    assert capacity_beside_gpus(Schedule(gpus_per_pack=1.0, cpus_per_pack=3), nodes)[0] == 6
