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
from functools import partial
from typing import Any

from gradatlas.study.lazy_torch import Tensor, torch

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
    title: str
    meaning: str
    value: Callable[[Tensor, Tensor | None], Tensor]
    backward: Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
    in_place: bool
    largest_derivative: float
    near_zero: Slopes | None  # None: φ(0) ≠ 0
    far_out: Slopes | None  # None: φ is bounded
    kinks: tuple[float, ...] = ()  # where φ or φ′ jumps: a quadrature must not run across them

    @property
    def leak(self) -> float | None:
        """The slope below zero of two straight lines of which the upper has the slope 1; None for others."""
        lines = self.near_zero
        return lines[0] if lines is not None and lines == self.far_out and lines[1] == 1.0 else None

    def derivative(self, h: Tensor) -> Tensor:
        """The derivative φ′(h), elementwise."""
        return self.backward(torch.ones_like(h), h, self.value(h, None), None)


Value = Callable[[Tensor, Tensor | None], Tensor]
Backward = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


def _unary(name: str) -> Value:
    """A value function from one of torch's elementwise functions with an `out` argument."""

    def value(h: Tensor, out: Tensor | None) -> Tensor:
        function: Callable[..., Tensor] = getattr(torch, name)
        return function(h) if out is None else function(h, out=out)

    return value


def _kernel(name: str, *constants: float) -> Value:
    """A value function from one of torch's kernels that takes (h, constants)."""

    def value(h: Tensor, out: Tensor | None) -> Tensor:
        kernel = getattr(torch.ops.aten, name)
        y: Tensor = kernel.default(h, *constants) if out is None else kernel.out(h, *constants, out=out)
        return y

    return value


def _of_output(name: str, *constants: Any) -> Backward:
    """A backward function from torch's fused kernel that takes (g, y, constants)."""

    def backward(g: Tensor, h: Tensor, y: Tensor, out: Tensor | None) -> Tensor:
        kernel = getattr(torch.ops.aten, name)
        function: Callable[..., Tensor] = (
            kernel.default if out is None else partial(kernel.grad_input, grad_input=out)
        )
        return function(g, y, *constants)

    return backward


def _of_input(name: str, *constants: Any) -> Backward:
    """A backward function from torch's fused kernel that takes (g, h, constants)."""
    of_output = _of_output(name, *constants)
    return lambda g, h, y, out: of_output(g, h, h, out)


def _elu_backward(alpha: float, scale: float) -> Backward:
    # From h, not from y: α + y has no digits left where φ′ = αeʰ is below the rounding of α.
    def backward(g: Tensor, h: Tensor, y: Tensor, out: Tensor | None) -> Tensor:
        kernel = torch.ops.aten.elu_backward
        function: Callable[..., Tensor] = (
            kernel.default if out is None else partial(kernel.grad_input, grad_input=out)
        )
        return function(g, alpha, scale, 1.0, False, h)

    return backward


def _elu(name: str, title: str, meaning: str, alpha: float, scale: float) -> Activation:
    return Activation(
        name,
        title,
        meaning,
        value=_kernel("elu", alpha, scale, 1.0),
        backward=_elu_backward(alpha, scale),
        in_place=False,
        largest_derivative=scale * max(alpha, 1.0),
        near_zero=(scale * alpha, scale),
        far_out=(0.0, scale),
        kinks=(0.0,),
    )


_LEAK = 0.01  # torch.nn.LeakyReLU's default

ACTIVATIONS: dict[str, Activation] = {
    entry.name: entry
    for entry in (
        Activation(
            "linear",
            "linear",
            "h",
            value=lambda h, out: h.clone() if out is None else (h if out is h else out.copy_(h)),
            backward=lambda g, h, y, out: g.clone() if out is None else (g if out is g else out.copy_(g)),
            in_place=True,
            largest_derivative=1.0,
            near_zero=(1.0, 1.0),
            far_out=(1.0, 1.0),
        ),
        Activation(
            "sigmoid",
            "sigmoid",
            "1 / (1 + e⁻ʰ)",
            value=_unary("sigmoid"),
            backward=_of_output("sigmoid_backward"),
            in_place=True,
            largest_derivative=0.25,
            near_zero=None,
            far_out=None,
        ),
        Activation(
            "tanh",
            "tanh",
            "tanh h",
            value=_unary("tanh"),
            backward=_of_output("tanh_backward"),
            in_place=True,
            largest_derivative=1.0,
            near_zero=(1.0, 1.0),
            far_out=None,
        ),
        Activation(
            "relu",
            "ReLU",
            "max(h, 0)",
            value=lambda h, out: torch.relu(h) if out is None else torch.clamp_min(h, 0.0, out=out),
            backward=_of_output("threshold_backward", 0.0),
            in_place=True,
            largest_derivative=1.0,
            near_zero=(0.0, 1.0),
            far_out=(0.0, 1.0),
            kinks=(0.0,),
        ),
        Activation(
            "leaky_relu",
            "leaky ReLU",
            "h for h > 0, else h / 100",
            value=_kernel("leaky_relu", _LEAK),
            backward=_of_output("leaky_relu_backward", _LEAK, True),
            in_place=True,
            largest_derivative=1.0,
            near_zero=(_LEAK, 1.0),
            far_out=(_LEAK, 1.0),
            kinks=(0.0,),
        ),
        _elu("elu", "ELU", "h for h > 0, else eʰ − 1", 1.0, 1.0),
        _elu("selu", "SELU", "1.0507 · (h for h > 0, else 1.6733 (eʰ − 1))", _SELU_ALPHA, _SELU_SCALE),
        Activation(
            "gelu",
            "GELU",
            "h Φ(h), Φ the normal distribution",
            value=_kernel("gelu"),
            backward=_of_input("gelu_backward"),
            in_place=False,
            largest_derivative=1.1289042,  # at h = √2
            near_zero=(0.5, 0.5),
            far_out=(0.0, 1.0),
        ),
        Activation(
            "silu",
            "SiLU",
            "h / (1 + e⁻ʰ)",
            value=_kernel("silu"),
            backward=_of_input("silu_backward"),
            in_place=False,
            largest_derivative=1.0998393,  # at h ≈ 2.3994
            near_zero=(0.5, 0.5),
            far_out=(0.0, 1.0),
        ),
        Activation(
            "softplus",
            "softplus",
            "ln(1 + eʰ)",
            value=_kernel("softplus"),
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
