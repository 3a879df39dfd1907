import numpy as np
import pytest

from gradatlas.study.theory.correlation import (
    correlation_depth_scale,
    correlation_map,
    correlation_slope,
    fixed_correlation,
)
from gradatlas.study.theory.critical import fixed_points
from gradatlas.study.theory.meanfield import Structure


@pytest.mark.parametrize("c", [-1.0, -0.4, 0.0, 0.3, 0.9, 1.0])
def test_relu_maps_correlations_by_the_arc_cosine_kernel(c):
    exact = (np.sqrt(1 - c * c) + c * (np.pi - np.arccos(c))) / np.pi  # Cho & Saul (2009)
    # Where the second input's kink is no edge of the rule's panels, it is off by some 1e-5.
    assert correlation_map("relu", c, q=1.3, sigma_w=2**0.5, sigma_b=0.0) == pytest.approx(exact, abs=1e-4)


def fixed_point(sigma_w: float, sigma_b: float):
    points = fixed_points(Structure("tanh"), sigma_w=sigma_w, added_variance=sigma_b**2)
    return next(point for point in points if point.stable)


@pytest.mark.parametrize(("sigma_w", "sigma_b"), [(1.0, 0.3), (1.5, 0.2), (3.0, 0.1), (2.5, 0.8)])
def test_c_star_is_where_two_inputs_of_a_wide_network_end(sigma_w, sigma_b):
    point = fixed_point(sigma_w, sigma_b)
    found = fixed_correlation("tanh", q=point.q, chi=point.chi, sigma_w=sigma_w, sigma_b=sigma_b)
    cosines, width = [], 20_000
    for seed in range(6):
        generator = np.random.Generator(np.random.Philox(seed))
        h = generator.standard_normal((2, width)) * np.sqrt(point.q)
        for _ in range(60):
            # Given one layer, the units of the next are independent Gaussian pairs: exact at any width.
            kernel = sigma_w**2 * np.tanh(h) @ np.tanh(h).T / width + sigma_b**2
            sizes, axes = np.linalg.eigh(kernel)
            h = (axes * np.sqrt(np.maximum(sizes, 0.0))) @ generator.standard_normal((2, width))
        cosines.append(h[0] @ h[1] / np.sqrt((h[0] @ h[0]) * (h[1] @ h[1])))
    error = np.std(cosines, ddof=1) / np.sqrt(len(cosines))
    # Five of Student's six seeds; beside it, the bias of order 1 / width.
    assert np.mean(cosines) == pytest.approx(found, abs=5 * error + 5 / width)
    assert (found < 1) == (point.chi > 1)


def test_the_correlation_map_has_the_slope_chi_at_one():
    point = fixed_point(1.8, 0.3)
    step = 1e-5
    ends = [
        correlation_map("tanh", c, q=point.q, sigma_w=1.8, sigma_b=0.3) for c in (1 - 2 * step, 1 - step, 1.0)
    ]
    assert ends[2] == pytest.approx(1, abs=1e-7)
    assert (ends[0] - 4 * ends[1] + 3 * ends[2]) / (2 * step) == pytest.approx(point.chi, rel=1e-3)


@pytest.mark.parametrize(
    ("c", "q", "message"), [(1.1, 1.0, "c: must be a cosine"), (0.5, 0.0, "q: must be a")]
)
def test_what_is_no_cosine_or_variance_is_refused(c, q, message):
    with pytest.raises(ValueError, match=message):
        correlation_map("tanh", c, q=q, sigma_w=1.0, sigma_b=0.0)


@pytest.mark.parametrize("c", [-0.6, 0.0, 0.3, 0.9, 0.999])
def test_relus_correlation_map_has_the_slope_of_the_arc_cosine_kernel(c):
    exact = 1 - np.arccos(c) / np.pi  # Cho & Saul (2009), of degree 0
    assert correlation_slope("relu", c, q=1.3, sigma_w=2**0.5) == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize(
    ("activation", "sigma_w", "sigma_b"),
    [("tanh", 1.3, 0.05), ("tanh", 4.0, 0.1), ("selu", 1.2, 0.2), ("elu", 1.25, 0.1)],
)
def test_differences_from_c_star_shrink_by_e_over_a_depth_scale(activation, sigma_w, sigma_b):
    network = {"sigma_w": sigma_w, "sigma_b": sigma_b}
    points = fixed_points(Structure(activation), sigma_w=sigma_w, added_variance=sigma_b**2)
    point = next(point for point in points if point.stable)
    end = fixed_correlation(activation, q=point.q, chi=point.chi, **network)
    scale = correlation_depth_scale(activation, end, q=point.q, chi=point.chi, sigma_w=sigma_w)
    step = 1e-3 * (1 - end)
    # Two inputs a little more and a little less alike than c*: what a layer leaves of their difference.
    near = [correlation_map(activation, end + side, q=point.q, **network) for side in (step, -step)]
    left = (near[0] - near[1]) / (2 * step)
    assert end < 1
    assert np.exp(-1 / scale) == pytest.approx(left, abs=2e-3)


def test_on_the_vanishing_side_the_depth_scale_is_the_gradients():
    point = fixed_point(1.0, 0.3)
    scale = correlation_depth_scale("tanh", 1.0, q=point.q, chi=point.chi, sigma_w=1.0)
    assert scale == pytest.approx(-1 / np.log(point.chi))


@pytest.mark.parametrize(("sigma_w", "ratio"), [(1.125, 1.0), (1.2, 1.4), (1.5, 2.1)])
def test_on_the_exploding_side_it_is_longer_than_the_gradients(sigma_w, ratio):
    # Equal at the critical line: there f(c) is a parabola, of which f'(c*) = 2 − χ. Beyond, as the docs say.
    point = fixed_point(sigma_w, 0.05)
    end = fixed_correlation("tanh", q=point.q, chi=point.chi, sigma_w=sigma_w, sigma_b=0.05)
    scale = correlation_depth_scale("tanh", end, q=point.q, chi=point.chi, sigma_w=sigma_w)
    assert scale * np.log(point.chi) == pytest.approx(ratio, abs=0.05)


def test_a_critical_network_has_no_depth_scale_of_correlation():
    assert correlation_depth_scale("relu", 1.0, q=1.0, chi=1.0, sigma_w=2**0.5) is None
