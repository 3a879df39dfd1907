"""Training of a pack: many trials at once, each as if it were alone.

A trial that diverges is reported and its rows leave the pack: it touches no neighbour and costs nothing more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from study.clipping import clip_values, gradient_norms, norm_factors
from study.divergence import first_bad_layers
from study.losses import Loss
from study.networks import Workspace, build
from study.optimizers import OPTIMIZERS
from study.regimes import DEFAULT_LIMITS, Limits
from study.tasks import TASKS, Data, batch_indices
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
        self.start = [weight.clone() for weight in self.network.hidden_weights()]
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
        kept = len(self.network.hidden_weights())
        self.start = [start[keep[keep < len(start)]] for start in self.start[:kept]]
        for name in ("places", "learning_rate", "clip_norm", "clip_value", "first_loss"):
            setattr(self, name, getattr(self, name)[keep])
        self.gradients = [
            layer.mapped(lambda tensor: tensor[keep[keep < len(tensor)]])
            for layer in (*gradients[:kept], gradients[-1])
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
    inputs, targets = data.inputs.to(device, dtype), data.targets.to(device)
    loss, update = TASKS[trials[0].task].loss, OPTIMIZERS[trials[0].optimizer]
    for step in range(steps):
        chosen = torch.from_numpy(batch_indices(len(inputs), batch_size, step)).to(device)
        batch = inputs[chosen], targets[chosen]
        losses = pack.network.loss_gradients(batch, loss, pack.gradients, workspace)
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
            _record_divergence(record, pack, diverged, batch, loss, step)
            pack.drop(diverged)
            if len(pack.places) == 0:
                break
            factors = factors[~diverged]
        step_size = (pack.learning_rate * factors).to(dtype).view(-1, 1, 1)
        for layer, gradient in zip(pack.network.every_layer(), pack.gradients, strict=True):
            for parameter, its_gradient in zip(layer.tensors(), gradient.tensors(), strict=True):
                update(parameter, its_gradient, step_size[: len(parameter)])
    if len(pack.places):
        _record_end(record, pack, data, loss, batch_size, workspace)
    return record.training()


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
    record: _Record, pack: _Pack, diverged: Tensor, batch: tuple[Tensor, Tensor], loss: Loss, step: int
) -> None:
    """Where and when: the step, and the first layer at which something was not finite."""
    rows = diverged.nonzero().squeeze(1)
    record.diverged_step[pack.places[rows]] = step
    record.diverged_layer[pack.places[rows]] = first_bad_layers(pack.network.selected(rows), batch, loss)


def _record_end(
    record: _Record, pack: _Pack, data: Data, loss: Loss, batch_size: int, workspace: Workspace
) -> None:
    """Accuracy on the test split and how far each layer moved, of the trials that did not diverge."""
    if loss.correct is not None:
        inputs, targets = data.test_inputs.to(pack.start[0]), data.test_targets.to(pack.places.device)
        # In parts of a training batch's size: a batch norm sees as many examples as it did in training.
        parts = -(-len(inputs) // batch_size)
        correct = torch.zeros(len(pack.places), dtype=torch.float64, device=inputs.device)
        for examples, answers in zip(inputs.tensor_split(parts), targets.tensor_split(parts), strict=True):
            correct += loss.correct(pack.network.outputs(examples, workspace), answers).sum(dim=1)
        record.accuracy[pack.places] = correct / len(inputs)
    for index, (weight, start) in enumerate(zip(pack.network.hidden_weights(), pack.start, strict=True)):
        moved = torch.linalg.vector_norm(weight - start, dim=(1, 2)).double()
        size = torch.linalg.vector_norm(start, dim=(1, 2)).double()
        record.update[pack.places[: len(moved)], index] = moved / size
