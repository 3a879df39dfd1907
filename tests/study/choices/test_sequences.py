"""Sequence tasks: what they show, what they ask, and that nothing about them is left to chance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gradatlas.study.choices.losses import SQUARED_ERROR
from gradatlas.study.choices.tasks import TASKS
from gradatlas.study.randomness import stream
from tests.study import oracles


@pytest.mark.parametrize("steps", [2, 3, 50])
def test_adding_asks_for_the_sum_of_the_two_marked_numbers(steps):
    data = TASKS["adding"].data(steps)
    numbers, markers = data.inputs[..., 0], data.inputs[..., 1]
    assert data.inputs.shape == (TASKS["adding"].training_examples, steps, 2)
    assert set(markers.unique().tolist()) <= {0.0, 1.0}
    assert (markers[:, : steps // 2].sum(dim=1) == 1).all()
    assert (markers[:, steps // 2 :].sum(dim=1) == 1).all()
    for example in range(20):
        marked = numbers[example][markers[example] == 1]
        assert float(data.targets[example, 0]) == pytest.approx(float(marked.sum()), rel=1e-15)
    # The variance of a sum of two uniform numbers; 1024 examples know it to 4 %.
    assert SQUARED_ERROR.constant(data.targets) == pytest.approx(1 / 6, rel=0.15)


@pytest.mark.parametrize("steps", [1, 10, 40])
def test_copy_asks_for_the_first_symbol_and_shows_blanks_after_the_tenth(steps):
    data = TASKS["copy"].data(steps)
    shown = data.inputs.argmax(dim=2)
    assert (data.inputs.sum(dim=2) == 1).all()
    assert torch.equal(shown[:, 0], data.targets)
    assert (shown[:, :10] < 8).all()
    assert (shown[:, 10:] == 8).all()
    assert np.bincount(data.targets).min() > 1024 / 8 / 2


def test_digit_rows_are_the_digits_from_the_top():
    rows, flat = TASKS["digit_rows"].data(8), TASKS["digits"].data(8)
    assert rows.inputs.shape == (1437, 8, 8)
    assert torch.equal(rows.inputs[5, 2], flat.inputs[5, 16:24])
    assert torch.equal(rows.test_inputs.flatten(1), flat.test_inputs)


@pytest.mark.parametrize("name", ["adding", "copy"])
def test_sequences_are_the_same_whenever_they_are_drawn(name):
    task = TASKS[name]
    first = task.data(6)
    task.data(7), task.data(8)  # pushes the first out of what is kept
    again = task.data(6)
    assert again is not first
    assert torch.equal(again.inputs, first.inputs)
    assert torch.equal(again.test_targets, first.test_targets)
    assert not torch.equal(first.inputs[:256], first.test_inputs)


def test_squared_error_equals_torchs():
    draw = stream(0, "outputs")
    outputs = torch.from_numpy(draw.standard_normal((3, 7, 2))).requires_grad_()
    targets = torch.from_numpy(draw.standard_normal((7, 2)))
    expected = torch.stack([nn.functional.mse_loss(x, targets) for x in outputs])
    (gradient,) = torch.autograd.grad(expected.sum(), outputs)
    losses, ours = SQUARED_ERROR.value_and_gradient(outputs.detach().clone(), targets)
    torch.testing.assert_close(losses, expected.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(ours, gradient, rtol=1e-12, atol=1e-16)
    best = targets.mean(dim=0).expand(7, 2)
    assert SQUARED_ERROR.constant(targets) == pytest.approx(float(nn.functional.mse_loss(best, targets)))


@pytest.mark.parametrize("name", ["adding", "copy"])
def test_the_answers_of_sequences_are_those_of_the_formula(name):
    data = TASKS[name].data(12)
    expected = oracles.TASKS[name](data.inputs)
    torch.testing.assert_close(data.targets, expected, check_dtype=False)
