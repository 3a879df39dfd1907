"""Training by stacked operations of torch: every step does all trials of a pack at once, on any device.

Steps before a window's last do not look at what diverged, since that would make the host wait for the device:
a trial that did so is frozen there with `where`. (Multiplying with zero would not do: 0 · ∞ is not a number.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gradatlas.study.choices.optimizers import OPTIMIZERS
from gradatlas.study.choices.tasks import task_named
from gradatlas.study.networks.model import ParameterGroup
from gradatlas.study.networks.readout import loss_of_outputs
from gradatlas.study.training.clipping import (
    clip_units,
    clip_values,
    gradient_norms,
    norm_factors,
    of_trials,
    tensors_of,
    within_trial,
)
from gradatlas.study.training.engine import AT_STEPS, Batches, Probe, TrainingState, Window
from gradatlas.study.trial import Trial

_LONGEST_WINDOW = 32  # steps between two looks at a device that works beside the host


def engine(trial: Trial, device: torch.device) -> StackedEngine:
    """The engine for packs of such a trial."""
    # On a CPU a look costs nothing.
    return StackedEngine(trial, longest_window=1 if device.type == "cpu" else _LONGEST_WINDOW)


class StackedEngine:
    """Stacked operations, whatever the family: the network says how its losses and gradients are made."""

    def __init__(self, trial: Trial, *, longest_window: int) -> None:
        self.longest_window = longest_window
        self._loss, self._optimizer = task_named(trial.task).loss, OPTIMIZERS[trial.optimizer]
        self._gradients: list[ParameterGroup] = []  # the same memory in every step

    def steps(self, state: TrainingState, batches: Batches) -> Window:
        """As `Engine.steps`."""
        self._gradients = _shaped_as(state.network.parameters(), self._gradients)
        recorded: dict[str, list[Tensor]] = {name: [] for name in AT_STEPS}
        count, has_diverged = len(batches.inputs), False
        for index, batch in enumerate(zip(*batches, strict=True)):
            step = state.steps_done + index
            factors = self._take_gradients(state, batch, step, recorded)
            running = state.columns["diverged_step"] < 0
            if index + 1 == count:
                has_diverged = not bool(running.all())
            all_run = index + 1 == count and not has_diverged
            self._update(state, factors, step, None if all_run else running)
        return Window({name: torch.stack(values) for name, values in recorded.items()}, has_diverged)

    def probe_losses(self, state: TrainingState, probe: Probe) -> Tensor:
        """As `Engine.probe_losses`."""
        total = torch.zeros_like(state.columns["first_loss"])
        for inputs, targets, (first, last) in zip(*probe.batches, probe.counted, strict=True):
            outputs = state.network.outputs(inputs, state.workspace)[:, first:last].contiguous()
            total += (last - first) * loss_of_outputs(outputs, targets[first:last], self._loss)[0]
        return total / sum(last - first for first, last in probe.counted)

    def _take_gradients(
        self, state: TrainingState, batch: tuple[Tensor, Tensor], step: int, recorded: dict[str, list[Tensor]]
    ) -> Tensor:
        """Makes the gradients of a batch, and writes down what they are like; the factors that clip them."""
        columns = state.columns
        losses = state.network.loss_gradients(batch, self._loss, self._gradients, state.workspace)
        if step == 0:
            columns["first_loss"] = losses
        norms = gradient_norms(self._gradients)
        shaped_norms, cosines = self._shape_gradients(state, norms)
        factors = norm_factors(shaped_norms, columns["clip_norm"])
        for name, values in zip(AT_STEPS, (losses, norms, shaped_norms * factors, cosines), strict=True):
            recorded[name].append(values)
        diverged = ~(losses <= state.diverged_factor * columns["first_loss"])
        diverged |= ~recorded["norms_after"][-1].isfinite()
        known = columns["diverged_step"]
        columns["diverged_step"] = torch.where(diverged & (known < 0), step, known)
        return factors

    def _shape_gradients(self, state: TrainingState, norms: Tensor) -> tuple[Tensor, Tensor]:
        """Clips by unit and by value; the norms then, and the cosine between before and after."""
        unit_limits, value_limits = state.columns["clip_adaptive"], state.columns["clip_value"]
        cosines = torch.full_like(norms, torch.nan)
        if not state.clips_in_use & {"clip_adaptive", "clip_value"}:
            return norms, cosines
        before = [group.mapped(torch.clone) for group in self._gradients]
        if "clip_adaptive" in state.clips_in_use:
            clip_units(self._gradients, state.network.parameters(), unit_limits)
        if "clip_value" in state.clips_in_use:
            clip_values(self._gradients, value_limits)
        shaped = unit_limits.isfinite() | value_limits.isfinite()
        after = torch.where(shaped, gradient_norms(self._gradients), norms)
        products = _inner_products(before, self._gradients)
        return after, torch.where(shaped, products / (norms * after), cosines)

    def _update(self, state: TrainingState, factors: Tensor, step: int, running: Tensor | None) -> None:
        """One step of the optimizer for all trials, or for those still running."""
        parameters = state.network.parameters()
        dtype = next(iter(parameters[0].named().values())).dtype
        exact = torch.float32 if dtype == torch.bfloat16 else dtype
        rates = {name: state.columns[name] for name in self._optimizer.rates} | {"clip": factors}
        rates = {name: rate.to(exact) for name, rate in rates.items()}
        # In place where that may be: not in bfloat16, in which 1 − adam_beta2 would be zero.
        in_place = running is None and dtype == exact
        # By identity: a tensor is no key of a dictionary.
        weights = state.network.hidden_weights()
        sums = {id(weight): total for weight, total in zip(weights, state.updates, strict=True)}
        tensors = zip(*map(tensors_of, (parameters, self._gradients, *state.slots)), strict=True)
        for parameter, gradient, *slots in tensors:
            those = {name: of_trials(rate, parameter) for name, rate in rates.items()}
            value = parameter if in_place else parameter.to(exact, copy=True)
            its_gradient = gradient if in_place else gradient.to(exact)
            targets = [value, sums[id(parameter)]] if id(parameter) in sums else [value]
            self._optimizer.update(targets, its_gradient, tuple(slots), those, step + 1)
            if running is not None:
                changed = of_trials(running, parameter)
                torch.where(changed, value.to(parameter.dtype), parameter, out=parameter)
            elif not in_place:
                parameter.copy_(value)


def _shaped_as(
    parameters: Sequence[ParameterGroup], gradients: Sequence[ParameterGroup]
) -> list[ParameterGroup]:
    """Gradients for these parameters: those that are there if they fit, else new ones."""
    shapes = [[tensor.shape for tensor in tensors_of(groups)] for groups in (parameters, gradients)]
    if shapes[0] == shapes[1]:
        return list(gradients)
    return [group.mapped(torch.empty_like) for group in parameters]


def _inner_products(before: Sequence[ParameterGroup], after: Sequence[ParameterGroup]) -> Tensor:
    """⟨before, after⟩ of each trial, in float64."""
    pairs = list(zip(tensors_of(before), tensors_of(after), strict=True))
    trials = max(len(x) for x, _ in pairs)
    total = torch.zeros(trials, dtype=torch.float64, device=pairs[0][0].device)
    for x, y in pairs:
        product = x.double() * y.double()
        total[: len(x)] += product.sum(dim=within_trial(product)) if product.dim() > 1 else product
    return total
