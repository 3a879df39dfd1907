"""What a trial costs: its products as torch counts them, and the rest by what it must depend on."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from gradatlas.study.networks.memory import sizes
from gradatlas.study.trial import Trial
from gradatlas.sweeps.planning.costs import cost, pack_cost
from gradatlas.sweeps.planning.forecast import _makespan

TRIAL = Trial(depth=12, width=48, batch_size=32, steps=100)


def _multiplications(depth: int, width: int, batch_size: int) -> float:
    """Of a training step, as torch counts them."""
    widths = [64, *[width] * depth, 10]
    layers = [torch.nn.Linear(*pair) for pair in pairwise(widths)]
    with FlopCounterMode(display=False) as counter, torch.enable_grad():
        # torch counts no gradient of an input that wants none.
        torch.nn.Sequential(*layers)(torch.ones(batch_size, 64, requires_grad=True)).sum().backward()
    return counter.get_total_flops() / 2


@pytest.mark.parametrize("shape", [(1, 8, 4), (12, 48, 32), (3, 100, 64)])
def test_a_step_has_the_products_that_torch_counts(shape):
    depth, width, batch_size = shape
    _, weights, _ = sizes(Trial(depth=depth, width=width, batch_size=batch_size))
    assert 3 * batch_size * weights == _multiplications(*shape)


def test_a_recurrent_step_has_its_products_at_each_time_step_and_its_weights_once():
    trial = Trial(family="lstm", task="copy", depth=20, width=16, batch_size=8)
    signals, met, kept = sizes(trial)
    cell = torch.nn.LSTM(trial.features, 16, bias=False)
    assert kept - 16 * trial.outputs == sum(weight.numel() for weight in cell.parameters())
    assert met - 16 * trial.outputs == 20 * (kept - 16 * trial.outputs)
    assert signals == 20 * 8 * 4 * 16


def test_steps_cost_alike_and_no_steps_cost_no_training():
    none, some, more = (cost(replace(TRIAL, steps=steps)) for steps in (0, 100, 300))
    assert none < some / 5
    assert more - some == pytest.approx(2 * (some - none), rel=0.05)  # the end of training costs 2.5 steps


@pytest.mark.parametrize(
    "change",
    [
        {"depth": 13},
        {"width": 49},
        {"batch_size": 33},
        {"activation": "tanh"},
        {"norm": "batch"},
        {"skip": "residual"},
        {"optimizer": "momentum"},
        {"clip_value": 1.0},
        {"probe_size": 32},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_makes_more_work_costs_more(change):
    assert cost(replace(TRIAL, **change)) > cost(TRIAL)


def test_a_probe_costs_in_proportion_to_its_batches_and_not_beyond_the_steps_that_it_is_taken_at():
    without, one, four, long, longer = (
        cost(replace(TRIAL, probe_size=size, steps=steps))
        for size, steps in ((0, 100), (32, 100), (128, 100), (32, 1000), (32, 2000))
    )
    assert four - without == pytest.approx(4 * (one - without))
    # A pass forward is a third of a step's products, and of 256 examples all that a step sees is a quarter.
    assert 0.25 < (one - without) / without < 0.5
    steps = cost(replace(TRIAL, steps=2000)) - cost(replace(TRIAL, steps=1000))
    assert longer - long == pytest.approx(steps)


def test_a_pack_costs_its_trials_and_what_they_share_once():
    trials = [replace(TRIAL, depth=depth) for depth in (12, 5, 2)]
    shared = pack_cost(trials) - sum(map(cost, trials))
    assert shared > 0
    assert pack_cost(trials * 4) - sum(map(cost, trials * 4)) == pytest.approx(shared)
    assert pack_cost(trials[1:]) - sum(map(cost, trials[1:])) < shared


def test_a_run_ends_with_its_last_pack():
    assert _makespan([5.0, 4.0, 3.0, 3.0], 2) == 8.0
    assert _makespan([9.0, 1.0], 4) == 9.0
