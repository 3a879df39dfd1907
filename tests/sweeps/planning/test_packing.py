"""Plans and packs."""

from __future__ import annotations

import tomllib

import pytest

from gradatlas.study.networks.memory import pack_memory
from gradatlas.study.randomness import trial_seeds
from gradatlas.sweeps.planning.costs import cost
from gradatlas.sweeps.planning.packing import packs, planned_trials, worker_count
from gradatlas.sweeps.spec.presets import preset_files
from gradatlas.sweeps.spec.sweep import Schedule, load_sweep, parse_sweep

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


def _idle_share(costs: list[float], workers: int) -> float:
    """Of the workers' time until the last one ends, each pack going to the worker that is free first."""
    finish = [0.0] * workers
    for pack in costs:
        finish[finish.index(min(finish))] += pack
    return 1 - sum(costs) / (workers * max(finish))


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["", *preset_files()])
def test_auto_packs_leave_no_long_tail(name):
    sweep = load_sweep(preset_files()[name]) if name else _sweep()
    planned = planned_trials(sweep)
    costs = {entry.number: cost(entry.trial) for entry in planned}
    for workers in (1, 2, 4, 8, 16, 32, 64):
        cut = packs(planned, sweep.schedule, workers)
        idle = _idle_share([sum(costs[entry.number] for entry in pack) for pack in cut], workers)
        assert idle <= 0.1, workers


def test_auto_packs_fit_the_memory():
    sweep = _sweep(TEXT.replace("width = 16", "width = 128"))
    planned = planned_trials(sweep)
    ample = packs(planned, sweep.schedule, 1)
    assert max(pack_memory([entry.trial for entry in pack]) for pack in ample) > 100 * 2**20
    tight = packs(planned, sweep.schedule, 1, 100 * 2**20)
    assert sorted(entry.number for pack in tight for entry in pack) == list(range(1200))
    assert max(pack_memory([entry.trial for entry in pack]) for pack in tight) <= 100 * 2**20


def test_a_trial_that_fits_nowhere_is_tried_alone():
    sweep = _sweep()
    assert {len(pack) for pack in packs(planned_trials(sweep), sweep.schedule, 1, 1.0)} == {1}


@pytest.mark.parametrize(
    ("schedule", "cpus", "gpus", "workers"),
    [
        ({}, 8, 0, 8),
        ({"cpus_per_pack": 3}, 8, 0, 2),
        ({"concurrency": 2}, 8, 0, 2),
        ({"gpus_per_pack": 0.25}, 16, 2, 8),
        ({"gpus_per_pack": 0.4}, 16, 2, 4),
        ({"gpus_per_pack": 0.1}, 16, 1, 10),
        ({"gpus_per_pack": 2.0}, 16, 5, 2),
        ({"gpus_per_pack": 0.25}, 3, 2, 3),
        ({"cpus_per_pack": 4}, 2, 0, 1),
    ],
)
def test_as_many_packs_run_as_cpus_gpus_and_the_schedule_allow(schedule, cpus, gpus, workers):
    assert worker_count(Schedule(**schedule), cpus=cpus, gpus=gpus) == workers


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
