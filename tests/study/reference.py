"""The outside truth: one trial as plain torch.nn modules, torch.optim and torch.nn.utils, trained alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from gradatlas.study.choices.tasks import Data, batch_indices
from gradatlas.study.networks.perceptrons import build
from gradatlas.study.regimes import DEFAULT_LIMITS
from gradatlas.study.training.pack import Training
from gradatlas.study.trial import Trial
from tests.study.oracles import ACTIVATION_MODULES, BLOCKS, NONLINEAR, NORM_MODULES, OPTIMIZERS


class Reference(nn.Module):
    """The network of SCIENCE.md for one trial, written as its definitions read."""

    def __init__(self, trial: Trial, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.trial = trial
        self.phi = ACTIVATION_MODULES[trial.activation]()
        stacked = build([trial], dtype=torch.float64, device=torch.device("cpu"))
        self.linears = nn.ModuleList(_linear(layer.weight[0], layer.bias[0, 0]) for layer in stacked.layers)
        self.norms = nn.ModuleList(
            NORM_MODULES[trial.norm if index else "none"](trial.width, trial.norm_eps)
            for index in range(trial.depth)
        )
        self.readout = _linear(stacked.readout.weight[0], stacked.readout.bias[0, 0])
        self.to(dtype)

    def hidden(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """(h^1 … h^L, what the readout takes)."""
        block, order = BLOCKS[self.trial.skip], NONLINEAR[self.trial.norm_position]
        taps = []
        for index, (linear, norm) in enumerate(zip(self.linears, self.norms, strict=True)):
            nonlinear = order(self.phi, norm)
            if block is None:
                taps.append(linear(x))
                x = nonlinear(taps[-1])
            else:
                x = block(linear, nonlinear, self.trial.depth)(x) if index else linear(x)
                taps.append(x)
        return taps, x

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.hidden(x)[1])


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    module = nn.Linear(*weight.shape)
    with torch.no_grad():
        module.weight = nn.Parameter(weight.T.clone())
        module.bias = nn.Parameter(bias.clone())
    return module


def _clip_units(model: nn.Module, limit: float) -> None:
    """Adaptive clipping of Brock et al. (2021), unit by unit; as in their code a vector is one unit, also
    where it is the weight of a single input."""
    for parameter in model.parameters():
        is_vector = parameter.squeeze().ndim < 2
        units = [slice(None)] if is_vector else list(range(len(parameter)))
        for unit in units:
            allowed = limit * max(float(parameter.detach()[unit].norm()), 1e-3)
            if float(parameter.grad[unit].norm()) > allowed:
                parameter.grad[unit] *= allowed / parameter.grad[unit].norm()


def _flat_gradient(model: nn.Module) -> Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def _move_by_an_ulp(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.mul_(1 + torch.finfo(parameter.dtype).eps / 2 * noise)


def _has_diverged(losses: list[float]) -> bool:
    return not all(value <= DEFAULT_LIMITS.diverged_factor * losses[0] for value in losses)


def loss_on_test_split(
    model: nn.Module, data: Data, loss: Callable[..., Tensor], trial: Trial, losses: list[float]
) -> float:
    """The mean loss, in batches of the training's size; nan if the trial diverged."""
    if _has_diverged(losses):
        return math.nan
    examples = len(data.test_inputs)
    split = data.test_inputs, data.test_targets
    return mean_loss(model, split, loss, examples=examples, size=min(trial.batch_size, examples))


@torch.no_grad()
def mean_loss(
    model: nn.Module, split: tuple[Tensor, Tensor], loss: Callable[..., Tensor], *, examples: int, size: int
) -> float:
    """The mean loss over the first examples of a split, in batches of exactly a size."""
    inputs, targets = split
    total = 0.0
    for done in range(0, examples, size):
        start = max(0, min(done, examples - size))  # the last batch is a whole one too
        counted = min(size, examples - done)
        outputs = model(inputs[start : start + size])[done - start :][:counted]
        total += counted * loss(outputs, targets[done : done + counted]).item()
    return total / examples


def probe_loss(
    model: nn.Module, data: Data, loss: Callable[..., Tensor], trial: Trial, losses: list[float]
) -> float:
    """The mean loss over the first `probe_size` training examples; nan after the trial diverged."""
    if _has_diverged(losses):
        return math.nan
    split = data.inputs, data.targets
    return mean_loss(model, split, loss, examples=trial.probe_size, size=trial.batch_size)


def recorded(training: Training, name: str, index: int) -> np.ndarray:
    """What a pack recorded of one trial, by step or once."""
    return np.atleast_2d(getattr(training, name))[:, index]


def trained_alone(trial: Trial, data: Data, *, moved: int | None = None) -> dict[str, list[float]]:
    """Losses, gradient norms and what clipping did to the direction, at each step, and the loss over the
    test split at the end; by torch, in float64.

    With `moved`, a seed, from weights that are moved at random by about their last bit.
    """
    model = Reference(trial)
    if moved is not None:
        _move_by_an_ulp(model, moved)
    optimizer = OPTIMIZERS[trial.optimizer](trial, model.parameters())
    record: dict[str, list[float]] = {"losses": [], "norms_before": [], "norms_after": [], "cosines": []}
    compare = nn.functional.mse_loss if data.targets.is_floating_point() else nn.functional.cross_entropy
    record |= {"probe_losses": [probe_loss(model, data, compare, trial, [])]} if trial.probe_size else {}
    for step in range(trial.steps):
        chosen = batch_indices(len(data.inputs), trial.batch_size, step)
        loss = compare(model(data.inputs[chosen]), data.targets[chosen])
        optimizer.zero_grad()
        loss.backward()
        record["losses"].append(loss.item())
        record["norms_before"].append(float(nn.utils.get_total_norm([p.grad for p in model.parameters()])))
        before = _flat_gradient(model)
        if trial.clip_adaptive is not None:
            _clip_units(model, trial.clip_adaptive)
        if trial.clip_value is not None:
            nn.utils.clip_grad_value_(model.parameters(), trial.clip_value)
        shaped = trial.clip_adaptive is not None or trial.clip_value is not None
        cosine = nn.functional.cosine_similarity(before, _flat_gradient(model), dim=0)
        record["cosines"].append(float(cosine) if shaped else float("nan"))
        if trial.clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), trial.clip_norm)
        record["norms_after"].append(float(nn.utils.get_total_norm([p.grad for p in model.parameters()])))
        optimizer.step()
        if trial.probe_size:
            record["probe_losses"].append(probe_loss(model, data, compare, trial, record["losses"]))
    record["test_loss"] = [loss_on_test_split(model, data, compare, trial, record["losses"])]
    return record
