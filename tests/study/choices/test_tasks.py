"""Tasks and the regression loss, against torch.nn, scikit-learn and naive code."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from gradatlas.study.choices.losses import CROSS_ENTROPY, SQUARED_ERROR
from gradatlas.study.choices.synthetic import spiral_examples, teacher_examples
from gradatlas.study.choices.tasks import TASKS, batch_indices, task_named
from gradatlas.study.experiment import results
from gradatlas.study.randomness import stream
from gradatlas.study.training.pack import PackInTraining, train
from gradatlas.study.trial import Trial
from tests.study.reference import Reference

NAMES = [name for name, task in TASKS.items() if not task.is_sequence] + ["teacher:7"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_squared_error_equals_torchs(dtype):
    numbers = stream(0, "outputs")
    outputs = torch.from_numpy(numbers.standard_normal((3, 7, 5))).to(dtype).requires_grad_()
    targets = torch.from_numpy(numbers.standard_normal((7, 5)))
    expected = torch.stack([nn.MSELoss()(one, targets.to(dtype)) for one in outputs])
    (gradient,) = torch.autograd.grad(expected.sum(), outputs)
    losses, ours = SQUARED_ERROR.value_and_gradient(outputs.detach().clone(), targets)
    tolerance = 16 * torch.finfo(dtype).eps  # sums of 35 numbers in another order
    torch.testing.assert_close(losses, expected.detach(), rtol=tolerance, atol=0)
    torch.testing.assert_close(ours, gradient, rtol=tolerance, atol=tolerance)
    assert losses.dtype == ours.dtype == dtype


def test_the_best_constants_squared_error_is_that_of_the_mean():
    targets = torch.from_numpy(
        stream(0, "targets").standard_normal((50, 3)) * [1.0, 2.0, 5.0] + [0.0, 7.0, -3.0]
    )
    at_mean = nn.functional.mse_loss(targets.mean(dim=0).expand_as(targets), targets)
    assert SQUARED_ERROR.constant(targets) == pytest.approx(float(at_mean), rel=1e-12)
    assert SQUARED_ERROR.constant(targets) == pytest.approx(targets.numpy().var(axis=0).mean(), rel=1e-12)


def test_a_regression_trains_as_torch_does():
    task = task_named("teacher:7")
    shared = {"task": "teacher:7", "width": 8, "batch_size": 16, "steps": 4, "activation": "tanh"}
    trials = [Trial(depth=depth, seed=depth, learning_rate=0.2, **shared) for depth in (4, 2)]
    stacked, data = train(trials, task.load(), dtype=torch.float64), task.load()
    for place, trial in enumerate(trials):
        model = Reference(trial)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
        for step in range(trial.steps):
            chosen = batch_indices(len(data.inputs), trial.batch_size, step)
            loss = nn.MSELoss()(model(data.inputs[chosen]), data.targets[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            assert stacked.losses[step, place] == pytest.approx(loss.item(), rel=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_a_task_is_what_it_declares(name):
    task = task_named(name)
    data = task.load()
    assert data.inputs.shape == (task.training_examples, task.features)
    assert data.test_inputs.shape == (math.ceil(task.training_examples / 4), task.features)
    assert data.inputs.dtype == torch.float64
    assert float(data.inputs.mean()) == pytest.approx(0.0, abs=1e-12)
    assert float(data.inputs.std(correction=0)) == pytest.approx(1.0, rel=1e-12)
    everything = torch.cat([data.inputs, data.test_inputs])
    assert len(everything.unique(dim=0)) == len(everything), "an example stands in both splits"
    outputs = int(data.targets.max()) + 1 if task.loss.correct else data.targets.shape[1]
    assert outputs == task.outputs


@pytest.mark.parametrize("name", NAMES)
def test_a_pack_learns_each_task(name):
    shared = {"task": name, "activation": "tanh", "learning_rate": 0.05, "steps": 100}
    trials = [Trial(depth=depth, seed=depth, **shared) for depth in (4, 2)]
    for row in results(trials):
        assert row["outcome"] == "learned"
        assert row["final_loss"] < 0.8 * row["initial_loss"]
        assert row["task"] == name
        assert (row["final_accuracy"] is None) == (TASKS.get(name, TASKS["teacher"]).loss is SQUARED_ERROR)


@pytest.mark.parametrize("name", NAMES)
def test_every_trial_sees_the_same_batches_whatever_it_is(name, monkeypatch):
    seen: list[np.ndarray] = []
    taken = PackInTraining._batches

    def noted(self, rows):
        batches = taken(self, rows)
        seen.extend(batches.inputs.reshape(-1, 16, batches.inputs.shape[-1]).double().numpy())
        return batches

    monkeypatch.setattr(PackInTraining, "_batches", noted)
    data = task_named(name).load()
    shared = {"task": name, "batch_size": 16, "steps": 3, "learning_rate": 1e-3}
    for trials in (
        [Trial(depth=2, seed=1, **shared)],
        [Trial(depth=d, seed=d, width=9, **shared) for d in (5, 3)],
    ):
        seen.clear()
        train(trials, data, dtype=torch.float64)
        assert len(seen) == 3
        for step, inputs in enumerate(seen):
            np.testing.assert_array_equal(inputs, data.inputs[batch_indices(len(data.inputs), 16, step)])


def test_a_teacher_is_a_function_of_its_inputs_and_no_line():
    data = task_named("teacher:7").load()
    line = LinearRegression().fit(data.inputs, data.targets)
    # A line catches E[φ′]²/E[φ²] = 0.93 of tanh's variance at N(0, 1); W's rows of 7 differ in length.
    assert 0.85 < line.score(data.test_inputs, data.test_targets) < 0.99
    assert float(data.targets.var()) == pytest.approx(1.0, rel=0.1)


def test_drawn_examples_are_the_same_in_every_process():
    for draw in (lambda: teacher_examples(7, 50, 0), lambda: spiral_examples(50, 0)):
        for first, again in zip(draw(), draw(), strict=True):
            np.testing.assert_array_equal(first, again)
    # Pinned: results of different versions can be compared only while the examples stay.
    assert float(task_named("teacher:7").load().inputs[0, 0]) == pytest.approx(1.5746011238334092, rel=1e-9)
    assert float(task_named("spirals").load().inputs[0, 0]) == pytest.approx(-1.0310496665178752, rel=1e-9)


def test_teachers_of_other_dimensions_are_other_tasks():
    assert task_named("teacher").features == 64
    assert torch.equal(task_named("teacher").load().inputs, task_named("teacher:64").load().inputs)
    assert task_named("teacher:3").load().inputs.shape[1] == 3


def test_spirals_cannot_be_told_apart_by_a_line_but_by_their_neighbours():
    data = TASKS["spirals"].load()
    training, test = (data.inputs, data.targets), (data.test_inputs, data.test_targets)
    assert LogisticRegression().fit(*training).score(*test) < 0.75
    assert KNeighborsClassifier(5).fit(*training).score(*test) > 0.97
    assert np.bincount(torch.cat([data.targets, data.test_targets])).tolist() == [1000, 1000]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "digit",
            r"task: must be one of digits, .*teacher:DIMENSION, .*but got 'digit'; did you mean 'digits'",
        ),
        ("teacher:0", "task: must be one of .* but got 'teacher:0'"),
        ("teacher:1.5", "task: must be one of .* but got 'teacher:1.5'"),
        ("teacher:65537", "task: teacher:N: N must be <= 65536 dimensions, but is 65537; take fewer"),
        ("table.csv", r"task: must be one of .*\.npz or \.parquet file, but got 'table\.csv'"),
        ("none.npz", r"task: none\.npz: cannot be read: No such file or directory; check the path"),
    ],
)
def test_what_is_no_task_is_told(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        Trial(task=name)


def test_more_than_the_training_examples_of_a_task_are_refused():
    with pytest.raises(
        ValueError, match="batch_size: must be <= 1600, the training examples of task 'spirals'"
    ):
        Trial(task="spirals", batch_size=1601)


def test_digits_are_scikit_learns_split_once_and_scaled_by_one_mean_and_deviation():
    data, stored = TASKS["digits"].load(), load_digits()
    assert (len(data.inputs), len(data.test_inputs)) == (TASKS["digits"].training_examples, 360)
    pixels = torch.cat([data.inputs, data.test_inputs]).numpy()
    labels = torch.cat([data.targets, data.test_targets]).numpy()
    assert data.inputs.mean().abs() < 1e-12
    assert data.inputs.std(correction=0) == pytest.approx(1.0)
    low, high = pixels.min(), pixels.max()
    restored = np.rint((pixels - low) / (high - low) * 16)
    ours = sorted((label, *image) for label, image in zip(labels, restored, strict=True))
    theirs = sorted((label, *image) for label, image in zip(stored.target, stored.data, strict=True))
    np.testing.assert_array_equal(np.array(ours), np.array(theirs))
    counts = np.bincount(data.targets.numpy()) / len(data.targets)
    assert CROSS_ENTROPY.constant(data.targets) == pytest.approx(-(counts * np.log(counts)).sum())


def test_an_epoch_sees_every_example_once_in_its_own_order():
    steps = [batch_indices(10, 4, step) for step in range(5)]
    flat = np.concatenate(steps)
    assert sorted(flat[:10]) == list(range(10))
    assert sorted(flat[10:20]) == list(range(10))
    assert flat[:10].tolist() != flat[10:20].tolist()
    np.testing.assert_array_equal(batch_indices(10, 4, 3), steps[3])
