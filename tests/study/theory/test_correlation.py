import numpy as np
import pytest

from gradatlas.study.theory.correlation import correlation_map, fixed_correlation
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
