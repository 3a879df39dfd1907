"""Plain stacks in machine code, and by the operations that all packs can take, against torch alone."""

from __future__ import annotations

import dataclasses
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from gradatlas.study.choices.tasks import TASKS, Data, batch_indices, task_named
from gradatlas.study.experiment import results
from gradatlas.study.networks.perceptrons import build
from gradatlas.study.training import back_ends
from gradatlas.study.training.engine import engine_of, load_back_ends
from gradatlas.study.training.machine_code import MachineCodeEngine
from gradatlas.study.training.pack import PackInTraining, Training, train
from gradatlas.study.trial import Trial
from tests.study.reference import recorded, trained_alone

SHARED = {"width": 8, "batch_size": 16, "steps": 5, "bias_std": 0.1, "init": "he", "weight_gain": 0.8}
SHARED |= {"probe_size": 40}
CLIPS = (
    {},
    {"clip_norm": 0.05},
    {"clip_value": 0.01},
    {"clip_adaptive": 0.02},
    {"clip_adaptive": 0.3, "clip_value": 0.02, "clip_norm": 0.1},
)
OPTIMIZERS = {
    "sgd": {"learning_rate": 0.01},
    "momentum": {"learning_rate": 0.01, "momentum": 0.8},
    "adam": {"learning_rate": 0.01, "adam_beta1": 0.7, "adam_beta2": 0.9, "adam_eps": 1e-4},
}
STRAIGHT = ("relu", "leaky_relu", "linear")


@pytest.fixture(params=[True, False], ids=["machine code", "torch"])
def way(request, monkeypatch):
    """Either way to train a plain stack."""
    if not request.param:
        monkeypatch.setattr(back_ends, "_is_installed", lambda module: False)
    assert _is_compiled(Trial(depth=1)) == request.param


def _is_compiled(trial: Trial, dtype: torch.dtype = torch.float32, device: str = "cpu") -> bool:
    return isinstance(engine_of(trial, dtype=dtype, device=torch.device(device)), MachineCodeEngine)


def _assert_equals_torch(trials: list[Trial], data: Data | None = None) -> None:
    data = data or task_named(trials[0].task).data(0)
    found = train(trials, data, dtype=torch.float64)
    for place, trial in enumerate(trials):
        for name, values in trained_alone(trial, data).items():
            np.testing.assert_allclose(
                recorded(found, name, place), values, rtol=1e-10, err_msg=f"{name} {trial}"
            )


@pytest.mark.parametrize("activation", STRAIGHT)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("task", ["digits", "teacher", "teacher:1"])
def test_a_plain_stack_trains_each_trial_as_torch_does_alone(way, activation, optimizer, task):
    _assert_equals_torch(
        [
            Trial(
                depth=depth,
                seed=10 * depth + index,
                activation=activation,
                optimizer=optimizer,
                task=task,
                **SHARED,
                **OPTIMIZERS[optimizer],
                **clip,
            )
            for depth in (5, 2, 1)
            for index, clip in enumerate(CLIPS)
        ]
    )


@pytest.mark.parametrize("width", [1, 127, 129])
@pytest.mark.parametrize("init", ["he", "orthogonal"])
def test_a_plain_stack_of_any_width_trains_as_in_torch(way, width, init):
    _assert_equals_torch(
        [
            Trial(depth=depth, seed=depth, **SHARED | {"width": width, "init": init, "learning_rate": 0.03})
            for depth in (4, 3, 1)
        ]
    )


def test_an_example_that_has_no_loss_has_no_gradient(way):
    trial = Trial(depth=2, batch_size=3, learning_rate=1e-9, weight_gain=1e5, steps=40)
    found = train([trial], task_named("digits").data(0))
    without = found.losses == 0
    assert without.any()
    assert (found.norms_before[without] == 0).all()
    assert (found.norms_before[~without] > 0).all()


def test_adam_forgets_a_gradient_of_any_size(way):
    data = task_named("teacher").data(0)
    targets = data.targets.clone()
    targets[batch_indices(len(targets), 1, 0)] = 1e13
    forgetful = {"optimizer": "adam", "adam_beta1": 0.0, "adam_beta2": 0.0, "learning_rate": 1e-3}
    trial = Trial(depth=1, task="teacher", **SHARED | forgetful | {"batch_size": 1})
    _assert_equals_torch([trial], dataclasses.replace(data, targets=targets))


def _digits_with(example: torch.Tensor | float) -> Data:
    """The digits, of which one of the second batch is another."""
    data = TASKS["digits"].load()
    inputs = data.inputs.clone()
    inputs[batch_indices(len(inputs), SHARED["batch_size"], 1)[3]] = example
    return dataclasses.replace(data, inputs=inputs)


def test_a_relu_that_overflows_below_zero_is_off(way):
    trial = Trial(depth=1, **SHARED | {"width": 1, "learning_rate": 1e-9})
    weight = build([trial], dtype=torch.float64, device=torch.device("cpu")).layers[0].weight
    data = _digits_with(-1e308 * weight[0, :, 0].sign())
    x = data.inputs[batch_indices(len(data.inputs), trial.batch_size, 1)]
    assert (x @ weight[0] == -torch.inf).any()
    _assert_equals_torch([trial], data)


def test_a_signal_that_is_no_number_is_not_taken_for_zero(way):
    found = train([Trial(depth=2, **SHARED)], _digits_with(torch.nan))
    assert found.diverged_step.tolist() == [1]
    assert np.isnan(found.losses[1:]).all()


def test_a_gradient_that_is_not_finite_diverges_where_the_loss_is(way):
    # δ^5 = 1, δ^4 = 1e12, … would be 1e48 at layer 1; signals stay below 1e18.
    pack = PackInTraining([Trial(depth=5, activation="linear", width=4, steps=2)], TASKS["digits"].load())
    pack._network.layers[0].weight.mul_(1e-30)
    for layer in pack._network.layers[1:]:
        layer.weight.mul_(1e12)
    pack.advance(2)
    assert (pack.training().diverged_step, pack.training().diverged_layer) == (0, 1)
    assert np.isfinite(pack.training().losses[0]).all()


def test_a_gradient_that_overflows_at_a_relu_that_is_off_changes_nothing(way):
    pack = PackInTraining([Trial(depth=2, **SHARED)], TASKS["digits"].load(), dtype=torch.float64)
    first, second = pack._network.layers
    first.weight[:, :, 0], first.bias[:, :, 0], second.weight[:, 0] = 0.0, -1.0, 1e308
    pack._network.readout.weight.mul_(1e3)
    pack.advance(SHARED["steps"])
    assert pack.training().diverged_step.tolist() == [-1]


def test_networks_that_machine_code_is_not_for_take_the_other_way():
    assert _is_compiled(Trial(depth=3), torch.float64)
    assert not _is_compiled(Trial(depth=3), torch.bfloat16)
    assert not _is_compiled(Trial(depth=3), device="meta")
    for setting in (
        {"activation": "selu"},  # two lines far out, but not near zero
        {"activation": "softplus"},
        {"norm": "batch"},
        {"skip": "residual"},
        {"family": "rnn", "task": "adding"},
    ):
        assert not _is_compiled(Trial(depth=3, **setting))


def _trained(trials: list[Trial]) -> Training:
    pack = PackInTraining(trials, task_named(trials[0].task).data(0))
    pack.advance(trials[0].steps)
    return pack.training()


def _wild_and_calm() -> list[Trial]:
    """Trials of which some diverge at different steps, through signals, gradients or losses."""
    rates, gains = (1e-2, 3.0, 1e4), (1.0, 3.0, 1e20)
    return [
        Trial(depth=depth, seed=depth, **SHARED | {"steps": 20, "learning_rate": rate, "weight_gain": gain})
        for depth, rate, gain in itertools.product((6, 3), rates, gains)
    ]


def test_threads_share_the_trials_and_change_no_bit():
    trials = _wild_and_calm()
    alone = _trained(trials)
    assert len(np.unique(alone.diverged_step)) >= 3
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        shared = _trained(trials)
    finally:
        torch.set_num_threads(before)
    for name, values in vars(alone).items():
        np.testing.assert_array_equal(getattr(shared, name), values, err_msg=name)


def test_both_ways_agree_on_who_diverges_when_and_in_which_layer(monkeypatch):
    found = _trained(_wild_and_calm())
    monkeypatch.setattr(back_ends, "_is_installed", lambda module: False)
    expected = _trained(_wild_and_calm())
    for name in ("diverged_step", "diverged_layer"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    for name in ("losses", "norms_before", "norms_after", "probe_losses", "update"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=2e-3, err_msg=name)


NO_ROOM = """
import resource
import torch
from gradatlas.study.experiment import results
from gradatlas.study.training.back_ends import back_end_of
from gradatlas.study.trial import Trial
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
torch.set_grad_enabled(False)
assert back_end_of(Trial(depth=2)).name == "machine code"
print(results([Trial(depth=2, width=8, steps=2)])[0]["outcome"])
"""


@pytest.mark.thorough
def test_a_cache_without_room_for_machine_code_is_done_without(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", NO_ROOM],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
    )
    assert ended.stdout.strip() == "stalled", ended.stderr
    assert any(path.suffix == ".nbi" for path in tmp_path.rglob("*"))  # it was tried


def test_the_threads_of_a_blas_are_as_they_were():
    load_back_ends()  # the BLAS among them
    with threadpool_limits(2):
        before = threadpool_info()
        assert 2 in {library["num_threads"] for library in before if library["user_api"] == "blas"}
        results([Trial(depth=2, steps=2)])
        assert threadpool_info() == before
