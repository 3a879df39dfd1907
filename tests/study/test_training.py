"""Training against torch.nn, torch.optim and torch.nn.utils; trials in a pack against each alone."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from study.activations import ACTIVATIONS
from study.divergence import first_bad_layers
from study.experiment import results
from study.initializers import INITIALIZERS
from study.losses import CROSS_ENTROPY
from study.networks import build
from study.tasks import TASKS
from study.training import train
from study.trial import Trial
from tests.study.reference import trained_alone

DIGITS = TASKS["digits"].load()
SMALL = {"width": 8, "batch_size": 16, "steps": 4, "bias_std": 0.1, "learning_rate": 0.3, "init": "he"}
CLIPS = ({}, {"clip_norm": 0.5}, {"clip_value": 0.01}, {"clip_norm": 0.05, "clip_value": 0.02})

STRUCTURES = [
    {"norm": norm, "norm_position": position, "skip": skip}
    for norm, position, skip in itertools.product(
        ("none", "batch", "layer"), ("before", "after"), ("none", "residual", "preactivation", "scaled")
    )
    if norm != "none" or position == "before"
]


def _assert_equals_torch(trials: list[Trial]) -> None:
    trials = sorted(trials, key=lambda trial: -trial.depth)
    stacked = train(trials, DIGITS, dtype=torch.float64)
    for place, trial in enumerate(trials):
        alone = trained_alone(trial, DIGITS)
        for name, values in alone.items():
            np.testing.assert_allclose(
                getattr(stacked, name)[:, place], values, rtol=1e-10, err_msg=f"{name} {trial}"
            )


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda s: "-".join(s.values()))
def test_a_pack_trains_each_trial_as_torch_does_alone(structure):
    trials = [
        Trial(depth=depth, seed=10 * depth + index, activation="tanh", **SMALL, **structure, **clip)
        for depth in (1, 2, 5)
        for index, clip in enumerate(CLIPS)
    ]
    _assert_equals_torch(trials)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("skip", ["none", "residual", "preactivation"])
def test_every_activation_trains_as_in_torch(activation, skip):
    _assert_equals_torch(
        [Trial(depth=d, seed=d, activation=activation, skip=skip, **SMALL) for d in (4, 3, 1)]
    )


@pytest.mark.slow
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("init", INITIALIZERS)
@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda s: "-".join(s.values()))
def test_the_full_grid_trains_as_in_torch(activation, init, structure):
    setting = SMALL | structure | {"init": init, "activation": activation}
    _assert_equals_torch(
        [Trial(depth=d, seed=d + i, **setting, **CLIPS[i]) for i, d in enumerate((5, 4, 2, 1))]
    )


def _comparable(row: dict) -> dict:
    return {name: value for name, value in row.items() if name not in ("seconds", "device")}


trial_settings = st.fixed_dictionaries(
    {
        "depth": st.integers(1, 12),
        "weight_gain": st.floats(0.1, 8.0),
        "bias_std": st.sampled_from([0.0, 0.5]),
        "learning_rate": st.floats(1e-3, 10.0),
        "clip_norm": st.sampled_from([None, 0.1, 1.0]),
        "clip_value": st.sampled_from([None, 0.01]),
        "init": st.just("he"),
        "seed": st.integers(0, 2**63 - 1),
    }
)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    settings_of_trials=st.lists(trial_settings, min_size=2, max_size=9),
    structure=st.sampled_from(STRUCTURES),
    activation=st.sampled_from(list(ACTIVATIONS)),
)
def test_a_trial_alone_gives_the_same_bits_as_in_any_pack(settings_of_trials, structure, activation):
    shared = {"width": 8, "batch_size": 16, "steps": 5, "activation": activation, **structure}
    trials = [Trial(**shared, **setting) for setting in settings_of_trials]
    together = results(trials)
    for trial, row in zip(trials, together, strict=True):
        (alone,) = results([trial])
        assert _comparable(alone) == _comparable(row)


def test_the_same_bits_at_the_default_size():
    trials = [Trial(depth=d, seed=d, init="he", steps=5, norm="batch") for d in (10, 10, 7, 3, 2)]
    for trial, row in zip(trials, results(trials), strict=True):
        assert _comparable(results([trial])[0]) == _comparable(row)


def test_a_diverged_neighbour_changes_nothing():
    calm = Trial(depth=6, init="he", steps=20, learning_rate=0.05, seed=1)
    wild = [
        dataclasses.replace(calm, depth=d, weight_gain=30.0, learning_rate=1e6, seed=d) for d in (9, 6, 2)
    ]
    alone, (beside, *diverged) = results([calm])[0], results([calm, *wild])
    assert [row["outcome"] for row in diverged] == ["diverged"] * 3
    assert beside["outcome"] == "learned"
    assert _comparable(alone) == _comparable(beside)


def test_divergence_is_a_row_with_step_and_layer():
    # A gain of 1e20 overflows float32 (3e38) at layer 2 in the first forward pass.
    (row,) = results([Trial(depth=5, weight_gain=1e20, steps=10, seed=3)])
    assert (row["outcome"], row["diverged_step"], row["diverged_layer"]) == ("diverged", 0, 2)
    assert row["final_loss"] is None
    assert row["final_accuracy"] is None
    assert row["gradient_decades"] > 70  # the measurement at initialisation stands


def test_a_gradient_that_overflows_only_backwards_is_located_from_the_output():
    trial = Trial(depth=5, activation="linear", width=4, seed=3)
    network = build([trial], dtype=torch.float32, device=torch.device("cpu"))
    network.layers[0].weight *= 1e-30
    for layer in network.layers[1:]:
        layer.weight *= 1e12
    # h^l = 1e-30 … 1e18 is finite; δ^5 = 1, δ^4 = 1e12, δ^3 = 1e24, δ^2 = 1e36 are, δ^1 = 1e48 is not.
    batch = DIGITS.inputs[:16].float(), DIGITS.targets[:16]
    assert first_bad_layers(network, batch, CROSS_ENTROPY).tolist() == [1]


def test_networks_that_can_learn_do_and_networks_without_signal_stall():
    good, dead = results(
        [
            Trial(depth=3, init="he", steps=60, seed=0),
            Trial(depth=30, init="he", weight_gain=0.1, steps=60, seed=0),
        ]
    )
    assert good["outcome"] == "learned"
    assert good["final_accuracy"] > 0.8
    assert dead["outcome"] == "stalled"
    assert dead["final_loss"] == pytest.approx(CROSS_ENTROPY.constant(DIGITS.targets), rel=0.01)


def test_no_steps_leave_the_training_columns_null():
    (row,) = results([Trial(depth=3, steps=0)])
    for name in ("initial_loss", "final_loss", "outcome", "losses", "update_profile"):
        assert row[name] is None
    assert row["gradient_decades"] is not None


def test_a_pack_of_different_keys_is_refused():
    with pytest.raises(ValueError, match="one pack key"):
        results([Trial(depth=3, width=8), Trial(depth=3, width=16)])
