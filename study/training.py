"""Training of a pack: many trials at once, each as if it were alone.

A trial that diverges is reported and its rows leave the pack: it touches no neighbour and costs nothing more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from study.blocks import Kept, Layer, Operation
from study.clipping import clip_values, gradient_norms, norm_factors
from study.networks import READOUT, Network, Observer, Tape, Workspace, backward, build, forward
from study.optimizers import OPTIMIZERS
from study.regimes import DEFAULT_LIMITS, Limits
from study.shapes import Float, Int
from study.tasks import Data, batch_indices, loss_and_gradient
from study.trial import Trial


@dataclass(frozen=True)
class Training:
    """What training left of each trial; nan or -1 where there is nothing to say.

    Axes: (trials,), or (steps, trials) for what was recorded at every step; steps that a diverged trial did
    not do are nan. `update` is ‖W_end − W_start‖/‖W_start‖ by layer, (trials, layers).
    """

    losses: np.ndarray
    norms_before: np.ndarray
    norms_after: np.ndarray
    cosines: np.ndarray
    accuracy: np.ndarray
    diverged_step: np.ndarray
    diverged_layer: np.ndarray
    update: np.ndarray


class _Pack:
    """The trials still in training, and everything that has a row for each of them."""

    def __init__(self, trials: Sequence[Trial], dtype: torch.dtype, device: torch.device) -> None:
        self.network = build(trials, dtype=dtype, device=device)
        self.start = [layer.weight.clone() for layer in self.network.layers]
        self.places = torch.arange(len(trials), device=device)

        def column(name: str, missing: float = np.inf) -> Tensor:
            values = [getattr(trial, name) for trial in trials]
            filled = [missing if value is None else value for value in values]
            return torch.tensor(filled, dtype=torch.float64, device=device)

        self.learning_rate = column("learning_rate")
        self.clip_norm, self.clip_value = column("clip_norm"), column("clip_value")
        self.first_loss = torch.full_like(self.learning_rate, torch.nan)
        self._make_gradients()

    def _make_gradients(self) -> None:
        self.gradients = [layer.mapped(torch.empty_like) for layer in self.network.every_layer()]
        self.clips_values = bool(self.clip_value.isfinite().any())

    def drop(self, gone: Tensor) -> None:
        """Removes rows; the gradients of the others stay."""
        keep = (~gone).nonzero().squeeze(1)
        gradients = self.gradients
        self.network = self.network.selected(keep)
        self.start = [w[keep[keep < len(w)]] for w in self.start][: len(self.network.layers)]
        for name in ("places", "learning_rate", "clip_norm", "clip_value", "first_loss"):
            setattr(self, name, getattr(self, name)[keep])
        hidden = gradients[: len(self.network.layers)]
        self.gradients = [
            layer.mapped(lambda tensor: tensor[keep[keep < len(tensor)]])
            for layer in (*hidden, gradients[-1])
        ]
        self.clips_values = bool(self.clip_value.isfinite().any())


def train(
    trials: Sequence[Trial],
    data: Data,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Training:
    """Trains trials that share a pack key, deepest first."""
    device = torch.device("cpu") if device is None else device
    steps, batch_size = trials[0].steps, trials[0].batch_size
    pack = _Pack(trials, dtype, device)
    record = _Record(trials, steps, device)
    workspace = Workspace(dtype, device)
    inputs, labels = data.inputs.to(device, dtype), data.labels.to(device)
    update = OPTIMIZERS[trials[0].optimizer]
    for step in range(steps):
        chosen = torch.from_numpy(batch_indices(len(inputs), batch_size, step)).to(device)
        batch = inputs[chosen], labels[chosen]
        losses = _gradients(pack.network, batch, pack.gradients, workspace)
        if step == 0:
            pack.first_loss = losses
        norms = gradient_norms(pack.gradients)
        value_clipped_norms, cosines = _clip_values(pack, norms)
        factors = norm_factors(value_clipped_norms, pack.clip_norm)
        norms_after = value_clipped_norms * factors
        record.write(
            step, pack.places, losses=losses, norms_before=norms, norms_after=norms_after, cosines=cosines
        )
        diverged = ~(losses <= limits.diverged_factor * pack.first_loss) | ~norms_after.isfinite()
        if diverged.any():
            _record_divergence(record, pack, diverged, batch, step)
            pack.drop(diverged)
            if len(pack.places) == 0:
                break
            factors = factors[~diverged]
        step_size = (pack.learning_rate * factors).to(dtype).view(-1, 1, 1)
        for layer, gradient in zip(pack.network.every_layer(), pack.gradients, strict=True):
            for parameter, its_gradient in zip(layer.tensors(), gradient.tensors(), strict=True):
                update(parameter, its_gradient, step_size[: len(parameter)])
    if len(pack.places):
        _record_end(record, pack, data, batch_size, workspace)
    return record.training()


def _gradients(
    network: Network,
    batch: tuple[Tensor, Tensor],
    gradients: Sequence[Layer],
    workspace: Workspace,
    observer: Observer | None = None,
) -> Float[Tensor, " trials"]:
    """The losses of a batch, in float64; writes the gradients of all parameters."""
    inputs, labels = batch
    tape = forward(network, inputs, workspace, observer)
    logits, kept = _logits(network, tape, workspace)
    losses, gradient = loss_and_gradient(logits, labels)
    out = workspace.take("output gradient", tuple(tape.output.shape))
    READOUT.backward(network.readout, gradient, kept, gradients[-1], out)
    backward(network, tape, out, gradients, workspace, observer)
    return losses.double()


def _logits(network: Network, tape: Tape, workspace: Workspace) -> tuple[Tensor, Kept]:
    return READOUT.forward(network.readout, tape.output, workspace.within("readout"), is_block_input=True)


def _clip_values(pack: _Pack, norms: Tensor) -> tuple[Tensor, Tensor]:
    """Clips by value; the norms then, and the cosine between the gradient before and after."""
    cosines = torch.full_like(norms, torch.nan)
    if not pack.clips_values:
        return norms, cosines
    before = [layer.mapped(torch.clone) for layer in pack.gradients]
    clip_values(pack.gradients, pack.clip_value)
    after = torch.where(pack.clip_value.isfinite(), gradient_norms(pack.gradients), norms)
    products = torch.zeros_like(norms)
    for old, new in zip(before, pack.gradients, strict=True):
        for x, y in zip(old.tensors(), new.tensors(), strict=True):
            products[: len(x)] += (x.double() * y.double()).sum(dim=(1, 2))
    return after, torch.where(pack.clip_value.isfinite(), products / (norms * after), cosines)


class _Record:
    """What is written down while a pack trains, by the trials' places at the start."""

    def __init__(self, trials: Sequence[Trial], steps: int, device: torch.device) -> None:
        names = ("losses", "norms_before", "norms_after", "cosines")
        self.accuracy = torch.full((len(trials),), torch.nan, dtype=torch.float64, device=device)
        self._at_steps = {name: self.accuracy.repeat(steps, 1) for name in names}
        self.diverged_step = torch.full((len(trials),), -1, device=device)
        self.diverged_layer = torch.full((len(trials),), -1, device=device)
        self.update = self.accuracy.repeat(trials[0].depth, 1).T

    def write(self, step: int, places: Tensor, **values: Tensor) -> None:
        """One step's values of the trials at these places."""
        for name, column in values.items():
            self._at_steps[name][step, places] = column

    def training(self) -> Training:
        """The record as arrays."""
        rest = ("accuracy", "diverged_step", "diverged_layer", "update")
        tensors = self._at_steps | {name: getattr(self, name) for name in rest}
        return Training(**{name: tensor.cpu().numpy() for name, tensor in tensors.items()})


def _record_divergence(
    record: _Record, pack: _Pack, diverged: Tensor, batch: tuple[Tensor, Tensor], step: int
) -> None:
    """Where and when: the step, and the first layer at which something was not finite."""
    rows = diverged.nonzero().squeeze(1)
    record.diverged_step[pack.places[rows]] = step
    record.diverged_layer[pack.places[rows]] = first_bad_layers(pack.network.selected(rows), batch)


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


def first_bad_layers(network: Network, batch: tuple[Tensor, Tensor]) -> Int[Tensor, " trials"]:
    """The layer at which each trial went non-finite: the first on the way forward, or, where the signal is
    finite, the first on the way back; -1 where all layers are finite."""
    notes = _FiniteLayers(len(network.depths), batch[0].device)
    gradients = [layer.mapped(torch.empty_like) for layer in network.every_layer()]
    _gradients(network, batch, gradients, Workspace(batch[0].dtype, batch[0].device), notes)
    first = torch.where(notes.forward > 0, notes.forward, notes.backward)
    return torch.where(first > 0, first, -1)


def _record_end(record: _Record, pack: _Pack, data: Data, batch_size: int, workspace: Workspace) -> None:
    """Accuracy on the test split and how far each layer moved, of the trials that did not diverge."""
    network = pack.network
    inputs, labels = data.test_inputs.to(network.readout.weight), data.test_labels.to(pack.places.device)
    # In parts of a training batch's size: a batch norm sees as many examples as it did in training.
    parts = -(-len(inputs) // batch_size)
    correct = torch.zeros(len(pack.places), dtype=torch.float64, device=inputs.device)
    for examples, answers in zip(inputs.tensor_split(parts), labels.tensor_split(parts), strict=True):
        logits, _ = _logits(network, forward(network, examples, workspace), workspace)
        correct += (logits.argmax(dim=-1) == answers).sum(dim=1)
    record.accuracy[pack.places] = correct / len(inputs)
    for index, (layer, start) in enumerate(zip(network.layers, pack.start, strict=True)):
        moved = torch.linalg.vector_norm(layer.weight - start, dim=(1, 2)).double()
        size = torch.linalg.vector_norm(start, dim=(1, 2)).double()
        record.update[pack.places[: len(moved)], index] = moved / size
