"""Losses of the same examples between the steps of training."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatlas.study.choices.tasks import TASKS, Data, batch_indices
from gradatlas.study.experiment import Experiment, results
from gradatlas.study.training.pack import PackInTraining
from gradatlas.study.training.probing import parts, probe_steps
from gradatlas.study.trial import Trial

DIGITS = TASKS["digits"].load()
ENGINES = pytest.mark.parametrize("activation", ["relu", "elu"], ids=["machine code", "stacked"])


def test_every_step_is_probed_and_of_many_both_ends():
    assert probe_steps(5, 9) == [0, 1, 2, 3, 4, 5]
    assert probe_steps(5, 0) == probe_steps(0, 9) == []
    assert probe_steps(127, 1) == list(range(128))
    assert probe_steps(128, 1) == [*range(64), *range(65, 129)]
    assert probe_steps(1000, 1) == [*range(64), *range(937, 1001)]


@given(examples=st.integers(0, 300), size=st.integers(1, 80))
def test_batches_have_one_size_and_every_example_counts_once(examples, size):
    counted = []
    for start, first, last in parts(examples, size):
        assert 0 <= start <= first < last <= start + size <= max(examples, size)
        counted += range(first, last)
    assert counted == list(range(examples))


@pytest.mark.parametrize(
    ("activation", "dtype"), [("relu", "float32"), ("elu", "float32"), ("relu", "bfloat16")]
)
def test_a_probe_of_one_batch_is_the_loss_of_that_batch(activation, dtype):
    # All steps see the same 16 examples, which are the probe.
    data = dataclasses.replace(DIGITS, inputs=DIGITS.inputs[:16], targets=DIGITS.targets[:16])
    net = {"depth": 3, "width": 8, "activation": activation, "dtype": dtype}
    trial = Trial(batch_size=16, steps=12, probe_size=16, **net)
    pack = PackInTraining([trial], data)
    pack.advance(12)
    found = pack.training()
    assert len(found.probe_losses) == 13
    # The batches hold them in another order: float32 sums of 16 numbers.
    np.testing.assert_allclose(found.probe_losses[:-1], found.losses, rtol=1e-5)
    assert found.probe_losses[-1] < found.probe_losses[0]


@ENGINES
def test_the_probe_falls_steadily_where_the_loss_of_minibatches_turns_by_chance(activation):
    trial = Trial(
        depth=3, batch_size=16, steps=100, probe_size=256, learning_rate=3e-3, activation=activation
    )
    (row,) = results([trial])
    assert row["probe_steps"] == list(range(101))
    assert (np.diff(row["probe_losses"]) < 0).mean() > 0.9
    assert row["loss_sign_changes"] > 0.5 * 48  # 2/3 for numbers in no order


@pytest.mark.parametrize(("rate", "low", "high"), [(0.1, 0.9, 1.0), (0.3, -1.0, -0.8)])
def test_a_swing_of_period_two_shows_in_the_probe(rate, low, high):
    # A linear net on all its examples at once: beyond 2 / (the loss's steepest curvature) steps overshoot.
    data = TASKS["teacher"].load()
    data = dataclasses.replace(data, inputs=data.inputs[:64], targets=data.targets[:64])
    net = {"task": "teacher", "depth": 1, "width": 16, "activation": "linear", "seed": 2}
    pack = PackInTraining([Trial(**net, steps=60, probe_size=64, learning_rate=rate)], data)
    pack.advance(60)
    steps = np.diff(pack.training().probe_losses[30:, 0])
    assert low < np.corrcoef(steps[1:], steps[:-1])[0, 1] < high


def _broken_at(step: int, trial: Trial, value: float) -> Data:
    """The digits, of which an example that training first sees at a step has a value of its own."""
    inputs = DIGITS.inputs.clone()
    seen = {int(row) for s in range(step) for row in batch_indices(len(inputs), trial.batch_size, s)}
    fresh = [row for row in batch_indices(len(inputs), trial.batch_size, step) if int(row) not in seen]
    inputs[max(map(int, fresh))] = value
    return dataclasses.replace(DIGITS, inputs=inputs)


@ENGINES
@pytest.mark.parametrize("step", [3, 63, 70, 140])
def test_a_trial_that_diverges_is_probed_up_to_that_step(activation, step, monkeypatch):
    trial = Trial(
        depth=2, width=8, batch_size=8, steps=150, probe_size=8, activation=activation, learning_rate=0.01
    )
    twin = dataclasses.replace(trial, steps=step)
    (expected,) = results([twin])
    experiment = Experiment([trial])
    monkeypatch.setattr(experiment, "_data", _broken_at(step, trial, math.inf))
    experiment.advance(150)
    (row,) = experiment.rows()
    assert (row["outcome"], row["diverged_step"]) == ("diverged", step)
    wanted = [s for s in probe_steps(150, 8) if s < step] + [step]
    assert row["probe_steps"] == wanted
    losses = dict(zip(expected["probe_steps"], expected["probe_losses"], strict=True))
    assert row["probe_losses"] == [
        losses[s] if s in losses else row["probe_losses"][i] for i, s in enumerate(wanted)
    ]
    assert row["probe_losses"][-1] == expected["probe_losses"][-1]


@ENGINES
def test_what_is_infinite_stays_so_and_what_is_no_number_is_null(activation):
    # Outputs of about 1e25 have squares beyond float32; at 1e45 signals are infinite, and their sums nan.
    shared = {"task": "teacher", "activation": activation, "bias_std": 1.0, "depth": 2, "steps": 3}
    for gain, expected in ((1e12, [math.inf]), (1e30, [None])):
        (row,) = results([Trial(**shared, weight_gain=gain, probe_size=100)])
        assert (row["outcome"], row["probe_steps"]) == ("diverged", [0])
        assert row["probe_losses"] == expected


def test_without_a_probe_the_columns_are_null():
    (row,) = results([Trial(depth=2, width=8, steps=2)])
    assert (row["probe_losses"], row["probe_steps"]) == (None, None)
