"""Predicted memory against the process's own peak."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
