"""Activations against torch's own."""

from __future__ import annotations

import pytest
import torch

from gradatlas.study.choices.activations import ACTIVATIONS
from gradatlas.study.randomness import stream
from tests.study.oracles import ACTIVATION_MODULES


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_equal_torchs_with_and_without_a_place_to_write(name):
    h = torch.linspace(-30, 30, 1001, dtype=torch.float64).requires_grad_()
    expected = ACTIVATION_MODULES[name]()(h)
    g = torch.from_numpy(stream(0, "g").standard_normal(1001))
    (expected_gradient,) = torch.autograd.grad(expected, h, g)
    phi, x = ACTIVATIONS[name], h.detach()
    y = phi.value(x, None)
    torch.testing.assert_close(y, expected.detach(), rtol=1e-14, atol=0)
    torch.testing.assert_close(phi.backward(g, x, y, None), expected_gradient, rtol=1e-12, atol=1e-300)
    out = torch.empty_like(x)
    torch.testing.assert_close(phi.backward(g, x, y, out), expected_gradient, rtol=1e-12, atol=1e-300)
    target = x.clone() if phi.in_place else torch.empty_like(x)
    written = phi.value(target if phi.in_place else x, target)
    assert written.data_ptr() == target.data_ptr()
    torch.testing.assert_close(written, y, rtol=0, atol=0)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_what_is_declared_of_an_activation_holds(name):
    phi = ACTIVATIONS[name]
    grid = torch.linspace(-20, 20, 400_001, dtype=torch.float64)
    assert float(phi.derivative(grid).abs().max()) == pytest.approx(phi.largest_derivative, rel=1e-6)
    for lines, size in ((phi.near_zero, 1e-12), (phi.far_out, 1e12)):
        if lines is not None:
            ends = torch.tensor([-size, size], dtype=torch.float64)
            slopes = phi.value(ends, None) / ends
            torch.testing.assert_close(
                slopes, torch.tensor(lines, dtype=torch.float64), atol=1e-11, rtol=1e-11
            )
    if phi.near_zero is None:
        assert float(phi.value(torch.zeros(1), None)) != 0
    if phi.far_out is None:
        assert float(phi.value(torch.tensor([1e6]), None).abs()) <= 1


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_kinks_are_declared_where_the_slope_jumps_or_bends_and_nowhere_else(name):
    phi = ACTIVATIONS[name]
    at = torch.linspace(-10, 10, 401, dtype=torch.float64)  # steps of 1/20; all kinks are at whole numbers
    step = 1e-4
    left, middle, right = (phi.derivative(at + shift) for shift in (-step, 0.0, step))
    # The second difference of a smooth φ′ is of the order of the step squared, of one that bends of the step.
    kinks = (left - 2 * middle + right).abs() > step / 10
    assert tuple(at[kinks].round(decimals=6).tolist()) == phi.kinks
