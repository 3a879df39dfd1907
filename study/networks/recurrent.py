"""Stacks of recurrent networks: many trials of one length as one set of tensors, read out at the end.

Depth is the number of time steps; the weights are the same at every step. A trial has two groups of
parameters: its cell (W_hh, W_ih and the biases, one `Layer`) and its readout. Axes: inputs are (batch,
steps, features), the drive of a stack is (trials, steps, batch, units).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from gradatlas.study.choices.activations import ACTIVATIONS
from gradatlas.study.choices.initializers import INITIALIZERS
from gradatlas.study.choices.losses import Loss
from gradatlas.study.networks.blocks import Kept, Layer
from gradatlas.study.networks.model import Observer, Workspace
from gradatlas.study.networks.readout import draw_readout, loss_through_readout, read_out
from gradatlas.study.networks.recurrent_cells import CELLS, Cell, State
from gradatlas.study.randomness import stream
from gradatlas.study.shapes import Float
from gradatlas.study.trial import Trial


@dataclass(frozen=True)
class RecurrentNetwork:
    """Parameters and structure of a stack of recurrent networks."""

    depths: tuple[int, ...]  # all the same
    cell: Cell
    layer: Layer
    readout: Layer

    def parameters(self) -> list[Layer]:
        """The cell's parameters and the readout's: all that is trained and clipped."""
        return [self.layer, self.readout]

    def hidden_weights(self) -> list[Tensor]:
        """W_hh, the one weight between hidden states."""
        return [self.layer.weight]

    def outputs(self, inputs: Float[Tensor, "batch steps features"], workspace: Workspace) -> Tensor:
        """What the readout puts out after the last step, (trials, batch, outputs)."""
        state, _ = forward(self, inputs, workspace)
        return read_out(self.readout, self.cell.read(state), workspace)[0]

    def loss_gradients(
        self,
        batch: tuple[Tensor, Tensor],
        loss: Loss,
        gradients: Sequence[Layer],
        workspace: Workspace,
        observer: Observer | None = None,
    ) -> Float[Tensor, " trials"]:
        """The losses of a batch, in float64; writes the gradients of `parameters()`."""
        inputs, targets = batch
        state, tape = forward(self, inputs, workspace, observer)
        read = self.cell.read(state)
        losses, at_read = loss_through_readout(
            self.readout, read, targets, loss=loss, gradient=gradients[-1], workspace=workspace
        )
        at_state = self.cell.read_backward(state, at_read)
        backward(self, inputs, (tape, at_state), gradients[0], workspace, observer)
        return losses

    def cast(self, dtype: torch.dtype) -> RecurrentNetwork:
        """The same networks in another number format."""
        layer, readout = (part.mapped(lambda tensor: tensor.to(dtype)) for part in (self.layer, self.readout))
        return replace(self, layer=layer, readout=readout)

    def selected(self, keep: Tensor) -> RecurrentNetwork:
        """The stack of some of its trials; `keep` holds their indices in rising order."""
        return replace(
            self,
            depths=tuple(self.depths[index] for index in keep.tolist()),
            layer=self.layer.mapped(lambda tensor: tensor[keep]),
            readout=self.readout.mapped(lambda tensor: tensor[keep]),
        )


def build(
    trials: Sequence[Trial], *, features: int | None = None, dtype: torch.dtype, device: torch.device
) -> RecurrentNetwork:
    """The initial networks of trials that share a pack key; drawn in float64, then cast.

    `features` is the dimension of one step's input (default: the trials').
    """
    depths = tuple(trial.depth for trial in trials)
    assert len(set(depths)) == 1
    first = trials[0]
    features = first.features if features is None else features
    cell = CELLS[first.family](ACTIVATIONS[first.activation])
    drawn = [_draw_cell(trial, cell, features) for trial in trials]

    def stacked(arrays: Sequence[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(arrays)).to(device=device, dtype=dtype)

    weights, biases, input_weights = zip(*drawn, strict=True)
    readout = stacked([draw_readout(trial) for trial in trials])
    return RecurrentNetwork(
        depths=depths,
        cell=cell,
        layer=Layer(stacked(weights), stacked(biases), input_weight=stacked(input_weights)),
        readout=Layer(readout, readout.new_zeros((len(trials), 1, readout.shape[2]))),
    )


def _draw_cell(trial: Trial, cell: Cell, features: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(W_hh, bias, W_ih) of one trial, each gate drawn by the scheme as a matrix of its own."""
    scheme = INITIALIZERS[trial.init]

    def gates(purpose: str, fan_in: int, gain: float) -> np.ndarray:
        generator = stream(trial.seed, purpose)
        drawn = [scheme.draw(generator, fan_in, trial.width) for _ in range(cell.gates)]
        return np.concatenate(drawn, axis=1) * gain

    biases = stream(trial.seed, "biases")
    shape = (1, cell.biases * trial.width)
    bias = biases.standard_normal(shape) * trial.bias_std
    if scheme.uniform_bias:
        bound = 1.0 / np.sqrt(trial.width)
        bias += biases.uniform(-bound, bound, shape)
    weight = gates("weights", trial.width, trial.weight_gain)
    return weight, bias, gates("input weights", features, trial.input_gain)


def steps_first(
    inputs: Float[Tensor, "batch steps features"], trials: int
) -> Float[Tensor, "trials steps_x_batch features"]:
    """The inputs as one matrix, time slowest, seen by every trial."""
    flat = inputs.transpose(0, 1).flatten(0, 1)
    return flat.expand(trials, *flat.shape)


def drives(
    layer: Layer, inputs: Float[Tensor, "batch steps features"], workspace: Workspace
) -> Float[Tensor, "trials steps batch units"]:
    """x_t W_ih + b at every step; biases without input weights come last."""
    assert layer.input_weight is not None
    x = steps_first(inputs, len(layer.weight))
    drive = workspace.take("drive", (*x.shape[:2], layer.bias.shape[2])).copy_(
        layer.bias.expand(-1, x.shape[1], -1)
    )
    drive[..., : layer.input_weight.shape[2]].baddbmm_(x, layer.input_weight)
    return drive.view(len(drive), inputs.shape[1], inputs.shape[0], drive.shape[2])


def forward(
    network: RecurrentNetwork,
    inputs: Float[Tensor, "batch steps features"],
    workspace: Workspace,
    observer: Observer | None = None,
) -> tuple[State, list[Kept]]:
    """(The state after the last step, what the backward pass needs of each step)."""
    drive = drives(network.layer, inputs, workspace)
    state: State | None = None
    tape = []
    for index in range(drive.shape[1]):
        state, kept = network.cell.forward(network.layer.weight, drive[:, index], state)
        tape.append(kept)
        if observer is not None:
            observer.forward_tap(index + 1, state[0])
    assert state is not None
    return state, tape


def backward(
    network: RecurrentNetwork,
    inputs: Float[Tensor, "batch steps features"],
    passed: tuple[list[Kept], State],
    gradient: Layer,
    workspace: Workspace,
    observer: Observer | None = None,
) -> None:
    """Writes the cell's gradients; `passed` is the tape and the gradient at the last state."""
    tape, running = passed
    assert gradient.input_weight is not None
    x = steps_first(inputs, len(gradient.weight))
    at_drive = workspace.take("drive gradient", (*x.shape[:2], gradient.bias.shape[2]))
    by_step = at_drive.view(len(at_drive), inputs.shape[1], inputs.shape[0], at_drive.shape[2])
    gradient.weight.zero_()
    for index in reversed(range(len(tape))):
        if observer is not None:
            observer.backward_tap(index + 1, running[0])
        step = network.cell.backward(network.layer.weight, running, tape[index])
        gradient.weight.baddbmm_(tape[index][0].transpose(1, 2), step.recurrent)
        by_step[:, index] = step.drive
        running = step.previous
    columns = gradient.input_weight.shape[2]
    torch.bmm(x.transpose(1, 2), at_drive[..., :columns], out=gradient.input_weight)
    # A product with ones, not a sum: its bits do not depend on the number of trials beside.
    ones = at_drive.new_ones((1, 1, 1)).expand(len(at_drive), 1, at_drive.shape[1])
    torch.bmm(ones, at_drive, out=gradient.bias)
