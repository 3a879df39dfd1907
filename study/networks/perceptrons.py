"""Stacks of multilayer perceptrons: many trials of different depth as one set of tensors.

The trials of a stack are sorted by depth, deepest first, so layer l holds only the trials deep enough to have
it: the first `counts[l − 1]`. A trial that ends at layer l hands its rows to the readout there, and in the
backward pass takes them up again; nothing is padded.

Every block ends (or, without a skip connection, begins) at a *tap*: the place where the pre-activation h^l
and its gradient δ^l are read. Without a skip h^l is what the linear map W^l puts out; with one it is the
stream after block l. An `Observer` sees every tap and every step of the backward pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from gradatlas.study.choices.activations import ACTIVATIONS
from gradatlas.study.choices.initializers import INITIALIZERS
from gradatlas.study.choices.losses import Loss
from gradatlas.study.choices.structures import block_kinds
from gradatlas.study.networks.blocks import Kept, Layer, Operation, operations
from gradatlas.study.networks.model import Observer, Workspace
from gradatlas.study.networks.readout import draw_readout, loss_through_readout, read_out
from gradatlas.study.randomness import stream
from gradatlas.study.shapes import Float
from gradatlas.study.trial import Trial


@dataclass(frozen=True)
class Network:
    """Parameters and structure of a stack of perceptrons."""

    depths: tuple[int, ...]  # deepest first
    layers: list[Layer]
    readout: Layer
    blocks: list[tuple[Operation, ...]]
    has_skip: bool
    branch_scale: Tensor | None  # (trials, 1, 1)

    @cached_property
    def counts(self) -> list[int]:
        """How many trials have layer 1, 2, …, and a closing 0."""
        return [sum(depth > index for depth in self.depths) for index in range(self.depths[0] + 1)]

    def parameters(self) -> list[Layer]:
        """The hidden layers and the readout: all that is trained and clipped."""
        return [*self.layers, self.readout]

    def hidden_weights(self) -> list[Tensor]:
        """The weight of each hidden layer."""
        return [layer.weight for layer in self.layers]

    def outputs(self, inputs: Float[Tensor, "batch features"], workspace: Workspace) -> Tensor:
        """What the readout puts out, (trials, batch, outputs)."""
        return read_out(self.readout, forward(self, inputs, workspace).output, workspace)[0]

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
        tape = forward(self, inputs, workspace, observer)
        losses, gradient = loss_through_readout(
            self.readout, tape.output, targets, loss=loss, gradient=gradients[-1], workspace=workspace
        )
        backward(self, tape, gradient, gradients, workspace, observer)
        return losses

    def cast(self, dtype: torch.dtype) -> Network:
        """The same networks in another number format."""
        scale = None if self.branch_scale is None else self.branch_scale.to(dtype)
        layers = [layer.mapped(lambda tensor: tensor.to(dtype)) for layer in self.layers]
        readout = self.readout.mapped(lambda tensor: tensor.to(dtype))
        return replace(self, layers=layers, readout=readout, branch_scale=scale)

    def selected(self, keep: Tensor) -> Network:
        """The stack of some of its trials; `keep` holds their indices in rising order."""
        depths = tuple(self.depths[index] for index in keep.tolist())
        layers = []
        for layer in self.layers:
            chosen = keep[keep < len(layer.weight)]
            if len(chosen):
                layers.append(layer.mapped(lambda tensor, rows=chosen: tensor[rows]))  # type: ignore[misc]
        scale = None if self.branch_scale is None else self.branch_scale[keep]
        return replace(
            self,
            depths=depths,
            layers=layers,
            readout=self.readout.mapped(lambda tensor: tensor[keep]),
            blocks=self.blocks[: len(layers)],
            branch_scale=scale,
        )


def build(
    trials: Sequence[Trial], *, features: int | None = None, dtype: torch.dtype, device: torch.device
) -> Network:
    """The initial networks of trials that share a pack key, deepest first; drawn in float64, then cast.

    `features` is the input's dimension (default: the trials').
    """
    depths = tuple(trial.depth for trial in trials)
    assert sorted(depths, reverse=True) == list(depths)
    first = trials[0]
    features = first.features if features is None else features
    drawn = [_draw_layers(trial, features) for trial in trials]

    def stacked(arrays: list[np.ndarray]) -> Tensor:
        # In C's order: a stack of transposed matrices would keep theirs.
        return torch.from_numpy(np.ascontiguousarray(np.stack(arrays))).to(device=device, dtype=dtype)

    layers, blocks = [], []
    for index in range(depths[0]):
        deep_enough = [layer[index] for layer in drawn if len(layer) > index]
        layer = Layer(
            stacked([weight for weight, _ in deep_enough]), stacked([bias for _, bias in deep_enough])
        )
        kinds = block_kinds(
            layer=index + 1, norm=first.norm, norm_position=first.norm_position, skip=first.skip
        )
        if "norm" in kinds:
            layer.norm_scale = torch.ones_like(layer.bias)
            layer.norm_shift = torch.zeros_like(layer.bias)
        layers.append(layer)
        blocks.append(operations(kinds, ACTIVATIONS[first.activation], first.norm, first.norm_eps))
    readout = stacked([draw_readout(trial) for trial in trials])
    scale = torch.tensor([1.0 / math.sqrt(depth) for depth in depths], dtype=torch.float64)
    return Network(
        depths=depths,
        layers=layers,
        readout=Layer(readout, readout.new_zeros((len(trials), 1, readout.shape[2]))),
        blocks=blocks,
        has_skip=first.skip != "none",
        branch_scale=scale.to(device, dtype).view(-1, 1, 1) if first.skip == "scaled" else None,
    )


def _draw_layers(trial: Trial, features: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(weight, bias) of each hidden layer of one trial."""
    scheme = INITIALIZERS[trial.init]
    weights, biases = stream(trial.seed, "weights"), stream(trial.seed, "biases")
    drawn = []
    for index in range(trial.depth):
        fan_in = features if index == 0 else trial.width
        weight = scheme.draw(weights, fan_in, trial.width) * trial.weight_gain
        bias = biases.standard_normal((1, trial.width)) * trial.bias_std
        if scheme.uniform_bias:
            bound = 1.0 / math.sqrt(fan_in)
            bias += biases.uniform(-bound, bound, (1, trial.width))
        drawn.append((weight, bias))
    return drawn


@dataclass
class Tape:
    """What the backward pass needs of a forward pass: per block, its applied operations."""

    output: Float[Tensor, "trials batch width"]
    blocks: list[list[tuple[Operation, Layer, Kept]]]


def forward(
    network: Network,
    inputs: Float[Tensor, "batch features"],
    workspace: Workspace,
    observer: Observer | None = None,
) -> Tape:
    """What the last block of each trial puts out, with the tape for `backward`."""
    counts = network.counts
    x = inputs.expand(counts[0], *inputs.shape)
    output: Tensor | None = None
    blocks = []
    for number, layer in enumerate(network.layers, 1):
        x, applied = _block_forward(network, number, layer, x[: counts[number - 1]], workspace, observer)
        blocks.append(applied)
        ending = slice(counts[number], counts[number - 1])
        if counts[number] == 0 and output is None:
            output = x  # all trials have the same depth
        elif counts[number] < counts[number - 1]:
            output = workspace.take("output", (counts[0], *x.shape[1:])) if output is None else output
            output[ending] = x[ending]
    assert output is not None
    return Tape(output, blocks)


def _block_forward(
    network: Network, number: int, layer: Layer, x: Tensor, workspace: Workspace, observer: Observer | None
) -> tuple[Tensor, list[tuple[Operation, Layer, Kept]]]:
    scratch = workspace.within(str(number))
    block_input, applied = x, []
    for operation in network.blocks[number - 1]:
        used, parameters = (operation, layer) if observer is None else observer.adapted(operation, layer)
        x, kept = used.forward(parameters, x, scratch, is_block_input=x is block_input)
        applied.append((used, parameters, kept))
        if observer is not None and operation.kind == "linear" and not network.has_skip:
            observer.forward_tap(number, x)
    if network.has_skip and number > 1:
        stream_after = scratch("stream", tuple(x.shape))
        if network.branch_scale is None:
            x = torch.add(block_input, x, out=stream_after)
        else:
            x = torch.addcmul(block_input, x, network.branch_scale[: len(x)], out=stream_after)
    if observer is not None and network.has_skip:
        observer.forward_tap(number, x)
    return x, applied


def backward(
    network: Network,
    tape: Tape,
    output_gradient: Float[Tensor, "trials batch width"],
    gradients: Sequence[Layer],
    workspace: Workspace,
    observer: Observer | None = None,
) -> None:
    """Writes every hidden layer's parameter gradients into `gradients`; overwrites `output_gradient`."""
    running = output_gradient
    spare = [workspace.take(f"backward {name}", tuple(running.shape)) for name in ("a", "b")]
    if not network.has_skip:
        # Without a stream the gradient goes to and fro between two tensors. Trials that end at a later
        # block wait in both: a block writes only the rows of the trials that have it.
        spare[0].copy_(running)
    for number in range(len(network.layers), 0, -1):
        count = network.counts[number - 1]
        pair = (spare[0][:count], spare[1][:count])
        block = tape.blocks[number - 1]
        _block_backward(network, number, block, running[:count], pair, gradients[number - 1], observer)
        if not network.has_skip:
            running, spare[0] = spare[0], running


def _block_backward(
    network: Network,
    number: int,
    applied: list[tuple[Operation, Layer, Kept]],
    running: Tensor,
    spare: tuple[Tensor, Tensor],
    gradient: Layer,
    observer: Observer | None,
) -> None:
    """Turns the gradient at the block's output, in `running`, into the gradient at its input: in place where
    there is a skip, else in the first spare tensor."""
    g = running
    if observer is not None and network.has_skip:
        observer.backward_tap(number, g)
    if network.branch_scale is not None and number > 1:
        g = torch.mul(running, network.branch_scale[: len(running)], out=spare[0])
    for operation, layer, kept in reversed(applied):
        is_linear = operation.kind == "linear"
        if observer is not None and is_linear and not network.has_skip:
            observer.backward_tap(number, g)
        out: Tensor | None
        if not is_linear:
            out = spare[0] if network.has_skip and g is running else g
        elif number == 1:
            out = None  # nobody asks for the gradient at the data
        else:
            out = spare[1] if g is spare[0] else spare[0]
        g = operation.backward(layer, g, kept, gradient, out)
        if observer is not None:
            observer.backward_step(number, operation, kept, None if out is None else g, gradient)
    if network.has_skip and number > 1:
        running.add_(g)
