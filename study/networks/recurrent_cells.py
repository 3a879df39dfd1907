"""Recurrent cells: one time step of a stack of trials, forward and its vector–Jacobian product.

Axes are (trials, batch, units). x_t W_ih + b, the *drive*, is the same product for every cell and is made
outside, for all steps at once; a cell adds what W_hh does to the state of the step before. A state is a tuple
of tensors, the one that is measured (h_t) first. All cells start from a hidden state of zeros.

`rnn`: h_t = drive_t + φ(h_{t−1}) W_hh, with h_t the pre-activation; the readout takes φ(h_T).
`lstm`, `gru`: as `torch.nn.LSTM` and `torch.nn.GRU` define them, gates side by side in torch's order
(i, f, g, o and r, z, n), with one bias per gate where torch has a redundant second one. The GRU's fourth
bias is the one inside its reset gate.

Sources: Elman (1990); Hochreiter & Schmidhuber (1997) with the forget gate of Gers et al. (2000);
Cho et al. (2014).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from gradatlas.study.choices.activations import Activation
from gradatlas.study.choices.families import FAMILIES
from gradatlas.study.networks.blocks import Kept

State = tuple[Tensor, ...]


class StepGradient(NamedTuple):
    """Gradients that one step of the backward pass leaves."""

    recurrent: Tensor  # at what W_hh puts out
    drive: Tensor
    carried: Tensor  # `recurrent` through W_hh
    previous: State


@runtime_checkable
class Cell(Protocol):
    """One kind of recurrent cell. The first tensor that `forward` keeps is what W_hh took in."""

    @property
    def gates(self) -> int:
        """Blocks of `width` columns in W_hh and W_ih."""

    @property
    def biases(self) -> int:
        """Blocks in the bias, and so in the drive; those beyond `gates` have no input weights."""

    @property
    def states(self) -> int:
        """Tensors in a state."""

    def forward(self, weight: Tensor, drive: Tensor, state: State | None) -> tuple[State, Kept]:
        """(The state after a step, what its backward pass needs); None is the state before the first."""

    def backward(self, weight: Tensor, gradient: State, kept: Kept) -> StepGradient:
        """The gradients of a step from the gradient at the state that it made."""

    def read(self, state: State) -> Tensor:
        """What the readout takes."""

    def read_backward(self, state: State, g: Tensor) -> State:
        """The gradient at a state from the gradient at what was read."""


def _zeros(drive: Tensor, width: int) -> Tensor:
    return drive.new_zeros((*drive.shape[:2], width))


@dataclass(frozen=True)
class Vanilla:
    """h_t = drive_t + φ(h_{t−1}) W_hh."""

    activation: Activation
    gates: int = 1
    biases: int = 1
    states: int = 1

    def forward(self, weight: Tensor, drive: Tensor, state: State | None) -> tuple[State, Kept]:
        if state is None:
            # The hidden state is zero, not the pre-activation: φ(0) is not zero for every φ.
            before = a = _zeros(drive, weight.shape[1])
        else:
            (before,) = state
            a = self.activation.value(before, None)
        return (torch.baddbmm(drive, a, weight),), (a, before)

    def backward(self, weight: Tensor, gradient: State, kept: Kept) -> StepGradient:
        a, before = kept
        (delta,) = gradient
        carried = torch.bmm(delta, weight.transpose(1, 2))
        return StepGradient(delta, delta, carried, (self.activation.backward(carried, before, a, None),))

    def read(self, state: State) -> Tensor:
        return self.activation.value(state[0], None)

    def read_backward(self, state: State, g: Tensor) -> State:
        (h,) = state
        return (self.activation.backward(g, h, self.activation.value(h, None), None),)


@dataclass(frozen=True)
class LSTM:
    """c_t = f c_{t−1} + i g, h_t = o tanh c_t."""

    gates: int = FAMILIES["lstm"].gates
    biases: int = FAMILIES["lstm"].biases
    states: int = 2

    def forward(self, weight: Tensor, drive: Tensor, state: State | None) -> tuple[State, Kept]:
        h, c = (_zeros(drive, weight.shape[1]),) * 2 if state is None else state
        i, f, g, o = torch.baddbmm(drive, h, weight).chunk(4, dim=2)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        after = f * c + i * g
        squashed = after.tanh()
        return (o * squashed, after), (h, c, i, f, g, o, squashed)

    def cell_gradient(self, gradient: State, kept: Kept) -> Tensor:
        """∂ℓ/∂c_t, by way of h_t and of c_{t+1} together."""
        *_, o, squashed = kept
        return gradient[1] + gradient[0] * o * (1 - squashed * squashed)

    def backward(self, weight: Tensor, gradient: State, kept: Kept) -> StepGradient:
        _, c, i, f, g, o, squashed = kept
        at_cell = self.cell_gradient(gradient, kept)
        parts = (
            at_cell * g * i * (1 - i),
            at_cell * c * f * (1 - f),
            at_cell * i * (1 - g * g),
            gradient[0] * squashed * o * (1 - o),
        )
        at_gates = torch.cat(parts, dim=2)
        carried = torch.bmm(at_gates, weight.transpose(1, 2))
        return StepGradient(at_gates, at_gates, carried, (carried, at_cell * f))

    def read(self, state: State) -> Tensor:
        return state[0]

    def read_backward(self, state: State, g: Tensor) -> State:
        return g, torch.zeros_like(g)


@dataclass(frozen=True)
class GRU:
    """h_t = (1 − z) n + z h_{t−1}, n = tanh(drive_n + r (h_{t−1} W_hn + b_hn))."""

    gates: int = FAMILIES["gru"].gates
    biases: int = FAMILIES["gru"].biases
    states: int = 1

    def forward(self, weight: Tensor, drive: Tensor, state: State | None) -> tuple[State, Kept]:
        width = weight.shape[1]
        h = _zeros(drive, width) if state is None else state[0]
        through = torch.bmm(h, weight)
        r = (drive[..., :width] + through[..., :width]).sigmoid_()
        z = (drive[..., width : 2 * width] + through[..., width : 2 * width]).sigmoid_()
        inner = through[..., 2 * width :] + drive[..., 3 * width :]
        n = (drive[..., 2 * width : 3 * width] + r * inner).tanh_()
        return ((1 - z) * n + z * h,), (h, r, z, inner, n)

    def backward(self, weight: Tensor, gradient: State, kept: Kept) -> StepGradient:
        h, r, z, inner, n = kept
        (g,) = gradient
        at_n = g * (1 - z) * (1 - n * n)
        at_r, at_z, at_inner = at_n * inner * r * (1 - r), g * (h - n) * z * (1 - z), at_n * r
        recurrent = torch.cat((at_r, at_z, at_inner), dim=2)
        carried = torch.bmm(recurrent, weight.transpose(1, 2))
        drive = torch.cat((at_r, at_z, at_n, at_inner), dim=2)
        return StepGradient(recurrent, drive, carried, (carried + g * z,))

    def read(self, state: State) -> Tensor:
        return state[0]

    def read_backward(self, state: State, g: Tensor) -> State:
        return (g,)


CELLS: dict[str, Callable[[Activation], Cell]] = {
    "rnn": Vanilla,
    "lstm": lambda activation: LSTM(),
    "gru": lambda activation: GRU(),
}
