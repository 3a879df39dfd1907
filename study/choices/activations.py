"""Activations φ: value, vector–Jacobian product, and what the measurement needs to know about each.

h is a pre-activation, y = φ(h), g the gradient that arrives at y. A new activation is one entry of
`ACTIVATIONS`.

The one idea: very far from the scale 1 every activation is a pair of straight lines through the origin (or,
where φ(0) ≠ 0, never gets near zero), so a signal of any magnitude can be carried as (tensor, logarithm of
its scale). `near_zero` and `far_out` are those lines: slopes for h < 0 and h > 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_aten = torch.ops.aten
_SELU_SCALE = 1.0507009873554805
_SELU_ALPHA = 1.6732632423543772

Slopes = tuple[float, float]


@dataclass(frozen=True)
class Activation:
    """One activation function.

    `value(h, out)` and `backward(g, h, y, out)` write into `out` where it is given. Where `in_place` is True
    the backward pass needs y alone, so `out=h` is allowed in the forward pass; h then holds y.
    """

    name: str
    value: Callable[[Tensor, Tensor | None], Tensor]
    backward: Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
    in_place: bool
    largest_derivative: float
    near_zero: Slopes | None  # None: φ(0) ≠ 0
    far_out: Slopes | None  # None: φ is bounded

    @property
    def leak(self) -> float | None:
        """The slope below zero of two straight lines of which the upper has the slope 1; None for others."""
        lines = self.near_zero
        return lines[0] if lines is not None and lines == self.far_out and lines[1] == 1.0 else None

    def derivative(self, h: Tensor) -> Tensor:
        """φ′(h), elementwise."""
        return self.backward(torch.ones_like(h), h, self.value(h, None), None)


def _unary(function: Callable) -> Callable[[Tensor, Tensor | None], Tensor]:
    """A value function from one of torch's elementwise functions with an `out` argument."""
    return lambda h, out: function(h) if out is None else function(h, out=out)


def _of_output(name: str, *constants) -> Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]:
    """A backward function from torch's fused kernel that takes (g, y, constants)."""
    kernel, into = getattr(_aten, name).default, getattr(_aten, name).grad_input
    return lambda g, h, y, out: (
        kernel(g, y, *constants) if out is None else into(g, y, *constants, grad_input=out)
    )


def _of_input(name: str, *constants, **options) -> Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]:
    """A backward function from torch's fused kernel that takes (g, h, constants)."""
    kernel, into = getattr(_aten, name).default, getattr(_aten, name).grad_input
    return lambda g, h, y, out: (
        kernel(g, h, *constants, **options)
        if out is None
        else into(g, h, *constants, **options, grad_input=out)
    )


def _elu(alpha: float, scale: float) -> dict:
    return {
        "value": lambda h, out: (
            _aten.elu.default(h, alpha, scale, 1.0)
            if out is None
            else _aten.elu.out(h, alpha, scale, 1.0, out=out)
        ),
        # From h, not from y: α + y has no digits left where φ′ = αeʰ is below the rounding of α.
        "backward": lambda g, h, y, out: (
            _aten.elu_backward.default(g, alpha, scale, 1.0, False, h)
            if out is None
            else _aten.elu_backward.grad_input(g, alpha, scale, 1.0, False, h, grad_input=out)
        ),
        "in_place": False,
        "largest_derivative": scale * max(alpha, 1.0),
        "near_zero": (scale * alpha, scale),
        "far_out": (0.0, scale),
    }


_LEAK = 0.01  # torch.nn.LeakyReLU's default

ACTIVATIONS: dict[str, Activation] = {
    entry.name: entry
    for entry in (
        Activation(
            "linear",
            value=lambda h, out: h.clone() if out is None else (h if out is h else out.copy_(h)),
            backward=lambda g, h, y, out: g.clone() if out is None else (g if out is g else out.copy_(g)),
            in_place=True,
            largest_derivative=1.0,
            near_zero=(1.0, 1.0),
            far_out=(1.0, 1.0),
        ),
        Activation(
            "sigmoid",
            value=_unary(torch.sigmoid),
            backward=_of_output("sigmoid_backward"),
            in_place=True,
            largest_derivative=0.25,
            near_zero=None,
            far_out=None,
        ),
        Activation(
            "tanh",
            value=_unary(torch.tanh),
            backward=_of_output("tanh_backward"),
            in_place=True,
            largest_derivative=1.0,
            near_zero=(1.0, 1.0),
            far_out=None,
        ),
        Activation(
            "relu",
            value=lambda h, out: torch.relu(h) if out is None else torch.clamp_min(h, 0.0, out=out),
            backward=_of_output("threshold_backward", 0.0),
            in_place=True,
            largest_derivative=1.0,
            near_zero=(0.0, 1.0),
            far_out=(0.0, 1.0),
        ),
        Activation(
            "leaky_relu",
            value=lambda h, out: (
                functional.leaky_relu(h, _LEAK) if out is None else _aten.leaky_relu.out(h, _LEAK, out=out)
            ),
            backward=_of_output("leaky_relu_backward", _LEAK, True),
            in_place=True,
            largest_derivative=1.0,
            near_zero=(_LEAK, 1.0),
            far_out=(_LEAK, 1.0),
        ),
        Activation("elu", **_elu(1.0, 1.0)),
        Activation("selu", **_elu(_SELU_ALPHA, _SELU_SCALE)),
        Activation(
            "gelu",
            value=lambda h, out: functional.gelu(h) if out is None else _aten.gelu.out(h, out=out),
            backward=_of_input("gelu_backward"),
            in_place=False,
            largest_derivative=1.1289042,  # at h = √2
            near_zero=(0.5, 0.5),
            far_out=(0.0, 1.0),
        ),
        Activation(
            "silu",
            value=lambda h, out: functional.silu(h) if out is None else _aten.silu.out(h, out=out),
            backward=_of_input("silu_backward"),
            in_place=False,
            largest_derivative=1.0998393,  # at h ≈ 2.3994
            near_zero=(0.5, 0.5),
            far_out=(0.0, 1.0),
        ),
        Activation(
            "softplus",
            value=lambda h, out: functional.softplus(h) if out is None else _aten.softplus.out(h, out=out),
            backward=_of_input("softplus_backward", 1.0, 20.0),
            in_place=False,
            largest_derivative=1.0,
            near_zero=None,
            far_out=(0.0, 1.0),
        ),
    )
}


def lines(h: Tensor, slopes: Slopes) -> Tensor:
    """Slopes of the two straight lines at h: `slopes[0]` where h < 0, else `slopes[1]`."""
    return torch.where(h < 0, slopes[0], slopes[1]).to(h.dtype)
