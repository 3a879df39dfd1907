"""What every family of stacked networks offers: the contract that training and measurement rely on.

Axes are (trials, batch, units). An `Observer` sees every *tap*, the place where a layer's pre-activation h^l
and its gradient δ^l are read, and every step of the backward pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from gradatlas.study.choices.losses import Loss
from gradatlas.study.networks.blocks import Kept, Layer, Operation, Scratch


class Workspace:
    """Tensors by name, allocated once and used again in every step."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self._dtype, self._device = dtype, device
        self._flat: dict[str, Tensor] = {}
        self._latest: dict[str, tuple[tuple[int, ...], Tensor]] = {}

    def take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """An uninitialised tensor; it is the same memory each time the name is asked for."""
        latest = self._latest.get(name)
        if latest is not None and latest[0] == shape:
            return latest[1]
        size = math.prod(shape)
        flat = self._flat.get(name)
        if flat is None or flat.numel() < size:
            flat = self._flat[name] = torch.empty(size, dtype=self._dtype, device=self._device)
        view = flat[:size].view(shape)
        self._latest[name] = (shape, view)
        return view

    def within(self, place: str) -> Scratch:
        """`take` with the place put before each name."""
        return partial(self._take_within, place)

    def _take_within(self, place: str, name: str, shape: tuple[int, ...]) -> Tensor:
        return self.take(f"{place} {name}", shape)


@runtime_checkable
class Observer(Protocol):
    """Sees a forward and a backward pass; may rescale what it sees in place."""

    def adapted(self, operation: Operation, layer: Layer) -> tuple[Operation, Layer]:
        """The operation and parameters to use instead, right before they are applied."""

    def forward_tap(self, number: int, h: Tensor) -> None:
        """h^l of the trials that have layer `number` (1 … L)."""

    def backward_tap(self, number: int, delta: Tensor) -> None:
        """δ^l of the trials that have layer `number`."""

    def backward_step(
        self, number: int, operation: Operation, kept: Kept, after: Tensor | None, gradient: Layer
    ) -> None:
        """One operation of block `number` was passed backwards; `after` is the gradient it put out."""


@runtime_checkable
class ParameterGroup(Protocol):
    """Parameters that belong together, of every trial of a stack that has them; or their gradients.

    Tensors by name, of any rank, each with a leading axis of trials: the first ones of the stack, in which
    deeper trials come first.
    """

    @property
    def unit_axis(self) -> int:
        """The axis of a tensor that counts output units, where it has one."""

    def named(self) -> Mapping[str, Tensor]:
        """The group's tensors by name, in a fixed order."""

    def mapped(self, function: Callable[[Tensor], Tensor]) -> ParameterGroup:
        """A group whose tensors are the function of these."""


@runtime_checkable
class Model(Protocol):
    """What training needs of a stack of networks, whatever its family."""

    @property
    def depths(self) -> tuple[int, ...]:
        """Depth of each trial, deepest first."""

    def parameters(self) -> Sequence[ParameterGroup]:
        """All that is trained and clipped, the readout last."""

    def hidden_weights(self) -> list[Tensor]:
        """The weight of each group of parameters but the readout."""

    def outputs(self, inputs: Tensor, workspace: Workspace) -> Tensor:
        """What the readout puts out, (trials, batch, outputs)."""

    def loss_gradients(
        self,
        batch: tuple[Tensor, Tensor],
        loss: Loss,
        gradients: Sequence[Any],
        workspace: Workspace,
        observer: Observer | None = None,
    ) -> Tensor:
        """The losses of a batch, in float64; writes into `gradients`, which are shaped as `parameters()`."""

    def cast(self, dtype: torch.dtype) -> Model:
        """The same networks in another number format."""

    def selected(self, keep: Tensor) -> Model:
        """The stack of some of its trials; `keep` holds their indices in rising order."""
