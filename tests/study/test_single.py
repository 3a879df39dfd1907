"""One network without a sweep: its rows against autograd, closed forms and the sweep's own rows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from gradatlas.study import single
from gradatlas.study.experiment import results
from gradatlas.study.randomness import stream
from gradatlas.study.regimes import Limits
from gradatlas.study.single import gaussian_inputs, median_row, profile_rows
from gradatlas.study.trial import PARAMETERS, RECURRENT, Trial
from tests.study.recurrent_reference import RecurrentReference
from tests.study.reference import Reference

SMALL = Trial(depth=5, width=8, batch_size=16, activation="tanh", bias_std=0.1)


def _log_rms(x: torch.Tensor) -> float:
    return math.log10(float(x.detach().square().mean().sqrt()))


def test_rows_equal_autograd_on_gaussian_inputs():
    trial = Trial(depth=4, activation="gelu")  # as wide as the reference's input
    (_, row) = profile_rows(trial, seeds=2, input_std=2.0)
    model = Reference(Trial(depth=4, activation="gelu", seed=1))
    taps, _ = model.hidden(gaussian_inputs(trial, 2.0))
    for tap in taps:
        tap.retain_grad()
    probe = torch.from_numpy(stream(1, "probe").standard_normal((64, 64)))
    (taps[-1] * probe).sum().backward()
    np.testing.assert_allclose(row["gradient_profile"], [_log_rms(tap.grad) for tap in taps], atol=1e-10)
    np.testing.assert_allclose(row["forward_profile"], [_log_rms(tap) for tap in taps], atol=1e-10)
    assert row["gradient_decades"] == pytest.approx(_log_rms(taps[0].grad) - _log_rms(taps[-1].grad))
    assert row["seed"] == 1


def test_inputs_have_the_deviation_asked_for_and_the_networks_width():
    inputs = gaussian_inputs(Trial(width=100, batch_size=400), 0.5)
    assert inputs.shape == (400, 100)
    # The standard error of a deviation from n numbers is 1/√(2n) of it.
    assert inputs.std().item() == pytest.approx(0.5, rel=4 / math.sqrt(2 * 40000))
    assert inputs.mean().item() == pytest.approx(0.0, abs=4 * 0.5 / math.sqrt(40000))


@pytest.mark.parametrize("family", RECURRENT)
def test_rows_of_recurrent_nets_equal_autograd_through_torchs_modules_on_gaussian_sequences(family):
    shared = {"family": family, "depth": 6, "width": 8, "batch_size": 16, "activation": "tanh", "task": None}
    trial = Trial(**shared, bias_std=0.1, input_gain=0.5)
    (_, row) = profile_rows(trial, seeds=2, input_std=0.7)
    model = RecurrentReference(replace(trial, seed=1))
    inputs = gaussian_inputs(trial, 0.7)
    assert inputs.shape == (16, 6, 8)
    state, states = None, []
    for step in range(6):
        _, state = model.cell(inputs[:, step : step + 1], state)
        for tensor in state if family == "lstm" else (state,):
            tensor.retain_grad()
        states.append(state[0] if family == "lstm" else state)
    # torch's RNN gives φ(h_t); its h_t and ∂ℓ/∂h_t follow from it.
    is_rnn = family == "rnn"
    signals = [torch.atanh(state) if is_rnn else state for state in states]
    probe = torch.from_numpy(stream(1, "probe").standard_normal((16, 8)))
    (signals[-1][0] * probe).sum().backward()
    deltas = [state.grad * (1 - state.detach() ** 2 if is_rnn else 1) for state in states]
    np.testing.assert_allclose(row["gradient_profile"], [_log_rms(delta) for delta in deltas], atol=1e-10)
    np.testing.assert_allclose(row["forward_profile"], [_log_rms(signal) for signal in signals], atol=1e-10)
    summed = _log_rms(model.cell.weight_hh_l0.grad)
    assert row["recurrent_weight_gradient"] == pytest.approx(summed, abs=1e-10)
    assert (row["task"], row["input_std"], row["seed"]) == (None, 0.7, 1)


def test_a_batch_may_be_larger_than_a_task_whose_examples_are_not_used():
    (row,) = profile_rows(Trial(depth=2, width=4, batch_size=2000, task=None))
    assert row["batch_size"] == 2000
    with pytest.raises(ValueError, match="batch_size: must be <= 1437"):
        Trial(depth=2, width=4, batch_size=2000)


def test_a_trial_without_a_task_is_not_trained():
    with pytest.raises(ValueError, match=r"must be one of digits, .* but got None"):
        results([Trial(depth=2, task=None)])


def test_a_signal_ten_times_as_large_stays_so_in_a_relu_net():
    trial = Trial(depth=5, width=16)
    (small,), (large,) = (profile_rows(trial, input_std=std) for std in (1.0, 10.0))
    np.testing.assert_allclose(np.subtract(large["forward_profile"], small["forward_profile"]), 1.0)
    assert large["gradient_decades"] == pytest.approx(small["gradient_decades"], abs=1e-12)


def test_an_orthogonal_linear_net_keeps_its_gradient():
    rows = profile_rows(Trial(depth=50, width=16, activation="linear", init="orthogonal"), seeds=3)
    np.testing.assert_allclose([row["gradient_decades"] for row in rows], 0.0, atol=1e-12)
    assert {row["regime"] for row in rows} == {"stable"}


SEQUENCES = Trial(family="lstm", task="adding", depth=7, width=8, batch_size=16)


@pytest.mark.parametrize("trial", [SMALL, SEQUENCES], ids=lambda trial: trial.task)
def test_on_a_task_a_row_is_that_of_a_sweep(trial):
    (row,) = profile_rows(trial, input_std=None)
    (swept,) = results([replace(trial, steps=0)])
    beside = {"regime", "input_std"}
    assert {name: swept[name] for name in row if name not in beside} == {
        name: value for name, value in row.items() if name not in beside
    }
    assert (row["task"], row["input_std"]) == (trial.task, None)


def test_rows_hold_nothing_of_training_and_no_task_with_gaussian_inputs():
    (row,) = profile_rows(SMALL)
    assert {name for name in PARAMETERS if name in row} == {
        name for name, parameter in PARAMETERS.items() if not parameter.training
    }
    assert (row["task"], row["input_std"]) == (None, 1.0)


def test_a_seeds_row_is_the_same_in_any_pack(monkeypatch):
    together = profile_rows(SMALL, seeds=3)
    monkeypatch.setattr(single, "_PACK_BYTES", 1)
    assert profile_rows(SMALL, seeds=3) == together
    assert [row["seed"] for row in together] == [0, 1, 2]
    assert len({row["gradient_decades"] for row in together}) == 3


UNKNOWN = {"theory_sd": None, "gradient_slope": None, "gradient_slope_stderr": None}


def test_the_median_is_taken_column_by_column_and_layer_by_layer():
    measured = {
        "gradient_decades": (-9.0, 0.5, 0.0),
        "regime": ("vanishing", "stable", "stable"),
        "gradient_profile": ([1.0, None], [2.0, 4.0], [9.0, 5.0]),
    }
    rows = [
        {"seed": seed, "depth": 2, **{name: values[seed] for name, values in measured.items()}}
        for seed in range(3)
    ]
    expected = {"depth": 2, "gradient_decades": 0.0, "regime": "stable", "gradient_profile": [2.0, 4.5]}
    found = median_row([{**UNKNOWN, **row} for row in rows])
    assert found == UNKNOWN | expected | {"standard_error": None, "phase": None}


def test_the_median_over_seeds_is_labelled_with_its_standard_error():
    rows = [UNKNOWN | {"gradient_decades": 1.4, "theory_sd": 0.3, "gradient_slope": 0.05} for _ in range(4)]
    rows = [row | {"gradient_slope_stderr": 0.04} for row in rows]
    found = median_row(rows)
    assert found["standard_error"] == 0.15
    assert found["regime"] == "undetermined"
    assert found["phase"] == "exploding"  # 0.05 against two errors of 0.04 / √4


def test_the_median_of_nothing_is_none_and_of_zeros_a_zero():
    rows = [
        {**UNKNOWN, "seed": seed, "gradient_decades": value, "regime": "vanishing"}
        for seed, value in enumerate((-math.inf, -math.inf, -3.0))
    ]
    expected = {"gradient_decades": -math.inf, "regime": "vanishing", "standard_error": None, "phase": None}
    assert median_row(rows) == UNKNOWN | expected


def test_labels_follow_the_limits():
    limits = Limits(stable_decades=1e-9)
    rows = profile_rows(SMALL, seeds=2, limits=limits)
    assert "stable" not in {row["regime"] for row in rows} | {median_row(rows, limits)["regime"]}
    assert {row["regime"] for row in profile_rows(SMALL, seeds=2)} == {"stable"}
