"""The operations that networks are made of, each a forward pass and a vector–Jacobian product.

Axes are (trials, batch, units). The measurement and the training run the same operations. Between two
measured layers a network applies a *block*: a short sequence of linear map, norm and activation, possibly
with a skip connection around it; `block_kinds` is the one place that says in which order.

An operation's `forward(layer, x, scratch)` returns what it puts out and what its backward pass needs;
`backward(layer, g, kept, gradient, out)` writes the parameter gradients and returns the gradient at x.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from gradatlas.study.choices.activations import Activation
from gradatlas.study.choices.structures import NORMS, OperationKind
from gradatlas.study.networks.products import affine, multiply, multiply_transposed

Kept = tuple[Tensor, ...]
Scratch = Callable[[str, tuple[int, ...]], Tensor]


@dataclass
class Layer:
    """Parameters of one layer of all its trials, or their gradients.

    Norms have a scale and a shift. A recurrent cell has input weights beside `weight`, its W_hh, and a block
    of `width` columns for each gate.
    """

    weight: Tensor  # (trials, fan_in, width)
    bias: Tensor  # (trials, 1, width)
    norm_scale: Tensor | None = None  # (trials, 1, width)
    norm_shift: Tensor | None = None
    input_weight: Tensor | None = None  # (trials, features, width)

    unit_axis: ClassVar[int] = 2

    def named(self) -> dict[str, Tensor]:
        """The tensors that are there by their names, in a fixed order."""
        return {name: tensor for name, tensor in vars(self).items() if tensor is not None}

    def mapped(self, function: Callable[[Tensor], Tensor]) -> Layer:
        """A layer whose tensors are the function of these."""
        return Layer(**{name: function(tensor) for name, tensor in self.named().items()})

    def like(self, take: Callable[[str, tuple[int, ...]], Tensor]) -> Layer:
        """A layer of tensors of these shapes, taken by name."""
        return Layer(**{name: take(name, tuple(tensor.shape)) for name, tensor in self.named().items()})


@runtime_checkable
class Operation(Protocol):
    """One step of a block."""

    @property
    def kind(self) -> OperationKind:
        """Which of the three it is."""

    def forward(
        self, layer: Layer, x: Tensor, scratch: Scratch, *, is_block_input: bool
    ) -> tuple[Tensor, Kept]:
        """(Output, what the backward pass needs); may overwrite x unless it is the block's input."""

    def backward(self, layer: Layer, g: Tensor, kept: Kept, gradient: Layer, out: Tensor | None) -> Tensor:
        """The gradient at x, in `out` (None: not wanted by anybody, g comes back)."""


@dataclass(frozen=True)
class Linear:
    """x @ W + b."""

    kind: OperationKind = "linear"

    def forward(
        self, layer: Layer, x: Tensor, scratch: Scratch, *, is_block_input: bool
    ) -> tuple[Tensor, Kept]:
        out = scratch("linear", (*x.shape[:2], layer.weight.shape[2]))
        return affine(x, layer.weight, layer.bias, out), (x,)

    def backward(self, layer: Layer, g: Tensor, kept: Kept, gradient: Layer, out: Tensor | None) -> Tensor:
        (x,) = kept
        multiply(x.transpose(1, 2), g, gradient.weight)
        torch.sum(g, dim=1, keepdim=True, out=gradient.bias)
        return g if out is None else multiply_transposed(g, layer.weight, out)


@dataclass(frozen=True)
class Nonlinearity:
    """φ, elementwise."""

    activation: Activation
    kind: OperationKind = "activation"

    def forward(
        self, layer: Layer, x: Tensor, scratch: Scratch, *, is_block_input: bool
    ) -> tuple[Tensor, Kept]:
        overwrite = self.activation.in_place and not is_block_input
        y = self.activation.value(x, x if overwrite else scratch("activation", tuple(x.shape)))
        return y, (x, y)

    def backward(self, layer: Layer, g: Tensor, kept: Kept, gradient: Layer, out: Tensor | None) -> Tensor:
        x, y = kept
        return self.activation.backward(g, x, y, out)


@dataclass(frozen=True)
class Norm:
    """(x − mean) / √(variance + eps) · scale + shift, in train mode, variance without Bessel's correction.

    Over the batch for each unit (Ioffe & Szegedy 2015) or over the units for each example (Ba et al. 2016).
    """

    axis: Literal[1, 2]
    eps: float
    kind: OperationKind = "norm"

    def forward(
        self, layer: Layer, x: Tensor, scratch: Scratch, *, is_block_input: bool
    ) -> tuple[Tensor, Kept]:
        assert layer.norm_scale is not None
        assert layer.norm_shift is not None
        shape = tuple(x.shape)
        y = scratch("norm", shape)
        normalised = torch.sub(x, x.mean(self.axis, keepdim=True), out=scratch("normalised", shape))
        variance = torch.square(normalised, out=y).mean(self.axis, keepdim=True)
        # Not rsqrt: in bfloat16 its bits depend on how many trials are beside.
        inverse = variance.add_(self.eps).sqrt_().reciprocal_()
        normalised.mul_(inverse)
        return torch.addcmul(layer.norm_shift, normalised, layer.norm_scale, out=y), (normalised, inverse)

    def backward(self, layer: Layer, g: Tensor, kept: Kept, gradient: Layer, out: Tensor | None) -> Tensor:
        assert layer.norm_scale is not None
        assert gradient.norm_scale is not None
        assert gradient.norm_shift is not None
        normalised, inverse = kept
        torch.sum(g * normalised, dim=1, keepdim=True, out=gradient.norm_scale)
        torch.sum(g, dim=1, keepdim=True, out=gradient.norm_shift)
        g = torch.mul(g, layer.norm_scale, out=out)
        along = (g * normalised).mean(self.axis, keepdim=True)
        g.sub_(g.mean(self.axis, keepdim=True)).addcmul_(normalised, along, value=-1.0)
        return g.mul_(inverse)


def operations(
    kinds: tuple[OperationKind, ...], activation: Activation, norm: str, eps: float
) -> tuple[Operation, ...]:
    """The operations of a block by their kinds."""
    made: dict[OperationKind, Operation] = {
        "linear": Linear(),
        "activation": Nonlinearity(activation),
        **({"norm": Norm(axis, eps)} if (axis := NORMS[norm].axis) is not None else {}),
    }
    return tuple(made[kind] for kind in kinds)
