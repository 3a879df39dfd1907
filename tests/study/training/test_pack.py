"""Training against torch.nn, torch.optim and torch.nn.utils; trials in a pack against each alone."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gradatlas.study.choices.activations import ACTIVATIONS
from gradatlas.study.choices.initializers import INITIALIZERS
from gradatlas.study.choices.losses import CROSS_ENTROPY
from gradatlas.study.choices.tasks import TASKS, batch_indices
from gradatlas.study.experiment import results
from gradatlas.study.networks.divergence import first_bad_layers
from gradatlas.study.networks.perceptrons import build
from gradatlas.study.profiles.profile import probes
from gradatlas.study.training.pack import PackInTraining, log_spaced_steps, train
from gradatlas.study.trial import Trial
from tests.study.reference import Reference, recorded, trained_alone

DIGITS = TASKS["digits"].load()
SMALL = {
    "width": 8,
    "batch_size": 16,
    "steps": 4,
    "bias_std": 0.1,
    "learning_rate": 0.3,
    "init": "he",
    "probe_size": 40,
}
CLIPS = (
    {},
    {"clip_norm": 0.5},
    {"clip_value": 0.01},
    {"clip_norm": 0.05, "clip_value": 0.02},
    {"clip_adaptive": 0.02},
    {"clip_adaptive": 0.3, "clip_value": 0.02, "clip_norm": 0.1},
)

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
                recorded(stacked, name, place), values, rtol=1e-10, err_msg=f"{name} {trial}"
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


OPTIMIZERS = {
    "momentum": [{"momentum": 0.9, "learning_rate": 0.1}, {"momentum": 0.0}, {"clip_norm": 0.1}],
    "adam": [
        {"learning_rate": 0.01},
        {"learning_rate": 0.003, "adam_beta1": 0.5, "adam_beta2": 0.9, "adam_eps": 1e-3},
        {"learning_rate": 0.01, "clip_norm": 1e-3},
    ],
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_every_optimizer_steps_as_torchs_does_with_hyperparameters_of_each_trial(optimizer, norm):
    shared = SMALL | {"optimizer": optimizer, "norm": norm, "activation": "tanh", "steps": 6}
    _assert_equals_torch(
        [
            Trial(depth=depth, seed=depth, **(shared | setting))
            for depth, setting in zip((4, 3, 1), OPTIMIZERS[optimizer], strict=True)
        ]
    )


def _how_far(trial: Trial, dtype: torch.dtype) -> tuple[np.ndarray, np.ndarray]:
    """(`update` of a trial, ‖W_end − W_start‖ / ‖W_start‖), by layer."""
    pack = PackInTraining([trial], TASKS[trial.task].data(trial.depth), dtype=dtype)
    start = [weight.double().clone() for weight in pack._network.hidden_weights()]
    pack.advance(trial.steps)
    end = [weight.double() for weight in pack._network.hidden_weights()]
    moved = [float((b - a).norm() / a.norm()) for a, b in zip(start, end, strict=True)]
    return pack.training().update[0, : len(moved)], np.array(moved)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize(
    "setting",
    [
        {"activation": "relu"},
        {"activation": "tanh", "norm": "batch", "clip_value": 0.01},
        {"family": "lstm", "task": "adding", "clip_norm": 0.1},
    ],
    ids=lambda setting: next(iter(setting.values())),
)
def test_the_sum_of_updates_is_how_far_weights_move_where_they_hold_them(optimizer, setting):
    trial = Trial(depth=4, **SMALL | setting | {"optimizer": optimizer, "learning_rate": 0.01, "steps": 9})
    found, moved = _how_far(trial, torch.float64)
    assert (moved > 1e-5).all()  # so that float64 holds nine digits of it
    np.testing.assert_allclose(found, moved, rtol=1e-9)


# The first layers of deep nets whose gradients vanish; relu is trained in machine code, sigmoid is not.
VANISHING = (
    {"activation": "sigmoid", "depth": 14},
    {"activation": "relu", "init": "he", "weight_gain": 0.1, "depth": 12},
    {"activation": "relu", "init": "he", "weight_gain": 0.1, "depth": 12, "optimizer": "momentum"},
    {"activation": "relu", "init": "he", "weight_gain": 0.02, "depth": 16, "optimizer": "adam"},
    {"activation": "sigmoid", "depth": 20, "init": "small_normal", "optimizer": "adam"},
)


@pytest.mark.parametrize("setting", VANISHING, ids=lambda s: f"{s['activation']}-{s.get('optimizer', 'sgd')}")
def test_an_update_that_float32_weights_cannot_hold_is_summed(setting):
    trial = Trial(width=16, batch_size=32, steps=20, seed=1, **{"learning_rate": 0.1} | setting)
    found, moved = _how_far(trial, torch.float32)
    expected, _ = _how_far(trial, torch.float64)
    assert moved[0] == 0
    assert 0 < expected[0] < 1e-8
    np.testing.assert_allclose(found, expected, rtol=0.01)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_updates_are_summed_down_to_the_smallest_numbers_of_float32(activation):
    # Biases keep the signal, so that the gradient alone vanishes.
    net = {"width": 16, "batch_size": 32, "weight_gain": 0.1, "bias_std": 0.5, "activation": activation}
    trial = Trial(depth=40, steps=5, learning_rate=0.1, **net)
    found, _ = _how_far(trial, torch.float32)
    expected, _ = _how_far(trial, torch.float64)
    held = expected > 1e-34  # of 256 numbers of deviation 0.025: updates beyond 2.5e-36
    assert expected[held].min() < 1e-32
    assert not held.all()
    np.testing.assert_allclose(found[held], expected[held], rtol=0.01)


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_a_saved_pack_goes_on_bit_for_bit(tmp_path, dtype, optimizer):
    shared = SMALL | {"steps": 12, "dtype": dtype, "optimizer": optimizer, "norm": "batch"}
    wild = {"weight_gain": 1e20, "learning_rate": 1e6}
    trials = [Trial(depth=d, seed=d, **(shared | (wild if d == 4 else {}))) for d in (6, 4, 3, 1)]
    straight = PackInTraining(trials, DIGITS)
    straight.advance(12)
    stopped = PackInTraining(trials, DIGITS)
    stopped.advance(5)
    stopped.save(tmp_path / "pack.npz")
    resumed = PackInTraining(trials, DIGITS)
    resumed.load(tmp_path / "pack.npz")
    assert resumed.steps_done == 5
    resumed.advance(100)
    for name, expected in vars(straight.training()).items():
        np.testing.assert_array_equal(getattr(resumed.training(), name), expected, err_msg=name)


def test_a_pack_of_which_nothing_is_left_can_be_saved(tmp_path):
    trials = [Trial(depth=5, weight_gain=1e20, seed=1, steps=4)]
    stopped = PackInTraining(trials, DIGITS)
    stopped.advance(2)
    stopped.save(tmp_path / "pack.npz")
    resumed = PackInTraining(trials, DIGITS)
    resumed.load(tmp_path / "pack.npz")
    resumed.advance(4)
    assert resumed.training().diverged_step.tolist() == [0]


def test_a_state_that_is_none_or_of_others_is_refused(tmp_path):
    pack = PackInTraining([Trial(depth=2, steps=3)], DIGITS)
    pack.save(tmp_path / "pack.npz")
    with pytest.raises(ValueError, match="must be the state of these 2 trials"):
        PackInTraining([Trial(depth=2, steps=3)] * 2, DIGITS).load(tmp_path / "pack.npz")
    stored = dict(np.load(tmp_path / "pack.npz"))
    del stored["update 1"]  # as versions wrote it that kept the start instead
    np.savez(tmp_path / "pack.npz", **stored)
    with pytest.raises(ValueError, match="must be a state of this version, but has no 'update 1'"):
        pack.load(tmp_path / "pack.npz")
    (tmp_path / "pack.npz").write_bytes(b"no state")
    with pytest.raises(ValueError, match=r"must be a saved state \(\.npz\)"):
        pack.load(tmp_path / "pack.npz")


def test_bfloat16_trains_about_as_float32_does():
    pair = [Trial(depth=4, init="he", seed=2, steps=60, dtype=dtype) for dtype in ("float32", "bfloat16")]
    (exact,), (coarse,) = (results([trial]) for trial in pair)
    assert coarse["outcome"] == exact["outcome"] == "learned"
    # Eight bits of mantissa: 0.4 % per number, of which the first loss is a mean.
    assert coarse["initial_loss"] == pytest.approx(exact["initial_loss"], rel=0.02)
    assert coarse["gradient_profile"] == exact["gradient_profile"]


@pytest.mark.slow
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("init", INITIALIZERS)
@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda s: "-".join(s.values()))
def test_the_full_grid_trains_as_in_torch(activation, init, structure):
    # A small step: linear nets diverge at SMALL's, and a diverging net multiplies every rounding.
    setting = SMALL | structure | {"init": init, "activation": activation, "learning_rate": 0.01}
    trials = [Trial(depth=d, seed=d + i, **setting, **CLIPS[i]) for i, d in enumerate((5, 4, 2, 1))]
    stacked = train(trials, DIGITS, dtype=torch.float64)
    for place, trial in enumerate(trials):
        for name, values in trained_alone(trial, DIGITS).items():
            found = recorded(stacked, name, place)
            if not np.allclose(found, values, rtol=1e-10, atol=0, equal_nan=True):
                # Then torch itself must be as far off when its weights move by their last bit.
                moved = [trained_alone(trial, DIGITS, moved=seed)[name] for seed in range(20)]
                own = np.abs(np.array(moved) - values).max(axis=0)
                assert (np.abs(found - values) <= np.maximum(1e-10 * np.abs(values), own)).all(), trial


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


@pytest.mark.thorough
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    settings_of_trials=st.lists(trial_settings, min_size=2, max_size=9),
    structure=st.sampled_from(STRUCTURES),
    activation=st.sampled_from(list(ACTIVATIONS)),
)
def test_a_trial_alone_gives_the_same_bits_as_in_any_pack(settings_of_trials, structure, activation):
    shared = {"width": 8, "batch_size": 16, "steps": 5, "activation": activation, **structure}
    shared |= {"probe_size": 21}
    trials = [Trial(**shared, **setting) for setting in settings_of_trials]
    together = results(trials)
    for trial, row in zip(trials, together, strict=True):
        (alone,) = results([trial])
        assert _comparable(alone) == _comparable(row)


def test_the_same_bits_at_the_default_size():
    trials = [
        Trial(depth=d, seed=d, init="he", steps=5, norm="batch", probe_size=256) for d in (10, 10, 7, 3, 2)
    ]
    for trial, row in zip(trials, results(trials), strict=True):
        assert _comparable(results([trial])[0]) == _comparable(row)


@pytest.mark.parametrize(
    "setting",
    [{"task": "teacher"}, {"family": "rnn", "task": "adding"}, {"family": "lstm", "task": "adding"}],
)
def test_the_same_bits_with_one_output(setting):
    trials = [Trial(depth=8, seed=seed, width=32, steps=5, probe_size=99, **setting) for seed in range(3)]
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
    (row,) = results([Trial(depth=3, steps=0, probe_size=9)])
    names = ("initial_loss", "final_loss", "outcome", "losses", "update_profile", "probe_losses")
    for name in (*names, "probe_steps"):
        assert row[name] is None
    assert row["gradient_decades"] is not None


def test_a_pack_of_different_keys_is_refused():
    with pytest.raises(ValueError, match="one pack key"):
        results([Trial(depth=3, width=8), Trial(depth=3, width=16)])


def _profile_of(trial: Trial, steps: int) -> list[float]:
    """log10 RMS δ^l after some steps, by torch.nn and autograd: trained alone in float64."""
    model = Reference(trial)
    optimizer = torch.optim.SGD(model.parameters(), lr=trial.learning_rate)
    for step in range(steps):
        chosen = batch_indices(len(DIGITS.inputs), trial.batch_size, step)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(DIGITS.inputs[chosen]), DIGITS.targets[chosen]).backward()
        optimizer.step()
    optimizer.zero_grad()
    taps, _ = model.hidden(DIGITS.inputs[batch_indices(len(DIGITS.inputs), trial.batch_size, 0)])
    for tap in taps:
        tap.retain_grad()
    (taps[-1] * probes([trial], trial.batch_size)[0]).sum().backward()
    return [math.log10(float(tap.grad.square().mean().sqrt())) for tap in taps]


@pytest.mark.parametrize("structure", [{}, {"norm": "batch"}, {"skip": "scaled"}], ids=str)
def test_profiles_during_training_are_those_of_the_trained_net(structure):
    shared = SMALL | {"steps": 20, "measure_steps": 4, "activation": "tanh", **structure}
    trials = [Trial(depth=depth, seed=depth, **shared) for depth in (5, 3)]
    training = train(trials, DIGITS, dtype=torch.float64)
    assert log_spaced_steps(20, 4) == [1, 3, 7, 20]
    for place, trial in enumerate(trials):
        for index, steps in enumerate((1, 3, 7, 20)):
            measured = training.measured_gradient[index, place, : trial.depth]
            np.testing.assert_allclose(measured, _profile_of(trial, steps), atol=1e-9)
        assert np.isnan(training.measured_gradient[:, place, trial.depth :]).all()


def test_a_diverged_trial_is_measured_no_more_and_a_recurrent_one_is():
    calm = Trial(depth=4, init="he", steps=10, measure_steps=3, seed=1)
    wild = dataclasses.replace(calm, weight_gain=1e20)
    row, gone = results([calm, wild])
    assert row["measured_steps"] == gone["measured_steps"] == [1, 3, 10]
    assert gone["measured_gradient_decades"] == [None] * 3
    assert row["measured_gradient_decades"][0] == pytest.approx(
        row["measured_gradient_profiles"][0][0] - row["measured_gradient_profiles"][0][-1]
    )
    (recurrent,) = results(
        [Trial(family="rnn", task="adding", activation="tanh", depth=6, steps=4, measure_steps=2)]
    )
    assert len(recurrent["measured_gradient_profiles"][1]) == 6
    assert results([dataclasses.replace(calm, measure_steps=0)])[0]["measured_steps"] is None
