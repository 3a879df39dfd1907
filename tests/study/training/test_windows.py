"""How often the host asks which trials diverged changes nothing, and between two times nothing waits."""

from __future__ import annotations

import dataclasses
from collections import Counter
from functools import cache

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gradatlas.study.choices.tasks import TASKS, batch_indices
from gradatlas.study.regimes import Limits
from gradatlas.study.training.pack import PackInTraining, Training
from gradatlas.study.trial import Trial

STEPS = 40
DEPTHS = (7, 7, 6, 6, 5, 4, 4, 3, 2, 2, 1, 1)
RATES = [float(rate) for rate in np.geomspace(0.01, 1e6, len(DEPTHS))]
CLIPS = ({}, {"clip_norm": 1.0}, {"clip_value": 0.1}, {"clip_adaptive": 0.5, "clip_value": 0.05})
# So large a loss that what diverges is what overflows, and has a layer.
OVERFLOW = Limits(diverged_factor=1e30)

MLPS = [
    {"optimizer": "sgd", "activation": "linear"},
    {"optimizer": "sgd", "activation": "relu", "norm": "layer", "skip": "preactivation"},
    {"optimizer": "sgd", "activation": "gelu", "norm": "batch", "norm_position": "after", "skip": "scaled"},
    {"optimizer": "momentum", "activation": "linear", "norm": "batch"},
    {"optimizer": "momentum", "activation": "tanh", "skip": "residual"},
    {"optimizer": "adam", "activation": "linear"},
    {"optimizer": "adam", "activation": "relu", "norm": "layer", "norm_position": "after"},
    {"optimizer": "momentum", "activation": "relu", "dtype": "bfloat16", "width": 32, "norm": "batch"},
    {"optimizer": "adam", "activation": "linear", "dtype": "bfloat16", "width": 32},
]
RECURRENT = [
    {"family": "rnn", "activation": "linear", "optimizer": "sgd"},
    {"family": "rnn", "activation": "relu", "optimizer": "adam"},
    {"family": "lstm", "optimizer": "momentum"},
    {"family": "gru", "optimizer": "momentum"},
]
SETTINGS = MLPS + RECURRENT


def _pack(setting: dict, *, steps: int = STEPS) -> list[Trial]:
    """Trials of mixed depth, clips and learning rates, of which some diverge soon, some late, some never."""
    shared = {"width": 8, "batch_size": 16, "steps": steps, "measure_steps": 3, "bias_std": 0.1, "init": "he"}
    recurrent = {"task": "copy", "depth": 6} if "family" in setting else {}
    return [
        Trial(
            **{"depth": depth, "seed": place, **shared, **recurrent, **CLIPS[place % 5 % 4]}
            | {"learning_rate": RATES[place * 5 % 12]}
            | setting
        )
        for place, depth in enumerate(DEPTHS)
    ]


def _pack_in_training(trials: list[Trial], **options) -> PackInTraining:
    return PackInTraining(trials, TASKS[trials[0].task].data(trials[0].depth), **options)


def _trained(trials: list[Trial], **options) -> Training:
    pack = _pack_in_training(trials, **options)
    pack.advance(trials[0].steps)
    return pack.training()


def _assert_same_bits(found: Training, expected: Training) -> None:
    for name, values in vars(expected).items():
        np.testing.assert_array_equal(getattr(found, name), values, err_msg=name)


@cache
def _one_by_one(index: int, limits: Limits) -> Training:
    return _trained(_pack(SETTINGS[index]), limits=limits, check_every=1)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "index", range(len(SETTINGS)), ids=lambda i: "-".join(map(str, SETTINGS[i].values()))
)
def test_what_is_written_down_does_not_depend_on_the_windows(index):
    for limits, check_every in ((OVERFLOW, 7), (OVERFLOW, STEPS + 1), (Limits(), 32)):
        found = _trained(_pack(SETTINGS[index]), limits=limits, check_every=check_every)
        _assert_same_bits(found, _one_by_one(index, limits))


def test_the_packs_of_these_tests_diverge_early_late_and_never_and_in_different_layers():
    ends = [_one_by_one(index, limits) for index in range(len(SETTINGS)) for limits in (OVERFLOW, Limits())]
    assert all((training.diverged_step < 0).any() for training in ends)
    steps, layers = (
        np.concatenate([getattr(training, f"diverged_{what}") for training in ends])
        for what in ("step", "layer")
    )
    # Windows end after steps 1, 2, 4, 8, …: these lie inside of one.
    assert len(np.unique(steps[(steps > 2) & ~np.isin(steps + 1, (4, 8, 16, 32))])) >= 6
    assert len(np.unique(layers)) >= 5


@pytest.mark.parametrize("index", [3, 5, 11], ids=lambda i: SETTINGS[i]["optimizer"])
@pytest.mark.parametrize("stopped_at", [3, 11])
def test_a_state_saved_inside_of_a_window_goes_on_bit_for_bit(tmp_path, index, stopped_at):
    trials = _pack(SETTINGS[index])
    stopped, resumed = (_pack_in_training(trials, limits=OVERFLOW, check_every=7) for _ in range(2))
    stopped.advance(stopped_at)
    stopped.save(tmp_path / "pack.npz")
    resumed.load(tmp_path / "pack.npz")
    resumed.advance(STEPS)
    _assert_same_bits(resumed.training(), _one_by_one(index, OVERFLOW))


def test_a_bfloat16_trial_gives_the_same_bits_alone_and_in_a_pack():
    trials = [dataclasses.replace(trial, steps=5, width=24, batch_size=32) for trial in _pack(MLPS[7])]
    together = _trained(trials)
    for place, trial in enumerate(trials):
        np.testing.assert_array_equal(_trained([trial]).losses[:, 0], together.losses[:, place])


def test_a_layer_is_found_with_the_batch_that_a_trial_diverged_at():
    data = TASKS["digits"].load()
    data = dataclasses.replace(data, inputs=data.inputs[:64].clone(), targets=data.targets[:64])
    # The third batch holds an example that overflows float32 (3e38) at layer 1, the fourth does not.
    data.inputs[batch_indices(64, 16, 2)[0]] = 3e38
    pack = PackInTraining(
        [Trial(depth=3, batch_size=16, steps=4, weight_gain=4.0, learning_rate=1e-4)], data, check_every=4
    )
    pack.advance(4)
    training = pack.training()
    assert (training.diverged_step.tolist(), training.diverged_layer.tolist()) == ([2], [1])


class _Waits(TorchDispatchMode):
    """Counts what makes the host wait for a device: values read, sizes that depend on values, and copies.

    For the meta device, which holds no values: each one that is read is true, so all trials are running.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counted: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if name in ("_local_scalar_dense", "is_nonzero", "equal"):
            self.counted["read"] += 1
            return True
        result = func(*args, **kwargs)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if name in ("nonzero", "masked_select", "_unique2", "unique_dim", "bincount"):
            self.counted["size"] += 1
        if name.startswith("index") and any(x.dtype == torch.bool for x in tensors[1:]):
            self.counted["size"] += 1
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        # A number that the host holds (a tensor without axes) goes along with the call and needs no copy.
        devices = {x.device.type for x in (*tensors, *outputs) if x.dim() or name in ("_to_copy", "copy_")}
        if len(devices) > 1:
            self.counted["copy"] += 1
        return result


@pytest.mark.thorough
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: "-".join(map(str, s.values())))
def test_the_host_waits_once_in_a_window_and_copies_its_batches_once(setting):
    trials = [dataclasses.replace(trial, measure_steps=0) for trial in _pack(setting)[6:]]
    pack = _pack_in_training(trials, device=torch.device("meta"), check_every=3)
    with _Waits() as waits:
        pack.advance(8)
    assert waits.counted == {"read": 5, "copy": 5}  # windows of 1, 1, 2, 3 steps, and of the last


def test_a_device_that_works_beside_the_host_is_asked_seldom():
    trials = [Trial(depth=1, width=8, batch_size=16, steps=97)]
    pack = _pack_in_training(trials, device=torch.device("meta"))
    with _Waits() as waits:
        pack.advance(97)
    assert waits.counted["read"] == 9  # after 1, 2, 4, 8, 16, 32, 64, 96 steps and at the end
