"""Profiles against autograd, closed forms and each other at any depth."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from gradatlas.study.choices.activations import ACTIVATIONS
from gradatlas.study.choices.structures import NORM_POSITIONS, NORMS, SKIPS
from gradatlas.study.choices.tasks import TASKS
from gradatlas.study.families import ARCHITECTURES
from gradatlas.study.randomness import stream
from gradatlas.study.trial import Trial
from tests.study.reference import Reference

INPUTS = TASKS["digits"].load().inputs[:16]


def _profile(*trials: Trial, inputs: torch.Tensor = INPUTS):
    return ARCHITECTURES["mlp"].profile(sorted(trials, key=lambda trial: -trial.depth), inputs)[0]


def _rms(x: torch.Tensor) -> float:
    return float(x.detach().square().mean().sqrt())


def _autograd_profile(trial: Trial) -> dict[str, list[float]]:
    """The same quantities by autograd on torch.nn modules."""
    model = Reference(trial)
    taps, _ = model.hidden(INPUTS)
    for tap in taps:
        tap.retain_grad()
    probe = torch.from_numpy(stream(trial.seed, "probe").standard_normal((len(INPUTS), trial.width)))
    (taps[-1] * probe).sum().backward()
    return {
        "gradient": [math.log10(_rms(tap.grad)) for tap in taps],
        "forward": [math.log10(_rms(tap)) for tap in taps],
        "weight_gradient": [math.log10(_rms(linear.weight.grad)) for linear in model.linears],
    }


@pytest.mark.parametrize("skip", SKIPS)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("position", NORM_POSITIONS)
def test_profiles_equal_autograd(norm, position, skip):
    setting = {"norm": norm, "norm_position": position, "skip": skip, "width": 8, "bias_std": 0.2, "steps": 0}
    trials = [Trial(depth=d, seed=d, activation="gelu", weight_gain=1.5, **setting) for d in (7, 4, 1)]
    profile = _profile(*trials)
    for place, trial in enumerate(trials):
        for name, expected in _autograd_profile(trial).items():
            np.testing.assert_allclose(
                getattr(profile, name)[place, : trial.depth], expected, rtol=0, atol=1e-10, err_msg=name
            )
        assert np.isnan(profile.gradient[place, trial.depth :]).all()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_profiles_of_every_activation_equal_autograd(activation):
    trial = Trial(depth=5, activation=activation, width=8, bias_std=0.1, seed=3, steps=0)
    profile = _profile(trial)
    for name, expected in _autograd_profile(trial).items():
        np.testing.assert_allclose(getattr(profile, name)[0], expected, rtol=0, atol=1e-10, err_msg=name)


@pytest.mark.parametrize(("norm", "position"), [("none", "before"), ("batch", "before"), ("batch", "after")])
def test_the_factors_of_a_plain_net_add_up_to_the_step(norm, position):
    profile = _profile(Trial(depth=9, activation="tanh", norm=norm, norm_position=position, seed=2, steps=0))
    factors = profile.weight_factor + profile.derivative_factor + np.nan_to_num(profile.norm_factor)
    np.testing.assert_allclose(factors[0, :-1], -np.diff(profile.gradient[0]), atol=1e-12)
    assert np.isnan(factors[0, -1])
    assert np.isnan(profile.norm_factor[0, 0])  # layer 1 carries no norm


def test_a_deep_sigmoid_net_loses_what_theory_says():
    # −0.627 decades per layer: SCIENCE.md 3. At depth 1000 float64 itself ends at 1e-308.
    profile = _profile(Trial(depth=1000, activation="sigmoid", init="xavier", width=64, steps=0, seed=0))
    slope, error = profile.slopes()
    assert profile.gradient_decades[0] == pytest.approx(-626.7, rel=0.01)
    assert slope[0] == pytest.approx(-0.627, rel=0.01)
    assert error[0] < 0.003


def test_linear_orthogonal_nets_keep_the_gradient_exactly():
    profile = _profile(Trial(depth=200, activation="linear", init="orthogonal", steps=0, seed=0))
    assert abs(profile.gradient_decades[0]) < 1e-12
    assert abs(profile.forward_decades[0]) < 1e-12


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("activation", "gain"), [("relu", 40.0), ("relu", 0.01), ("linear", 30.0), ("leaky_relu", 0.05)]
)
def test_homogeneous_nets_scale_exactly_with_the_gain_at_any_depth(activation, gain):
    # φ(c·x) = c·φ(x): the same seed at another gain is the same net with δ and h times gain^(L−1) exactly.
    depth = 400
    plain, scaled = (
        _profile(
            Trial(depth=depth, activation=activation, init="he", weight_gain=g, width=16, seed=5, steps=0)
        )
        for g in (1.0, gain)
    )
    shift = (depth - 1) * math.log10(gain)
    assert abs(shift) > 308  # beyond what float64 itself can hold
    # float64 products cannot do better than their condition: 400 layers of cancelling sums.
    assert scaled.gradient_decades[0] - plain.gradient_decades[0] == pytest.approx(shift, rel=1e-10)
    assert scaled.forward_decades[0] - plain.forward_decades[0] == pytest.approx(shift, rel=1e-10)
    # ⟨W, ∂ℓ/∂W⟩ is the same in every layer, so the ratio of weight gradients says nothing about the gain.
    assert scaled.weight_gradient_decades[0] == pytest.approx(plain.weight_gradient_decades[0], abs=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("activation", ["tanh", "elu", "gelu", "silu"])
def test_a_vanishing_signal_meets_the_activation_as_a_line(activation):
    # At h ~ 1e-300 φ is its tangent at 0, and an orthogonal W passes it on exactly.
    setting = {"activation": activation, "init": "orthogonal", "weight_gain": 0.1, "steps": 0, "width": 16}
    profile = _profile(Trial(depth=500, seed=1, **setting))
    slope_at_zero = float(ACTIVATIONS[activation].derivative(torch.zeros((), dtype=torch.float64)))
    np.testing.assert_allclose(np.diff(profile.forward[0])[400:], math.log10(0.1 * slope_at_zero), atol=1e-9)


@pytest.mark.thorough
@pytest.mark.parametrize("activation", ["elu", "selu", "gelu", "silu", "softplus"])
def test_an_exploding_signal_meets_the_activation_as_two_lines(activation):
    # Far out these are scale·relu, so the net equals a relu net of the same seed with that gain.
    scale = ACTIVATIONS[activation].far_out[1]
    setting = {"width": 16, "steps": 0, "seed": 2, "depth": 320}
    curved = _profile(Trial(activation=activation, weight_gain=1e3, **setting))
    straight = _profile(Trial(activation="relu", weight_gain=1e3 * scale, **setting))
    np.testing.assert_allclose(
        np.diff(curved.gradient[0])[100:300], np.diff(straight.gradient[0])[100:300], atol=1e-3
    )
    assert curved.forward_decades[0] > 700


@pytest.mark.parametrize("decades", [-90.0, 60.0, 90.0])
def test_the_product_of_a_large_signal_and_a_large_gradient_is_measured(decades):
    # Both reach that many decades half-way, where the weight gradient is their product.
    gain = 10 ** (decades / 20)
    setting = {"depth": 41, "activation": "linear", "init": "orthogonal", "steps": 0, "seed": 1, "width": 64}
    one, large = (_profile(Trial(weight_gain=g, **setting)) for g in (1.0, gain))
    # ∂ℓ/∂W^l = x^(l−1) δ^l: the gains of all 40 other square layers and of the first.
    np.testing.assert_allclose(large.weight_gradient - one.weight_gradient, 2 * decades, atol=1e-9)


def test_biases_act_on_a_rescaled_signal_as_they_are():
    # A bias keeps a shrinking signal from shrinking below it: nothing needs rescaling, nothing is lost.
    profile = _profile(Trial(depth=600, activation="relu", weight_gain=0.1, bias_std=1e-3, steps=0, seed=1))
    assert np.log10(1e-3) - 0.5 < profile.forward[0, -1] < np.log10(1e-3) + 0.5
    # ReLU is homogeneous: biases of 1e120 are biases of 1 in units of 1e120, beside which the input is zero.
    setting = {"depth": 30, "weight_gain": 1.2, "steps": 0, "seed": 1, "width": 16}
    huge = _profile(Trial(bias_std=1e120, **setting))
    one = _profile(Trial(bias_std=1.0, **setting), inputs=torch.zeros_like(INPUTS))
    np.testing.assert_allclose(huge.forward, one.forward + 120, atol=1e-9)
    np.testing.assert_allclose(huge.gradient, one.gradient, atol=1e-9)


def test_the_factors_of_a_skip_describe_its_branch_without_the_branchs_scale():
    # In a linear net with orthogonal weights no factor of the branch changes an RMS, 1/√L or not.
    profile = _profile(Trial(depth=9, activation="linear", init="orthogonal", skip="scaled", steps=0, seed=1))
    np.testing.assert_allclose(profile.weight_factor[0, :-1], 0.0, atol=1e-12)
    np.testing.assert_allclose(profile.derivative_factor[0, :-1], 0.0, atol=1e-12)


@pytest.mark.thorough
def test_a_trial_measures_the_same_alone_and_in_a_pack():
    trials = [
        Trial(depth=d, activation="relu", weight_gain=g, seed=i, steps=0)
        for i, (d, g) in enumerate(itertools.product((300, 20, 3, 1), (0.05, 1.4, 20.0)))
    ]
    together = _profile(*trials)
    for place, trial in enumerate(sorted(trials, key=lambda t: -t.depth)):
        alone = _profile(trial)
        for name in ("gradient", "forward", "weight_gradient", "weight_factor", "derivative_factor", "dead"):
            np.testing.assert_array_equal(
                getattr(together, name)[place, : trial.depth], getattr(alone, name)[0], err_msg=name
            )


def test_an_explosion_does_not_touch_its_neighbours_profile():
    calm = Trial(depth=50, weight_gain=1.4, seed=1, steps=0)
    pair = _profile(calm, Trial(depth=50, weight_gain=1e30, seed=2, steps=0))
    np.testing.assert_array_equal(pair.gradient[0], _profile(calm).gradient[0])


def test_survival_counts_layers_that_each_format_can_hold():
    profile = _profile(Trial(depth=120, activation="sigmoid", init="xavier", steps=0, seed=0))
    relative = profile.gradient[0] - profile.gradient[0, -1]
    smallest = {
        "float32": math.log10(2.0**-149),
        "bfloat16": math.log10(2.0**-133),
        "float16": math.log10(2.0**-24),
    }
    for name, limit in smallest.items():
        assert profile.survival()[name][0] == (relative >= limit).sum()
    stable = _profile(Trial(depth=20, init="he", steps=0)).survival()
    assert stable["float16"][0] == 20


def test_slopes_leave_out_the_ends_of_deep_nets():
    trials = (Trial(depth=12, init="he", seed=1, steps=0), Trial(depth=4, init="he", seed=1, steps=0))
    profile = _profile(*trials, Trial(depth=2, seed=1, steps=0))
    deep, shallow = -np.diff(profile.gradient[0])[2:-2], -np.diff(profile.gradient[1, :4])
    slope, error = profile.slopes()
    assert slope[0] == pytest.approx(deep.mean())
    assert slope[1] == pytest.approx(shallow.mean())
    assert error[1] == pytest.approx(shallow.std(ddof=1) / math.sqrt(3))
    assert np.isnan(slope[2])


def test_batch_norm_explodes_as_yang_and_others_predict():
    # Yang et al. (2019): E|δ|² grows by π/(π−1) per layer for ReLU and a large batch, whatever σ_w.
    inputs = torch.from_numpy(stream(1, "inputs").standard_normal((256, 256)))
    for gain in (0.5, 4.0):
        trial = Trial(depth=40, width=256, norm="batch", weight_gain=gain, batch_size=256, seed=7, steps=0)
        slope, error = _profile(trial, inputs=inputs).slopes()
        expected = 0.5 * math.log10(math.pi / (math.pi - 1))
        assert slope[0] == pytest.approx(expected, abs=4 * error[0])


def test_relu_is_critical_at_he_within_the_spread_over_seeds():
    # sd(G) = 0.217·√(c·L/n), drift of the median −0.109·c·L/n, c = 5 for ReLU: SCIENCE.md 2.
    depth, width, seeds = 20, 64, 64
    trials = [Trial(depth=depth, width=width, init="he", seed=s, steps=0) for s in range(seeds)]
    g = _profile(*trials).gradient_decades
    ratio = 5 * depth / width
    error = 1.2533 * 0.217 * math.sqrt(ratio) / math.sqrt(seeds)
    assert np.median(g) == pytest.approx(-0.109 * ratio, abs=4 * error)


@pytest.mark.parametrize(("activation", "steepest"), [("relu", 1.0), ("tanh", 1.0), ("gelu", 1.1289042)])
def test_saturation_and_death_are_the_shares_that_autograd_counts(activation, steepest):
    setting = {"activation": activation, "weight_gain": 3.0, "bias_std": 3.0, "width": 16, "steps": 0}
    trials = [Trial(depth=depth, seed=depth, **setting) for depth in (6, 3)]
    profile = _profile(*trials)
    for place, trial in enumerate(trials):
        model = Reference(trial)
        for layer, tap in enumerate(model.hidden(INPUTS)[0]):
            h = tap.detach().requires_grad_()
            model.phi(h).sum().backward()
            flat = h.grad.abs() < 0.01 * steepest
            assert profile.saturated[place, layer] == pytest.approx(float(flat.double().mean()), abs=1e-12)
            dead = [bool((h.grad[:, unit] == 0).all()) for unit in range(trial.width)]
            assert profile.dead[place, layer] == pytest.approx(np.mean(dead), abs=1e-12)
    assert 0 < np.nanmean(profile.saturated) < 1
    assert (np.nanmax(profile.dead) > 0) == (activation != "tanh")
