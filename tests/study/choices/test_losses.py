"""Losses against torch's."""

from __future__ import annotations

import torch
from torch import nn

from gradatlas.study.choices.losses import CROSS_ENTROPY
from gradatlas.study.randomness import stream


def test_cross_entropy_equals_torchs():
    logits = torch.from_numpy(stream(0, "logits").standard_normal((3, 7, 5)) * 30).requires_grad_()
    labels = torch.tensor([0, 1, 2, 3, 4, 0, 1])
    expected = torch.stack([nn.functional.cross_entropy(x, labels) for x in logits])
    (gradient,) = torch.autograd.grad(expected.sum(), logits)
    losses, ours = CROSS_ENTROPY.value_and_gradient(logits.detach().clone(), labels)
    torch.testing.assert_close(losses, expected.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(ours, gradient, rtol=1e-10, atol=1e-15)
