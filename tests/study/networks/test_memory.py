"""Predicted memory against the process's own peak."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from gradatlas.study.networks.memory import pack_memory
from gradatlas.study.trial import Trial

PROGRAM = """
import torch
torch.set_num_threads(1)
torch.set_grad_enabled(False)
from gradatlas.study.experiment import results
from gradatlas.study.networks.memory import pack_memory
from gradatlas.study.trial import Trial

def peak():
    # Not getrusage's: what is started from a large process begins with that one's peak.
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024

results([Trial(depth=2, steps=1, width=8)])
before = peak()
depths = [{depth} if seed % 2 else {depth} // 2 for seed in range({count})]
trials = [Trial(depth=depth, steps=2, seed=seed, **{setting}) for seed, depth in enumerate(depths)]
results(trials)
print(pack_memory(trials) / (peak() - before))
"""


@pytest.mark.thorough
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process its peak")
@pytest.mark.parametrize(
    ("depth", "count", "setting"),
    [
        (10, 256, {}),
        (10, 256, {"norm": "batch", "clip_value": 0.1}),
        (40, 128, {"skip": "residual", "norm": "batch"}),
        (10, 96, {"width": 256, "optimizer": "adam", "learning_rate": 1e-3}),
        (20, 256, {"activation": "gelu", "skip": "scaled", "batch_size": 32}),
    ],
    ids=str,
)
def test_predicted_memory_is_within_a_quarter_of_the_measured(depth, count, setting):
    program = PROGRAM.format(depth=depth, count=count, setting=setting)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert float(ended.stdout) == pytest.approx(1.0, abs=0.25)


def test_predicted_memory_grows_as_the_tensors_do():
    base = [Trial(depth=10, width=256, seed=s) for s in range(64)]
    assert pack_memory(base * 4) > 3.5 * pack_memory(base) - 3 * 48 * 2**20
    assert pack_memory([*base, Trial(depth=10, width=256, clip_value=1.0)]) >= pack_memory(base)


@pytest.mark.parametrize("setting", [{}, {"norm": "batch"}, {"skip": "residual", "norm": "layer"}])
def test_memory_is_the_sum_over_the_layers_that_each_trial_has(setting):
    """Against the sum itself, layer by layer, of what `pack_memory` says with a product."""
    trials = [Trial(depth=depth, width=24, batch_size=256, steps=0, **setting) for depth in (1, 2, 7, 7, 30)]
    one, two, three = (pack_memory([Trial(**{**vars(trials[0]), "depth": depth})]) for depth in (1, 2, 3))
    assert pack_memory(trials) - pack_memory(trials[:1]) == sum(
        (two - one) + (trial.depth - 2) * (three - two) + one - _beside() for trial in trials[1:]
    )


def _beside() -> int:
    """Bytes that are the same for a pack of any size."""
    one, two = (pack_memory([Trial(depth=5, width=24)] * count) for count in (1, 2))
    return 2 * one - two


def test_memory_of_a_network_of_any_depth_is_told_at_once():
    assert pack_memory([Trial(depth=2**62)]) > 2**70


def _parameters(trials: list[Trial]) -> int:
    """Of all networks of a pack, as torch counts them."""
    total = 0
    for trial in trials:
        widths = [trial.features, *[trial.width] * trial.depth, trial.outputs]
        layers = torch.nn.Sequential(*(torch.nn.Linear(*pair) for pair in pairwise(widths)))
        total += sum(weight.numel() for weight in layers.parameters())
    return total


# Wide nets on a batch of two: their parameters are nearly all of the memory.
WIDE = [Trial(depth=depth, width=300, batch_size=2, optimizer="adam", seed=depth) for depth in (9, 4, 4, 1)]


@pytest.mark.parametrize(
    ("optimizer", "clips", "copies"),
    [("momentum", {}, 4), ("adam", {}, 5), ("adam", {"clip_adaptive": 1.0}, 6)],
)
def test_an_optimizer_keeps_float32_copies_of_all_parameters(optimizer, clips, copies):
    trials = [replace(trial, optimizer=optimizer, **clips) for trial in WIDE]
    # The signals that are kept, the readout's and those of the backward pass.
    signals = 4 * sum(2 * 300 * (trial.depth + 3) for trial in trials)
    turned = 4 * len(trials) * 300**2
    expected = 48 * 2**20 + 4 * copies * _parameters(trials) + signals + turned
    # A layer's activation may overwrite what it is of, or stand beside it.
    assert expected <= pack_memory(trials) <= expected + signals


def test_the_profile_holds_float64_parameters_and_what_they_were_drawn_as():
    trials = [replace(trial, optimizer="sgd") for trial in WIDE]
    assert pack_memory(trials) == 48 * 2**20 + 8 * 2 * _parameters(trials)


@pytest.mark.parametrize(
    ("setting", "kept", "rows"),
    [
        ({"activation": "relu"}, [1] * 5, 3),  # ReLU overwrites its input
        ({"activation": "tanh", "norm": "batch"}, [1, 3, 3, 3, 3], 3),
        ({"activation": "gelu", "norm": "layer", "norm_position": "after"}, [2, 4, 4, 4, 4], 3),
        ({"activation": "gelu", "skip": "residual"}, [1, 3, 3, 3, 3], 4),
        # There x is added once more, so that ReLU must not overwrite it.
        ({"activation": "relu", "skip": "preactivation"}, [1, 3, 3, 3, 3], 4),
    ],
    ids=str,
)
def test_signals_grow_with_the_batch_by_what_each_layer_keeps(setting, kept, rows):
    small, large = (
        [Trial(depth=depth, width=10, batch_size=size, steps=1, **setting) for depth in (5, 2)]
        for size in (400, 1400)
    )
    # By the float64 profile, which holds the probe as well.
    elements = 10 * (sum(kept) + sum(kept[:2]) + 2 * (rows + 1))
    assert pack_memory(large) - pack_memory(small) == 1000 * 8 * elements
