"""Norms and clipping where float32 squares do not hold."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from gradatlas.study.networks.blocks import Layer
from gradatlas.study.randomness import stream
from gradatlas.study.training.clipping import clip_values, gradient_norms, norm_factors


def _gradients(scales: list[float], dtype: torch.dtype) -> list[Layer]:
    """Two layers of as many trials as scales; the last trial has only the first layer."""
    draw = stream(3, "gradients")
    tensors = [torch.from_numpy(draw.standard_normal((len(scales), 5, 5))) for _ in range(4)]
    factor = torch.tensor(scales, dtype=torch.float64).view(-1, 1, 1)
    w1, b1, w2, b2 = ((t * factor).to(dtype) for t in tensors)
    return [Layer(w1, b1[:, :1]), Layer(w2[:-1], b2[:-1, :1])]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_norms_hold_where_float32_squares_do_not(dtype):
    gradients = _gradients([1.0, 1e-30, 1e25, 3e-42, 1.0], dtype)
    for place, norm in enumerate(gradient_norms(gradients).tolist()):
        parts = [t[place].double().flatten() for g in gradients for t in g.named().values() if place < len(t)]
        assert norm == pytest.approx(float(torch.cat(parts).norm()), rel=1e-6)
        assert norm > 0


def test_a_norm_of_zero_or_infinity_stays_what_it_is():
    gradients = _gradients([0.0, math.inf, 1.0], torch.float32)
    gradients[0].weight[1] = math.inf
    norms = gradient_norms(gradients)
    assert norms[0] == 0 or math.isnan(norms[0])
    assert not math.isfinite(norms[1])
    assert math.isfinite(norms[2])


def test_finite_gradients_of_1e25_are_clipped_and_not_zeroed():
    gradients = _gradients([1e25, 1.0], torch.float32)
    norms = gradient_norms(gradients)
    factors = norm_factors(norms, torch.full((2,), 0.5, dtype=torch.float64))
    assert (norms * factors).tolist() == pytest.approx([0.5, 0.5], rel=1e-5)
    parameter = nn.Parameter(torch.zeros(1))
    parameter.grad = torch.full((1,), 1e25)
    nn.utils.clip_grad_norm_([parameter], 0.5)
    assert parameter.grad.item() == pytest.approx(0.5)  # one element: torch's norm does not square it
    wide = nn.Parameter(torch.zeros(64))
    wide.grad = torch.full((64,), 1e25)
    nn.utils.clip_grad_norm_([wide], 0.5)
    assert wide.grad.abs().max().item() == 0  # the pitfall that this module avoids


def test_value_clipping_leaves_trials_without_a_limit_alone():
    gradients = _gradients([1.0, 1.0, 1.0], torch.float64)
    before = [layer.mapped(torch.clone) for layer in gradients]
    clip_values(gradients, torch.tensor([0.1, math.inf, 0.2], dtype=torch.float64))
    assert gradients[0].weight[0].abs().max() == 0.1
    assert gradients[0].bias[2].abs().max() <= 0.2
    torch.testing.assert_close(gradients[0].weight[1], before[0].weight[1], rtol=0, atol=0)
