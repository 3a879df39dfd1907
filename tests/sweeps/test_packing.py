"""Plans and packs."""

from __future__ import annotations

import tomllib

from study.randomness import trial_seeds
from sweeps.packing import cost, packs, planned_trials
from sweeps.spec import parse_sweep

TEXT = """
[scientific]
depth = { low = 2, high = 64, log = true }
activation = ["relu", "tanh"]
[nuisance]
learning_rate = { low = 1e-3, high = 1.0, log = true }
[fixed]
width = 16
[search]
points = 300
nuisance_draws = 2
seeds = 2
"""


def _sweep(text: str = TEXT):
    return parse_sweep(tomllib.loads(text), "study.toml")


def test_every_trial_is_planned_once_with_a_seed_of_its_own():
    planned = planned_trials(_sweep())
    assert [entry.number for entry in planned] == list(range(1200))
    assert len({entry.trial.seed for entry in planned}) == 1200
    assert len({(entry.point, entry.draw, entry.repetition) for entry in planned}) == 1200
    by_draw = {}
    for entry in planned:
        by_draw.setdefault((entry.point, entry.draw), set()).add(entry.trial.learning_rate)
    assert all(len(rates) == 1 for rates in by_draw.values())  # repetitions share the draw


def test_points_of_parts_are_numbered_on():
    sweep = _sweep(
        TEXT + '[[part]]\nname = "a"\nsearch = { points = 3 }\n[[part]]\nname = "b"\nsearch = { points = 2 }'
    )
    planned = planned_trials(sweep)
    assert [(e.part, e.point) for e in planned[::4]] == [("a", 0), ("a", 1), ("a", 2), ("b", 3), ("b", 4)]
    first_a, first_b = planned[0].trial, planned[12].trial
    assert first_a.depth != first_b.depth or first_a.learning_rate != first_b.learning_rate


def test_packs_hold_every_trial_once_share_a_key_and_go_costliest_first():
    sweep = _sweep()
    planned = planned_trials(sweep)
    cut = packs(planned, sweep.schedule, workers=2)
    assert sorted(entry.number for pack in cut for entry in pack) == list(range(1200))
    for pack in cut:
        assert len({entry.trial.pack_key() for entry in pack}) == 1
        assert [e.trial.depth for e in pack] == sorted((e.trial.depth for e in pack), reverse=True)
    costs = [sum(cost(entry.trial) for entry in pack) for pack in cut]
    assert costs == sorted(costs, reverse=True)


def test_auto_packs_leave_no_long_tail():
    sweep = _sweep()
    planned = planned_trials(sweep)
    total = sum(cost(entry.trial) for entry in planned)
    for workers in (1, 2, 4):
        costs = [sum(cost(e.trial) for e in pack) for pack in packs(planned, sweep.schedule, workers)]
        finish = [0.0] * workers
        for pack in costs:  # each pack goes to the worker that is free first
            finish[finish.index(min(finish))] += pack
        assert max(finish) <= 1.1 * total / workers


def test_a_pack_size_is_kept():
    sweep = _sweep(TEXT + "[schedule]\npack_size = 7")
    sizes = [len(pack) for pack in packs(planned_trials(sweep), sweep.schedule, workers=2)]
    assert max(sizes) == 7
    assert sum(size < 7 for size in sizes) <= 2  # one rest for each activation


def test_trial_seeds_differ_and_depend_on_the_search_seed():
    import numpy as np

    numbers = np.arange(200_000)
    seeds = trial_seeds(0, numbers)
    assert len(np.unique(seeds)) == len(numbers)
    assert seeds.min() >= 0
    assert not np.isin(trial_seeds(1, numbers), seeds).any()
    assert trial_seeds(0, np.array([123_456]))[0] == seeds[123_456]
    # Every bit is a coin: the share of ones over 200 000 seeds is 1/2 within five standard errors.
    bits = (seeds[:, None] >> np.arange(63)) & 1
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 5 * 0.5 / np.sqrt(len(numbers))
