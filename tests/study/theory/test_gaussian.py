from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate

from gradatlas.study.choices.activations import ACTIVATIONS
from gradatlas.study.theory.gaussian import expectation, moments, pair_moments, value_and_derivative

VARIANCES = (1e-8, 1e-2, 1.0, 30.0, 1e4, 1e8)


def by_scipy(function, q: float) -> float:
    """E f(√q z), split where f may have a kink or its own scale."""
    scale = np.sqrt(q)
    inner = [h / scale for h in (1.0, 5.0, 20.0, 100.0) if h / scale < 12]
    edges = sorted({0.0, 12.0, -12.0, *inner, *(-x for x in inner)})

    def integrand(z: float) -> float:
        return float(function(np.array([scale * z]))[0] * np.exp(-z * z / 2) / np.sqrt(2 * np.pi))

    parts = [
        integrate.quad(integrand, low, high, epsabs=0, epsrel=1e-11, limit=200)[0]
        for low, high in pairwise(edges)
    ]
    return sum(parts)


@pytest.mark.filterwarnings("ignore::scipy.integrate.IntegrationWarning")
@pytest.mark.parametrize("q", VARIANCES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_moments_are_the_integrals(activation, q):
    def value(h):
        return value_and_derivative(activation, h)[0]

    def derivative(h):
        return value_and_derivative(activation, h)[1]

    at = moments(activation, np.array([np.log(q)]))
    for found, function in (
        (at.log_value, lambda h: value(h) ** 2),
        (at.log_derivative, lambda h: derivative(h) ** 2),
    ):
        exact = by_scipy(function, q)
        assert expectation(function, q) == pytest.approx(exact, rel=1e-9)
        assert np.exp(found[0]) == pytest.approx(exact, rel=1e-7)  # cubic interpolation in ln q
    rms = np.sqrt(by_scipy(lambda h: value(h) ** 2, q))
    assert at.mean[0] * rms == pytest.approx(by_scipy(value, q), abs=1e-6 * rms)


@pytest.mark.filterwarnings("ignore::scipy.integrate.IntegrationWarning")
@pytest.mark.parametrize("q", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("activation", ["tanh", "gelu", "sigmoid"])
def test_relative_moments_are_the_integrals(activation, q):
    def mean(function):
        return by_scipy(lambda h: function(h, *value_and_derivative(activation, h)), q)

    square, slope_square = mean(lambda h, y, d: y**2), mean(lambda h, y, d: d**2)
    expected = {
        "mean": mean(lambda h, y, d: y) / square**0.5,
        "fourth_value": mean(lambda h, y, d: y**4) / square**2,
        "fourth_derivative": mean(lambda h, y, d: d**4) / slope_square**2,
        "joint": mean(lambda h, y, d: y**2 * d**2) / (square * slope_square),
        "carried": mean(lambda h, y, d: h * y * d) / (q * square * slope_square) ** 0.5,
        "stretched": mean(lambda h, y, d: h**2 * d**2) / (q * slope_square),
        "turned": mean(lambda h, y, d: h * d) / (q * slope_square) ** 0.5,
        "skewed": mean(lambda h, y, d: y * d**2) / (square**0.5 * slope_square),
    }
    found = moments(activation, np.array([np.log(q)]))
    for name, exact in expected.items():
        assert getattr(found, name)[0] == pytest.approx(exact, rel=1e-5, abs=1e-6), name  # cubic in ln q


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_slopes_are_those_of_the_curves(activation):
    at = np.linspace(-9.0, 9.0, 37)
    high, low, middle = (moments(activation, at + shift) for shift in (0.2, -0.2, 0.0))
    for name in ("value", "derivative"):
        curve = [getattr(x, f"log_{name}") for x in (high, low)]
        # The second-order error of a difference over ±0.2 of curves whose scale is 1.
        np.testing.assert_allclose((curve[0] - curve[1]) / 0.4, getattr(middle, f"{name}_slope"), atol=2e-2)


def test_a_variance_of_any_size_is_a_number_like_any_other():
    far = moments("relu", np.array([-900.0, 900.0]))
    np.testing.assert_allclose(far.log_value, np.array([-900.0, 900.0]) - np.log(2), rtol=1e-12)
    np.testing.assert_allclose(moments("tanh", np.array([-900.0])).log_value, -900.0, rtol=1e-12)


@pytest.mark.parametrize("c", [-0.9, -0.3, 0.0, 0.4, 0.8, 0.99])
def test_pairs_of_relu_units_are_the_arc_cosine_kernels(c):
    """Cho & Saul (2009)."""
    angle = np.arccos(c)
    found = pair_moments("relu", np.zeros(1), np.array([c]))
    values = (np.sin(angle) + (np.pi - angle) * c) / np.pi
    # Linear interpolation between 65 angles, and a tail of Hermite terms that decays like a power.
    assert found.values[0] == pytest.approx(values, abs=2e-3)
    assert found.derivatives[0] == pytest.approx((np.pi - angle) / np.pi, abs=2e-2)


@pytest.mark.parametrize("activation", ["tanh", "gelu", "sigmoid"])
@pytest.mark.parametrize("c", [-0.5, 0.3, 0.9])
def test_pairs_are_the_double_integrals(activation, c):
    z, weights = np.polynomial.hermite_e.hermegauss(101)
    weights = weights / weights.sum()
    other = c * z[:, None] + np.sqrt(1 - c * c) * z[None]
    value, slope = value_and_derivative(activation, z)
    value2, slope2 = value_and_derivative(activation, other)
    both = weights[:, None] * weights[None]
    square, squared_slope = weights @ value**2, weights @ slope**2
    expected = {
        "values": (both * value[:, None] * value2).sum() / square,
        "derivatives": (both * slope[:, None] * slope2).sum() / squared_slope,
        "squared_values": (both * value[:, None] ** 2 * value2**2).sum() / square**2,
        "squared_derivatives": (both * slope[:, None] ** 2 * slope2**2).sum() / squared_slope**2,
        "joint": (both * value[:, None] ** 2 * slope2**2).sum() / (square * squared_slope),
    }
    found = pair_moments(activation, np.zeros(1), np.array([c]))
    for name, exact in expected.items():
        assert getattr(found, name)[0] == pytest.approx(exact, abs=3e-3), name


@pytest.mark.parametrize("q", [-1.0, np.nan, np.inf])
def test_a_bad_variance_is_refused(q):
    with pytest.raises(ValueError, match=r"q: must be a finite variance >= 0, but got"):
        expectation(np.tanh, q)
