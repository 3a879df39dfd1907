"""Recurrent families against torch.nn's modules, autograd, closed forms, and each trial alone."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatlas.study.choices.activations import ACTIVATIONS
from gradatlas.study.choices.families import FAMILIES, RECURRENT
from gradatlas.study.choices.losses import CROSS_ENTROPY
from gradatlas.study.choices.tasks import TASKS
from gradatlas.study.experiment import results
from gradatlas.study.families import ARCHITECTURES
from gradatlas.study.networks.divergence import first_bad_layers
from gradatlas.study.networks.memory import pack_memory
from gradatlas.study.networks.model import Workspace
from gradatlas.study.profiles.profile import Profile
from gradatlas.study.randomness import stream
from gradatlas.study.training.pack import train
from gradatlas.study.trial import Trial
from tests.study.recurrent_reference import CPU, RecurrentReference, hidden_states, trained_alone
from tests.study.reference import recorded

ROWS = TASKS["digit_rows"].data(8)
MODULES = [("rnn", "tanh"), ("rnn", "relu"), ("lstm", "relu"), ("gru", "relu")]
SMALL = {
    "width": 8,
    "batch_size": 16,
    "steps": 4,
    "bias_std": 0.3,
    "learning_rate": 0.3,
    "init": "he",
    "probe_size": 40,
}


def _trial(family: str = "rnn", **setting) -> Trial:
    return Trial(**{"family": family, "task": "digit_rows", "depth": 8, "activation": "tanh"} | setting)


def _profile(trials: list[Trial], inputs: torch.Tensor) -> Profile:
    return ARCHITECTURES[trials[0].family].profile(trials, inputs)[0]


def _rms(x: torch.Tensor) -> float:
    return float(x.detach().square().mean().sqrt())


def test_every_family_of_a_trial_can_be_built_and_measured():
    assert list(ARCHITECTURES) == list(FAMILIES)


@pytest.mark.parametrize(("family", "activation"), MODULES)
def test_outputs_and_gradients_equal_torchs_modules(family, activation):
    trials = [_trial(family, activation=activation, seed=s, input_gain=1.5, **SMALL) for s in (1, 2, 3)]
    stack = ARCHITECTURES[family].build(trials, dtype=torch.float64, device=CPU)
    workspace = Workspace(torch.float64, CPU)
    batch = ROWS.inputs[:16], ROWS.targets[:16]
    outputs = stack.outputs(batch[0], workspace).clone()
    gradients = [layer.mapped(torch.empty_like) for layer in stack.parameters()]
    with torch.no_grad():
        losses = stack.loss_gradients(batch, CROSS_ENTROPY, gradients, workspace)
    for place, trial in enumerate(trials):
        model = RecurrentReference(trial)
        expected = model(batch[0])
        loss = torch.nn.functional.cross_entropy(expected, batch[1])
        loss.backward()
        close = {"rtol": 1e-10, "atol": 1e-14}
        torch.testing.assert_close(outputs[place], expected.detach(), **close)
        assert float(losses[place]) == pytest.approx(loss.item(), rel=1e-12)
        cell, readout = gradients
        columns = cell.weight.shape[2]
        torch.testing.assert_close(cell.weight[place].T, model.cell.weight_hh_l0.grad, **close)
        torch.testing.assert_close(cell.input_weight[place].T, model.cell.weight_ih_l0.grad, **close)
        torch.testing.assert_close(cell.bias[place, 0, :columns], model.cell.bias_ih_l0.grad, **close)
        inner = cell.bias[place, 0, columns:]
        torch.testing.assert_close(inner, model.cell.bias_hh_l0.grad[columns - len(inner) :], **close)
        torch.testing.assert_close(readout.weight[place].T, model.readout.weight.grad, **close)
        torch.testing.assert_close(readout.bias[place, 0], model.readout.bias.grad, **close)


@pytest.mark.parametrize(("family", "activation"), MODULES)
@pytest.mark.parametrize(("task", "depth"), [("digit_rows", 8), ("adding", 7), ("copy", 13)])
def test_a_pack_trains_each_trial_as_torch_does_alone(family, activation, task, depth):
    clips = ({}, {"clip_norm": 0.5}, {"clip_value": 0.01}, {"clip_norm": 0.05, "clip_value": 0.02})
    setting = {"activation": activation, "task": task, "depth": depth, **SMALL}
    trials = [_trial(family, seed=i, **setting, **clip) for i, clip in enumerate(clips)]
    data = TASKS[task].data(depth)
    stacked = train(trials, data, dtype=torch.float64)
    for place, trial in enumerate(trials):
        for name, values in trained_alone(trial, data).items():
            np.testing.assert_allclose(
                recorded(stacked, name, place), values, rtol=1e-10, err_msg=f"{name} {trial}"
            )


CASES = [*(("rnn", name) for name in ACTIVATIONS), ("lstm", "relu"), ("gru", "relu")]


@pytest.mark.parametrize(("family", "activation"), CASES)
def test_profiles_equal_autograd(family, activation):
    trials = [_trial(family, activation=activation, width=7, bias_std=0.2, seed=s) for s in (3, 4)]
    inputs = ROWS.inputs[:16]
    profile = _profile(trials, inputs)
    for place, trial in enumerate(trials):
        taps, cells, weights = hidden_states(trial, inputs)
        probe = torch.from_numpy(stream(trial.seed, "probe").standard_normal((16, 7)))
        (taps[-1] * probe).sum().backward()
        expected = {
            "gradient": [tap.grad for tap in taps],
            "forward": taps,
            "weight_gradient": [w.grad for w in weights[1:]],
            "cell_gradient": [cell.grad for cell in cells],
        }
        for name, tensors in expected.items():
            if tensors:
                ours = getattr(profile, name)[place, -len(tensors) :]
                decades = [math.log10(_rms(tensor)) for tensor in tensors]
                np.testing.assert_allclose(ours, decades, rtol=0, atol=1e-10, err_msg=name)
        total = math.log10(_rms(sum(w.grad for w in weights)))
        assert profile.summed_weight_gradient[place] == pytest.approx(total, abs=1e-10)
        assert np.isnan(profile.weight_gradient[place, 0])
        assert (profile.cell_gradient is None) == (family != "lstm")


def test_a_vanilla_nets_factors_add_up_to_the_step_and_gated_nets_have_none():
    profile = _profile([_trial(seed=2)], ROWS.inputs[:16])
    factors = profile.weight_factor + profile.derivative_factor
    np.testing.assert_allclose(factors[0, :-1], -np.diff(profile.gradient[0]), atol=1e-12)
    assert np.isnan(factors[0, -1])
    for family in ("lstm", "gru"):
        gated = _profile([_trial(family, seed=2)], ROWS.inputs[:16])
        assert np.isnan(gated.weight_factor).all()
        assert np.isnan(gated.saturated).all()


def _gaussian(steps: int, *, batch: int = 8) -> torch.Tensor:
    return torch.from_numpy(stream(0, "sequence").standard_normal((batch, steps, 4)))


def _long(steps: int, **setting) -> Trial:
    return _trial(task="copy", depth=steps, width=16, **{"seed": 1} | setting)


def test_an_orthogonal_linear_net_keeps_the_gradient_exactly():
    trial = _long(300, activation="linear", init="orthogonal")
    profile = _profile([trial], _gaussian(300))
    np.testing.assert_allclose(profile.gradient[0] - profile.gradient[0, -1], 0.0, atol=1e-12)


@pytest.mark.parametrize(("gain", "steps"), [(0.05, 1000), (40.0, 300)])
def test_a_long_linear_net_gains_its_gain_at_every_step(gain, steps):
    # δ_t = δ_T (g Q^T)^(T−t) with Q orthogonal: log10 g per step, far beyond what float64 itself holds.
    trial = _long(steps, activation="linear", init="orthogonal", weight_gain=gain)
    profile = _profile([trial], _gaussian(steps))
    assert np.isfinite(profile.gradient).all()
    np.testing.assert_allclose(-np.diff(profile.gradient[0]), math.log10(gain), atol=1e-10)
    assert profile.gradient_decades[0] == pytest.approx((steps - 1) * math.log10(gain), rel=1e-12)


def test_an_exploding_forward_signal_keeps_its_measure():
    # Relu is homogeneous: inputs 1e5 times as large give h and a, but not δ, 5 decades more, also where h
    # passes 1e300. The input counts at every step, so units change on the way.
    trial = _long(80, activation="relu", weight_gain=1e6, init="he")
    inputs = _gaussian(80)
    small, large = (_profile([trial], scale * inputs) for scale in (1.0, 1e5))
    assert small.forward_decades[0] > 400
    np.testing.assert_allclose(large.forward, small.forward + 5, atol=1e-8)
    np.testing.assert_allclose(large.gradient, small.gradient, atol=1e-8)
    np.testing.assert_allclose(large.weight_gradient[:, 1:], small.weight_gradient[:, 1:] + 5, atol=1e-8)
    np.testing.assert_allclose(large.summed_weight_gradient, small.summed_weight_gradient + 5, atol=1e-8)


def test_a_forward_signal_beyond_float64_equals_autograds_below_it():
    # h grows to 1e130, beyond where it is rescaled, and float64 without rescaling still holds it.
    trial = _long(100, activation="gelu", weight_gain=30.0)
    inputs = _gaussian(100)
    profile = _profile([trial], inputs)
    taps, _, _ = hidden_states(trial, inputs)
    assert profile.forward[0, -1] > 110
    decades = [math.log10(_rms(tap)) for tap in taps]
    np.testing.assert_allclose(profile.forward[0], decades, atol=1e-9)


def test_a_pulse_after_a_long_silence_is_measured_as_it_is():
    # h_1 ~ 1 shrinks to 1e-300 of itself, then a new input of size 1 comes: units jump back.
    inputs = _gaussian(202)
    inputs[:, 1:200] = 0.0
    trial = _long(202, activation="tanh", init="orthogonal", weight_gain=0.01)
    profile = _profile([trial], inputs)
    assert profile.forward[0, 199] < -380
    fresh = _profile([_long(2, activation="tanh", init="orthogonal", weight_gain=0.01)], inputs[:, 200:])
    np.testing.assert_allclose(profile.forward[0, 200:], fresh.forward[0], atol=1e-9)


def test_vanishing_shows_in_delta_and_not_in_the_gradient_of_the_tied_weight():
    # SCIENCE: W_hh.grad sums over time and is dominated by the last steps.
    trial = _long(100, activation="tanh", weight_gain=0.5)
    profile = _profile([trial], _gaussian(100))
    assert profile.gradient_decades[0] < -20
    last = profile.weight_gradient[0, -1]
    assert abs(profile.summed_weight_gradient[0] - last) < 0.5
    assert profile.weight_gradient[0, 1] - last < -20
    assert profile.weight_gradient_decades[0] == profile.weight_gradient[0, 1] - last


def test_gated_cells_lose_less_than_a_vanilla_net_where_their_gates_hold_the_state():
    steps = 100
    open_gates = _long(steps, family="lstm", weight_gain=0.1)
    stack = ARCHITECTURES["lstm"].build([open_gates], features=4, dtype=torch.float64, device=CPU)
    assert stack.parameters()[0].weight.shape == (1, 16, 64)
    lstm, rnn = (
        _profile([dataclasses.replace(open_gates, family=f)], _gaussian(steps)).gradient_decades[0]
        for f in ("lstm", "rnn")
    )
    # The forget gate is near 1/2 without a bias: log10(1/2) a step, against log10(0.1) of W_hh.
    assert lstm == pytest.approx(steps * math.log10(0.5), rel=0.1)
    assert rnn < -95


def test_gains_scale_the_weights_that_they_are_for():
    plain, scaled = (
        ARCHITECTURES["lstm"].build(
            [_trial("lstm", weight_gain=w, input_gain=i)], dtype=torch.float64, device=CPU
        )
        for w, i in ((1.0, 1.0), (2.0, 3.0))
    )
    (before, readout), (after, other) = plain.parameters(), scaled.parameters()
    torch.testing.assert_close(after.weight, 2.0 * before.weight, rtol=1e-15, atol=0)
    torch.testing.assert_close(after.input_weight, 3.0 * before.input_weight, rtol=1e-15, atol=0)
    torch.testing.assert_close(other.weight, readout.weight, rtol=0, atol=0)
    orthogonal = ARCHITECTURES["gru"].build(
        [_trial("gru", init="orthogonal")], dtype=torch.float64, device=CPU
    )
    for gate in orthogonal.parameters()[0].weight[0].split(64, dim=1):
        torch.testing.assert_close(gate @ gate.T, torch.eye(64, dtype=torch.float64), rtol=0, atol=1e-13)


def _comparable(row: dict) -> dict:
    return {name: value for name, value in row.items() if name not in ("seconds", "device")}


trial_settings = st.fixed_dictionaries(
    {
        "weight_gain": st.floats(0.1, 8.0),
        "input_gain": st.floats(0.0, 4.0),
        "bias_std": st.sampled_from([0.0, 0.5]),
        "learning_rate": st.floats(1e-3, 10.0),
        "clip_norm": st.sampled_from([None, 0.1, 1.0]),
        "clip_value": st.sampled_from([None, 0.01]),
        "seed": st.integers(0, 2**63 - 1),
    }
)


@pytest.mark.thorough
@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    settings_of_trials=st.lists(trial_settings, min_size=2, max_size=4),
    case=st.sampled_from(CASES),
    task=st.sampled_from([("digit_rows", 8), ("adding", 5), ("copy", 12)]),
    width=st.sampled_from([8, 24]),
)
def test_a_trial_alone_gives_the_same_bits_as_in_any_pack(settings_of_trials, case, task, width):
    shared = {"activation": case[1], "task": task[0], "depth": task[1]}
    trials = [
        _trial(case[0], width=width, batch_size=16, steps=4, **shared, **setting)
        for setting in settings_of_trials
    ]
    for trial, row in zip(trials, results(trials), strict=True):
        assert _comparable(results([trial])[0]) == _comparable(row)


@pytest.mark.parametrize("family", RECURRENT)
def test_a_diverged_neighbour_changes_nothing(family):
    calm = _trial(family, steps=12, learning_rate=0.05, seed=1)
    wild = dataclasses.replace(calm, weight_gain=1e20, input_gain=1e20, learning_rate=1e30, seed=2)
    wild = dataclasses.replace(wild, activation="tanh")
    alone, (beside, diverged) = results([calm])[0], results([calm, wild])
    assert diverged["outcome"] == "diverged"
    assert diverged["final_loss"] is None
    assert _comparable(alone) == _comparable(beside)


def test_divergence_names_the_time_step():
    # A gain of 1e20 overflows float32 (3e38) at the third step: h_1 ~ 1, h_2 ~ 1e20.
    trial = _trial(activation="linear", weight_gain=1e20, steps=3, seed=3)
    (row,) = results([trial])
    assert (row["outcome"], row["diverged_step"], row["diverged_layer"]) == ("diverged", 0, 3)
    stack = ARCHITECTURES["gru"].build([_trial("gru")], dtype=torch.float32, device=CPU)
    batch = ROWS.inputs[:16].float(), ROWS.targets[:16]
    assert first_bad_layers(stack, batch, CROSS_ENTROPY).tolist() == [-1]


@pytest.mark.parametrize("family", RECURRENT)
def test_rows_of_recurrent_trials_have_their_columns(family):
    row = results([_trial(family, width=32, steps=150, learning_rate=0.5, clip_norm=1.0, seed=0)])[0]
    assert row["outcome"] == "learned"
    assert len(row["gradient_profile"]) == 8
    assert len(row["update_profile"]) == 1
    assert row["recurrent_weight_gradient"] is not None
    assert (row["cell_gradient_profile"] is None) == (family != "lstm")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            {"family": "rnn", "task": "digits"},
            "task: must be a sequence .* 'rnn', but got 'digits'; .*adding",
        ),
        ({"family": "mlp"}, "task: must be no sequence .* got 'digit_rows'; .* one of the families rnn"),
        ({"depth": 9}, "depth: must be 8, the time steps of task 'digit_rows', but got 9"),
        ({"task": "adding", "depth": 1}, "depth: must be >= 2, the fewest time steps of task 'adding'"),
        ({"norm": "batch"}, "norm: must be 'none' with family 'rnn', which has none, but got 'batch'"),
        ({"norm_position": "after"}, "norm_position: must be 'before' with family 'rnn'"),
        ({"skip": "residual"}, "skip: must be 'none' .* but got 'residual'; remove it or use family 'mlp'"),
        ({"input_gain": -1.0}, "input_gain: must be a finite number >= 0, but got -1.0"),
        ({"batch_size": 1025, "task": "copy"}, "batch_size: must be <= 1024"),
    ],
)
def test_what_does_not_go_together_is_told_with_rule_and_value(setting, message):
    with pytest.raises(ValueError, match=message):
        _trial(**setting)


def test_packs_hold_sequences_of_one_length():
    with pytest.raises(ValueError, match="one pack key"):
        results([_trial(task="copy", depth=4), _trial(task="copy", depth=5)])


@pytest.mark.parametrize("family", RECURRENT)
def test_predicted_memory_grows_with_trials_and_time_steps(family):
    pack = [_trial(family, task="copy", depth=100, seed=s) for s in range(64)]
    longer = [dataclasses.replace(trial, depth=200) for trial in pack]
    fixed = pack_memory([pack[0]]) - (pack_memory(pack) - pack_memory([pack[0]])) / 63
    assert pack_memory(pack * 2) - fixed == pytest.approx(2 * (pack_memory(pack) - fixed), rel=1e-9)
    assert pack_memory(longer) > 1.5 * pack_memory(pack)
