"""Where a network goes non-finite: found by passing the same batch once more and watching the taps."""

from __future__ import annotations

import torch
from torch import Tensor

from gradatlas.study.choices.losses import Loss
from gradatlas.study.networks.blocks import Layer, Operation
from gradatlas.study.networks.model import Model, Workspace
from gradatlas.study.shapes import Int


class _FiniteLayers:
    """Notes the first layer whose signal and the last whose gradient is not finite; 0: none."""

    def __init__(self, trials: int, device: torch.device) -> None:
        self.forward = torch.zeros(trials, dtype=torch.int64, device=device)
        self.backward = torch.zeros_like(self.forward)

    def adapted(self, operation: Operation, layer: Layer) -> tuple[Operation, Layer]:
        """Nothing is changed."""
        return operation, layer

    def _note(self, first: Tensor, number: int, values: Tensor) -> None:
        bad = ~values.isfinite().all(dim=2).all(dim=1)
        first[: len(bad)][bad & (first[: len(bad)] == 0)] = number

    def forward_tap(self, number: int, h: Tensor) -> None:
        """Layers come first to last."""
        self._note(self.forward, number, h)

    def backward_tap(self, number: int, delta: Tensor) -> None:
        """Layers come last to first."""
        self._note(self.backward, number, delta)

    def backward_step(self, *unused: object) -> None:
        """Nothing to note."""


def first_bad_layers(network: Model, batch: tuple[Tensor, Tensor], loss: Loss) -> Int[Tensor, " trials"]:
    """The layer at which each trial went non-finite: the first on the way forward, or, where the signal is
    finite, the first on the way back; -1 where all layers are finite."""
    notes = _FiniteLayers(len(network.depths), batch[0].device)
    gradients = [layer.mapped(torch.empty_like) for layer in network.parameters()]
    network.loss_gradients(batch, loss, gradients, Workspace(batch[0].dtype, batch[0].device), notes)
    first = torch.where(notes.forward > 0, notes.forward, notes.backward)
    return torch.where(first > 0, first, -1)
