from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import integrate, optimize

from gradatlas.study.choices.activations import ACTIVATIONS
from gradatlas.study.theory.critical import critical, fixed_points, reached
from gradatlas.study.theory.gaussian import value_and_derivative
from gradatlas.study.theory.meanfield import Structure, expected
from gradatlas.study.theory.phase import PhasePoint, theory_row, window
from gradatlas.study.theory.predictions import (
    InputStatistics,
    gaussian_statistics,
    input_statistics,
    networks_at,
    networks_of,
    predictions,
)
from gradatlas.study.trial import Trial

WIDE = 10**9  # a width at which the order 1/n is nothing


def row(structure: Structure, sigma_w: float = 1.0, sigma_b: float = 0.0, depth: int | None = None, **point):
    return theory_row(PhasePoint(structure, sigma_w, sigma_b, **({"width": WIDE} | point)), depth=depth)


def normal_mean(function) -> float:
    density = 1 / np.sqrt(2 * np.pi)
    return integrate.quad(
        lambda z: function(z) * np.exp(-z * z / 2) * density, -12, 12, epsabs=1e-13, points=[0]
    )[0]


@pytest.mark.parametrize("depth", [2, 10, 100])
def test_relu_is_critical_at_weight_variance_two_at_any_depth(depth):
    assert row(Structure("relu"), 2**0.5, depth=depth)["gradient_decades"] == pytest.approx(0, abs=1e-6)
    assert critical(Structure("relu"), added_variance=0.0).sigma_w == pytest.approx(2**0.5, rel=1e-8)


def test_a_linear_network_gains_sigma_w_each_layer():
    found = row(Structure("linear"), 1.3, 0.4, depth=9)
    assert found["gradient_decades"] == pytest.approx(8 * np.log10(1.3), abs=1e-7)
    assert found["gradient_slope"] == pytest.approx(np.log10(1.3), abs=1e-7)


def test_sigmoid_with_xavier_loses_0_627_decades_a_layer():
    assert row(Structure("sigmoid"))["slope"] == pytest.approx(-0.627, abs=5e-4)


def test_tanh_is_critical_at_1_1225_for_a_small_bias():
    assert critical(Structure("tanh"), added_variance=0.05**2).sigma_w == pytest.approx(1.1225, abs=5e-5)


@pytest.mark.parametrize(
    ("activation", "sigma_b"), [("tanh", 0.05), ("tanh", 0.5), ("sigmoid", 0.0), ("elu", 0.3)]
)
def test_critical_weights_are_those_of_an_outside_root_finder(activation, sigma_b):
    def value(h):
        return value_and_derivative(activation, np.array([h]))[0][0]

    def derivative(h):
        return value_and_derivative(activation, np.array([h]))[1][0]

    def bias_variance(q):
        """σ_b² for which q is a fixed point with χ = 1."""
        return q - normal_mean(lambda z: value(np.sqrt(q) * z) ** 2) / normal_mean(
            lambda z: derivative(np.sqrt(q) * z) ** 2
        )

    bracket = (40.0, 60.0) if activation == "sigmoid" else (1e-3, 60.0)
    q = optimize.brentq(lambda q: bias_variance(q) - sigma_b**2, *bracket, xtol=1e-12)
    exact = normal_mean(lambda z: derivative(np.sqrt(q) * z) ** 2) ** -0.5
    assert critical(Structure(activation), added_variance=sigma_b**2).sigma_w == pytest.approx(
        exact, rel=1e-6
    )


@pytest.mark.parametrize("activation", ["gelu", "silu"])
def test_bistable_activations_are_named_and_have_no_one_number(activation):
    found = row(Structure(activation))
    assert found["critical_sigma_w"] is None
    assert "bistable" in found["note"]
    points = fixed_points(Structure(activation), sigma_w=1.5, added_variance=0.0)
    assert [point.stable for point in points] == [True, False, True]
    ends = [
        reached(Structure(activation), sigma_w=1.5, added_variance=0.0, first_variance=variance).q
        for variance in (0.01, 100.0)
    ]
    assert ends == [0.0, np.inf]


@pytest.mark.parametrize("position", ["before", "after"])
def test_a_linear_layer_normed_net_is_critical_at_no_one_weight(position):
    found = critical(Structure("linear", norm="layer", norm_position=position), added_variance=0.0)
    assert (found.sigma_w, found.note) == (None, "χ does not depend on σ_w; it is 1")


def test_fixed_points_are_mapped_to_themselves():
    for activation in ACTIVATIONS:
        for point in fixed_points(Structure(activation), sigma_w=1.4, added_variance=0.09):
            if np.isfinite(point.q):
                mapped = 1.4**2 * normal_mean(
                    lambda z, a=activation, q=point.q: (
                        value_and_derivative(a, np.array([np.sqrt(q) * z]))[0][0] ** 2
                    )
                )
                assert mapped + 0.09 == pytest.approx(point.q, rel=1e-6)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "selu", "softplus"])
def test_a_plain_profile_is_the_naive_loop_over_layers(activation):
    sigma_w, sigma_b, std, depth = 1.7, 0.3, 0.6, 7
    q, log_chi = (sigma_w * std) ** 2 + sigma_b**2, []
    for _ in range(depth - 1):
        at = [
            lambda z, q=q, part=part: (
                value_and_derivative(activation, np.array([np.sqrt(q) * z]))[part][0] ** 2
            )
            for part in (0, 1)
        ]
        log_chi.append(np.log10(sigma_w**2 * normal_mean(at[1])))
        q = sigma_w**2 * normal_mean(at[0]) + sigma_b**2
    inputs = InputStatistics(std**2, 0.0, 0.0, 64)
    networks = networks_at(
        np.array([sigma_w]), sigma_b=sigma_b, depth=depth, width=WIDE, inputs=inputs, family="mlp"
    )
    profile = expected(Structure(activation), networks)
    np.testing.assert_allclose(-np.diff(profile.gradient[0]), np.array(log_chi) / 2, atol=1e-7)
    assert profile.forward[0, -1] == pytest.approx(np.log10(q) / 2, abs=1e-7)


@pytest.mark.parametrize("batch_size", [4, 5, 16, 64, 1000])
def test_linear_batch_norm_grows_by_b_minus_2_over_b_minus_3(batch_size):
    found = row(Structure("linear", norm="batch", batch_size=batch_size, norm_eps=0.0), 0.7)
    assert found["chi"] == pytest.approx((batch_size - 2) / (batch_size - 3), rel=1e-6)


def test_relu_batch_norm_grows_by_pi_over_pi_minus_1_in_large_batches():
    found = [
        row(Structure("relu", norm="batch", batch_size=size, norm_eps=0.0))["chi"] - np.pi / (np.pi - 1)
        for size in (500, 1000)
    ]
    assert found[1] == pytest.approx(0, abs=0.01)
    assert found[0] / found[1] == pytest.approx(2, rel=0.05)  # what a batch leaves is of order 1/B


def test_small_gains_switch_batch_norm_off_by_its_eps():
    free, held = (row(Structure("relu", norm="batch", norm_eps=eps), 1e-3)["chi"] for eps in (0.0, 1.0))
    assert free > 1
    assert held < 1e-3


@pytest.mark.parametrize("position", ["before", "after"])
def test_layer_norm_takes_sigma_w_out_and_its_position_matters(position):
    structure = Structure("relu", norm="layer", norm_position=position, norm_eps=0.0)
    # Before: E φ′² / E φ² = 1. After: E φ′² / Var φ = (1/2) / (1/2 − 1/2π).
    exact = 1.0 if position == "before" else np.pi / (np.pi - 1)
    for sigma_w in (0.1, 7.0):
        assert row(structure, sigma_w)["chi"] == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize(("skip", "growth"), [("preactivation", 1 + 1.5**2), ("scaled", 1 + 1.5**2 / 40)])
def test_linear_skips_grow_by_one_plus_the_branch(skip, growth):
    found = row(Structure("linear", skip=skip), 1.5, depth=40)
    assert found["gradient_decades"] == pytest.approx(39 / 2 * np.log10(growth), abs=1e-6)


def test_scaled_branches_stay_bounded_at_any_depth():
    for depth in (10, 100):
        assert (
            row(Structure("relu", skip="scaled"), 2**0.5, depth=depth)["gradient_decades"]
            < np.log10(np.e) / 2
        )


def test_a_recurrent_input_moves_the_critical_weight():
    free = critical(Structure("tanh", family="rnn"), added_variance=0.0).sigma_w
    driven = row(Structure("tanh", family="rnn"))["critical_sigma_w"]
    assert free == pytest.approx(1.0, abs=1e-6)
    assert driven > 1.5


@pytest.mark.parametrize("depth", [10, 60])
def test_the_window_of_relu_closes_as_one_over_the_depth(depth):
    found, note = window(PhasePoint(Structure("relu"), width=WIDE), depth=depth)
    # |G| = (L − 1) · |log10(σ_w/√2)| = 1.3
    np.testing.assert_allclose(found, 2**0.5 * 10 ** (np.array([-1.3, 1.3]) / (depth - 1)), rtol=1e-6)
    assert note == ""


@pytest.mark.parametrize(
    ("structure", "note"),
    [
        (Structure("tanh", family="lstm"), "no theory of family lstm"),
        (Structure("tanh", norm="batch", batch_size=3), "infinite for batches of 3"),
        (Structure("tanh", norm="batch", norm_position="after"), "no closed form"),
    ],
)
def test_where_there_is_no_theory_there_is_no_number(structure, note):
    found = row(structure, depth=10)
    assert note in found["note"]
    assert [found[name] for name in ("q", "chi", "slope", "gradient_decades", "gradient_slope")] == [None] * 5


def test_predictions_of_a_mixture_are_those_of_each_alone():
    trials = [
        Trial(activation=activation, norm=norm, skip=skip, depth=depth, weight_gain=gain, init=init)
        for activation, norm, skip, depth, gain, init in (
            ("tanh", "none", "none", 12, 1.5, "lecun"),
            ("relu", "batch", "residual", 5, 0.7, "xavier"),
            ("tanh", "none", "none", 2, 0.4, "orthogonal"),
            ("relu", "none", "residual", 9, 1.0, "torch_default"),
            ("tanh", "none", "none", 1, 1.5, "lecun"),
            ("tanh", "layer", "scaled", 30, 1.5, "small_normal"),
        )
    ]
    inputs = InputStatistics(0.9, 0.03, 0.4, 64)
    together = predictions(trials, inputs)
    assert together == [predictions([trial], inputs)[0] for trial in trials]
    assert together[4].gradient_decades == 0
    assert together[4].slope is None
    assert [found.sd is None for found in together] == [False, True, True, True, False, True]


def test_the_first_layer_is_as_wide_as_the_inputs():
    trials = [
        Trial(init=init, width=32) for init in ("xavier", "small_normal", "orthogonal", "torch_default", "he")
    ]
    first = networks_of(trials, gaussian_statistics(128, 1.0)).first_variance
    np.testing.assert_allclose(first, [2 * 128 / 160, 1e-4 * 128, 1.0, 1 / 3 + 1 / (3 * 128), 2.0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight_variance": np.array([-1.0])}, "weight_variance: must be a finite variance > 0, but got"),
        ({"bias_variance": np.array([np.nan])}, "bias_variance: must be a finite variance >= 0, but got"),
        ({"depth": np.array([0])}, "depth: must be a whole number >= 1, but got"),
        ({"first_correlation": np.array([1.5])}, "first_correlation: must be a number in -1 … 1, but got"),
    ],
)
def test_numbers_outside_of_a_formulas_domain_are_refused(change, message):
    networks = networks_of([Trial()], gaussian_statistics(64, 1.0))
    with pytest.raises(ValueError, match=message):
        replace(networks, **change)


def test_bad_points_are_refused():
    with pytest.raises(ValueError, match="sigma_w: must be a number from 1e-100 to below 1e100, but got nan"):
        PhasePoint(Structure("relu"), float("nan"))
    with pytest.raises(ValueError, match="depth: must be a whole number >= 1, but got 0"):
        theory_row(PhasePoint(Structure("relu")), depth=0)
    with pytest.raises(ValueError, match="activation: must be one of"):
        Structure("rellu")
    with pytest.raises(ValueError, match="fixed points are of networks without skip"):
        critical(Structure("relu", skip="residual"), added_variance=0.0)
    networks = networks_of([Trial(batch_size=2)], gaussian_statistics(64, 1.0))
    with pytest.raises(ValueError, match="infinite for batches"):
        expected(Structure("relu", norm="batch", batch_size=2), networks)


def test_a_window_that_is_no_interval_is_told():
    assert window(PhasePoint(Structure("relu", norm="batch", norm_eps=0.0), width=WIDE), depth=3) == (
        None, "every σ_w from 0.001 to 1000 is stable at depth 3",
    )  # fmt: skip
    assert "below" in window(PhasePoint(Structure("tanh", skip="residual")), depth=20)[1]


@pytest.mark.parametrize(
    "change",
    [
        {"weight_gain": 0.0},
        {"weight_gain": 1e200},
        {"weight_gain": 1e-200},
        {"bias_std": 1e200},
        {"depth": 1},
        {"width": 1},
        {"batch_size": 1},
    ],
)
@pytest.mark.parametrize(
    "structure", [{}, {"skip": "residual"}, {"norm": "layer", "skip": "scaled"}, {"norm": "batch"}]
)
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_the_odd_trial_has_a_number_or_none(activation, structure, change):
    settings = {"activation": activation, **structure, **change}
    if settings.get("norm") == "batch" and "batch_size" in change:
        settings["batch_size"] = 2
    with np.errstate(all="raise", under="ignore"):
        (found,) = predictions([Trial(**settings)], gaussian_statistics(64, 1.0))
    for value in found[:3]:
        assert value is None or not np.isnan(value)


def test_a_blank_batch_has_no_prediction_without_biases():
    blank = input_statistics(torch.zeros(4, 64))
    silent, biased = predictions([Trial(), Trial(bias_std=0.3)], blank)
    assert silent[:3] == (None, None, None)
    assert biased.gradient_decades is not None


def test_a_recurrent_net_without_input_has_no_prediction_and_one_with_biases_has():
    silent = Trial(family="rnn", activation="tanh", task=None, input_gain=0.0)
    biased = Trial(family="rnn", activation="tanh", task=None, input_gain=0.0, bias_std=0.5)
    found = predictions([silent, biased], gaussian_statistics(64, 1.0))
    assert found[0].gradient_decades is None
    assert found[1].gradient_decades is not None


def test_inputs_are_summed_up_as_a_naive_loop_does():
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * torch.arange(
        1, 6
    )
    found = input_statistics(x)
    sizes = x.square().mean(dim=1)
    cosines = [float(x[i] @ x[j]) / 5 / float(sizes.mean()) for i in range(7) for j in range(7) if i != j]
    assert found.mean_square == pytest.approx(float(sizes.mean()))
    assert found.spread == pytest.approx(float(sizes.var(correction=0) / sizes.mean() ** 2))
    assert found.correlation == pytest.approx(np.mean(cosines))
    assert input_statistics(torch.zeros(3, 2)) == InputStatistics(0.0, 0.0, 0.0, 2)
