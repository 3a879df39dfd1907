"""Training of a pack: many trials at once, each as if it were alone.

A trial that diverges is reported and its rows leave the pack: it touches no neighbour and costs nothing more.
A pack's state can be saved between two steps and goes on as if it had not stopped.

Asking a device which trials diverged makes the host wait for it. So steps are done in *windows*, and the host
asks, and drops rows, at the last step of each. Until then a trial that diverged is frozen on the device: its
step is noted and its parameters stay, so that the layer can be found from them and from that step's batch.
What is written down does not depend on the windows' length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gradatlas.study.choices.optimizers import OPTIMIZERS
from gradatlas.study.choices.tasks import Data, batch_indices, task_named
from gradatlas.study.families import FAMILIES
from gradatlas.study.networks.blocks import Layer
from gradatlas.study.networks.divergence import first_bad_layers
from gradatlas.study.networks.model import Model, Workspace
from gradatlas.study.profiles.profile import probes
from gradatlas.study.regimes import DEFAULT_LIMITS, Limits
from gradatlas.study.state import load_tensors, save_tensors
from gradatlas.study.training import machine_code as plain
from gradatlas.study.training.clipping import clip_units, clip_values, gradient_norms, norm_factors
from gradatlas.study.trial import Trial

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
_CLIPS = ("clip_adaptive", "clip_value", "clip_norm")
_AT_STEPS = ("losses", "norms_before", "norms_after", "cosines")
_LONGEST_WINDOW = 32  # steps between two checks of a device that works beside the host


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
    measured_gradient: np.ndarray  # (measurements, trials, layers), as in a Profile; so the next two
    measured_forward: np.ndarray
    measured_weight_gradient: np.ndarray


def train(
    trials: Sequence[Trial],
    data: Data,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Training:
    """Trains trials that share a pack key, deepest first; in their own dtype unless another is given."""
    pack = PackInTraining(trials, data, dtype=dtype, device=device, limits=limits)
    pack.advance(trials[0].steps)
    return pack.training()


class PackInTraining:
    """The trials still in training, everything that has a row for each of them, and what is written down.

    `check_every` is the longest window, in steps; 1 on a CPU, where asking costs nothing, but 32 in machine
    code, which takes a trial through all steps of a window. `initial` is the
    stack that training starts from, in any number format; without it, it is drawn.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        data: Data,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
        limits: Limits = DEFAULT_LIMITS,
        check_every: int | None = None,
        initial: Model | None = None,
    ) -> None:
        self._trials, self._limits, first = trials, limits, trials[0]
        self._device = torch.device("cpu") if device is None else device
        self._dtype = DTYPES[first.dtype] if dtype is None else dtype
        self._is_compiled = plain.takes(first, self._dtype, self._device)
        default = 1 if self._device.type == "cpu" and not self._is_compiled else _LONGEST_WINDOW
        self._check_every = default if check_every is None else check_every
        self._loss, self._optimizer = task_named(first.task).loss, OPTIMIZERS[first.optimizer]
        self._data = data
        self._inputs, self._targets = self._on_device(data.inputs, data.targets)
        self._workspace = Workspace(self._dtype, self._device)
        self.steps_done = 0
        self._measured_steps = log_spaced_steps(first.steps, first.measure_steps)
        self._places = torch.arange(len(trials), device=self._device)
        family = FAMILIES[first.family]
        drawn = initial or family.build(trials, dtype=self._dtype, device=self._device)
        self._network = drawn.cast(self._dtype)
        self._start = [weight.clone() for weight in self._network.hidden_weights()]
        self._columns = {name: self._column(name) for name in (*_CLIPS, *self._optimizer.rates)} | {
            "first_loss": torch.full_like(self._places, torch.nan, dtype=torch.float64),
            "diverged_step": torch.full_like(self._places, -1),
        }
        self._clips_in_use = _clips_in_use(trials)
        layers = self._network.every_layer()
        # In machine code a trial's gradient is where the core works on it, and nowhere else.
        self._gradients = [] if self._is_compiled else [layer.mapped(torch.empty_like) for layer in layers]
        self._exact = torch.float32 if self._dtype == torch.bfloat16 else self._dtype
        self._slots = [
            [layer.mapped(partial(torch.zeros_like, dtype=self._exact)) for layer in layers]
            for _ in range(self._optimizer.slots)
        ]
        self._record = _blank_record(trials, self._device)

    def _on_device(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        kept = targets if targets.dtype == torch.int64 else targets.to(self._dtype)
        return inputs.to(self._device, self._dtype), kept.to(self._device)

    def _column(self, name: str) -> Tensor:
        """One parameter of every trial; off is infinity."""
        values = [getattr(trial, name) for trial in self._trials]
        filled = [np.inf if value is None else value for value in values]
        return torch.tensor(filled, dtype=torch.float64, device=self._device)

    def advance(self, steps: int) -> None:
        """Trains up to `steps` more, no further than the trials' own number."""
        end = min(self.steps_done + steps, self._trials[0].steps)
        while self.steps_done < end and len(self._places):
            self._train_to(self._end_of_window(end))
            if self.steps_done in self._measured_steps and len(self._places):
                self._measure(self._measured_steps.index(self.steps_done))

    def _end_of_window(self, end: int) -> int:
        """The number of steps after which the host asks again."""
        # Most trials that diverge do so early and are best dropped soon: 1, 1, 2, 4, … steps.
        window = min(max(1, self.steps_done), self._check_every)
        measured = [step for step in self._measured_steps if step > self.steps_done]
        return min(self.steps_done + window, end, *measured)

    def _train_to(self, end: int) -> None:
        """Trains a window; only its last step waits for the device."""
        examples, size = len(self._inputs), self._trials[0].batch_size
        chosen = [batch_indices(examples, size, step) for step in range(self.steps_done, end)]
        batches = torch.from_numpy(np.stack(chosen)).to(self._device)
        if self._is_compiled:
            self._train_compiled(batches)
            return
        for rows in batches:
            factors = self._take_gradients(rows)
            running = self._columns["diverged_step"] < 0
            if self.steps_done + 1 < end:
                self._update(factors, running)
            else:
                if not running.all():
                    self._drop(~running, batches)
                    factors = factors[running]
                if len(self._places):
                    self._update(factors)
            self.steps_done += 1

    def _train_compiled(self, batches: Tensor) -> None:
        """Trains a window in machine code, trial by trial."""
        end = self.steps_done + len(batches)
        recorded = plain.train(
            self._trials[0],
            self._network.depths,
            self._network.every_layer(),
            self._slots,
            self._columns,
            self._batch(batches),
            steps_done=self.steps_done,
            diverged_factor=self._limits.diverged_factor,
        )
        for name, values in recorded.items():
            self._record[name][self.steps_done : end, self._places] = values
        self.steps_done = end - 1  # in a window's last step, as `_drop` expects
        diverged = self._columns["diverged_step"] >= 0
        if diverged.any():
            self._drop(diverged, batches)
        self.steps_done = end

    def _measure(self, index: int) -> None:
        """The profile as it is now, with the inputs and the probe of the one at initialisation."""
        family, batch_size = FAMILIES[self._trials[0].family], self._trials[0].batch_size
        examples = self._data.inputs[batch_indices(len(self._inputs), batch_size, 0)]
        probe = probes([self._trials[place] for place in self._places.tolist()], batch_size)
        inputs = examples.to(self._device, torch.float64)
        profile = family.measured(self._network.cast(torch.float64), inputs, probe.to(self._device))
        for name in ("gradient", "forward", "weight_gradient"):
            values = torch.from_numpy(getattr(profile, name)).to(self._device)
            self._record[f"measured_{name}"][index, self._places, : values.shape[1]] = values

    def _batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return self._inputs[rows], self._targets[rows]

    def _take_gradients(self, rows: Tensor) -> Tensor:
        """Writes the gradients of a batch, and down what they are like; the factors that clip their norms."""
        batch = self._batch(rows)
        losses = self._network.loss_gradients(batch, self._loss, self._gradients, self._workspace)
        if self.steps_done == 0:
            self._columns["first_loss"] = losses
        norms = gradient_norms(self._gradients)
        shaped_norms, cosines = self._shape_gradients(norms)
        factors = norm_factors(shaped_norms, self._columns["clip_norm"])
        norms_after = shaped_norms * factors
        self._write(losses=losses, norms_before=norms, norms_after=norms_after, cosines=cosines)
        limit = self._limits.diverged_factor * self._columns["first_loss"]
        diverged = ~(losses <= limit) | ~norms_after.isfinite()
        known = self._columns["diverged_step"]
        self._columns["diverged_step"] = torch.where(diverged & (known < 0), self.steps_done, known)
        return factors

    def _shape_gradients(self, norms: Tensor) -> tuple[Tensor, Tensor]:
        """Clips by unit and by value; the norms then, and the cosine between before and after."""
        unit_limits, value_limits = self._columns["clip_adaptive"], self._columns["clip_value"]
        cosines = torch.full_like(norms, torch.nan)
        if not self._clips_in_use & {"clip_adaptive", "clip_value"}:
            return norms, cosines
        before = [layer.mapped(torch.clone) for layer in self._gradients]
        if "clip_adaptive" in self._clips_in_use:
            clip_units(self._gradients, self._network.every_layer(), unit_limits)
        if "clip_value" in self._clips_in_use:
            clip_values(self._gradients, value_limits)
        shaped = unit_limits.isfinite() | value_limits.isfinite()
        after = torch.where(shaped, gradient_norms(self._gradients), norms)
        products = _inner_products(before, self._gradients)
        return after, torch.where(shaped, products / (norms * after), cosines)

    def _update(self, factors: Tensor, running: Tensor | None = None) -> None:
        """One step of the optimizer for all trials, or for those still running."""
        rates = {name: self._columns[name] for name in self._optimizer.rates} | {"clip": factors}
        rates = {name: rate.to(self._exact).view(-1, 1, 1) for name, rate in rates.items()}
        # In place where that may be: not in bfloat16, in which 1 − adam_beta2 would be zero.
        in_place = running is None and self._dtype == self._exact
        layers = zip(self._network.every_layer(), self._gradients, strict=True)
        for index, (layer, gradient) in enumerate(layers):
            count = layer.weight.shape[0]
            those = {name: rate[:count] for name, rate in rates.items()}
            kept = [slot[index].tensors() for slot in self._slots]
            tensors = zip(layer.tensors(), gradient.tensors(), *kept, strict=True)
            for parameter, its_gradient, *slots in tensors:
                value = parameter if in_place else parameter.to(self._exact, copy=True)
                exact = its_gradient if in_place else its_gradient.to(self._exact)
                self._optimizer.update(value, exact, tuple(slots), those, self.steps_done + 1)
                if running is not None:
                    changed = running[:count].view(-1, 1, 1)
                    torch.where(changed, value.to(parameter.dtype), parameter, out=parameter)
                elif not in_place:
                    parameter.copy_(value)

    def _write(self, **values: Tensor) -> None:
        for name, column in values.items():
            self._record[name][self.steps_done, self._places] = column

    def _drop(self, diverged: Tensor, batches: Tensor) -> None:
        """Records where and when trials diverged in this window, and removes their rows."""
        steps = self._columns["diverged_step"]
        self._record["diverged_step"][self._places[diverged]] = steps[diverged]
        last = self.steps_done
        for step in steps[diverged].unique().tolist():
            rows = (steps == step).nonzero().squeeze(1)
            gone = self._places[rows]
            for name in _AT_STEPS:
                self._record[name][step + 1 : last + 1, gone] = torch.nan
            self._record["diverged_layer"][gone] = first_bad_layers(
                self._network.selected(rows), self._batch(batches[step - last - 1]), self._loss
            )
        self._keep((~diverged).nonzero().squeeze(1))

    def _keep(self, rows: Tensor) -> None:
        """Leaves only some rows of everything that has a row for each trial."""
        if len(rows) == 0:
            self._places, self._gradients, self._slots = self._places[rows], [], []
            return
        self._network = self._network.selected(rows)
        hidden = len(self._network.hidden_weights())
        self._start = [start[rows[rows < len(start)]] for start in self._start[:hidden]]
        self._places = self._places[rows]
        self._columns = {name: column[rows] for name, column in self._columns.items()}
        self._clips_in_use = _clips_in_use([self._trials[place] for place in self._places.tolist()])
        self._gradients = _selected(self._gradients, rows, hidden)
        self._slots = [_selected(slot, rows, hidden) for slot in self._slots]

    def training(self) -> Training:
        """What was written down, and how the trials that did not diverge end."""
        if len(self._places):
            self._measure_end()
        return Training(**{name: tensor.cpu().numpy() for name, tensor in self._record.items()})

    def _measure_end(self) -> None:
        """Accuracy on the test split and how far each layer moved."""
        if self._loss.correct is not None:
            inputs, targets = self._on_device(self._data.test_inputs, self._data.test_targets)
            # In parts of a training batch's size: a batch norm sees as many examples as in training.
            parts = -(-len(inputs) // self._trials[0].batch_size)
            correct = torch.zeros(len(self._places), dtype=torch.float64, device=self._device)
            for examples, answers in zip(
                inputs.tensor_split(parts), targets.tensor_split(parts), strict=True
            ):
                outputs = self._network.outputs(examples, self._workspace)
                correct += self._loss.correct(outputs, answers).sum(dim=1)
            self._record["accuracy"][self._places] = correct / len(inputs)
        for index, (weight, start) in enumerate(
            zip(self._network.hidden_weights(), self._start, strict=True)
        ):
            moved = torch.linalg.vector_norm(weight.double() - start.double(), dim=(1, 2))
            size = torch.linalg.vector_norm(start.double(), dim=(1, 2))
            self._record["update"][self._places[: len(moved)], index] = moved / size

    def _tensors(self) -> dict[str, Tensor]:
        """Everything that changes from step to step, by name."""
        groups = {"parameter": self._network.every_layer()} | {
            f"slot {number}": slot for number, slot in enumerate(self._slots)
        }
        named = {
            f"{group} {index} {place}": tensor
            for group, layers in groups.items()
            for index, layer in enumerate(layers)
            for place, tensor in enumerate(layer.tensors())
        }
        record = {f"record {name}": tensor for name, tensor in self._record.items()}
        return named | record | {"first_loss": self._columns["first_loss"]}

    def save(self, path: Path) -> None:
        """Writes the state between two steps (.npz); from it `load` goes on bit for bit on one device."""
        done = torch.tensor(self.steps_done)
        tensors = (
            self._tensors() if len(self._places) else {f"record {n}": t for n, t in self._record.items()}
        )
        save_tensors(path, {"steps_done": done, "places": self._places, **tensors})

    def load(self, path: Path) -> None:
        """Takes up a state that `save` wrote for the same trials; raises ValueError for another's."""
        stored = load_tensors(path)
        if stored["record losses"].shape != self._record["losses"].shape:
            raise ValueError(
                f"{path}: must be the state of these {len(self._trials)} trials, but it is of others"
            )
        self.steps_done = int(stored["steps_done"])
        self._keep(stored["places"].to(self._device))
        named = self._tensors() if len(self._places) else {f"record {n}": t for n, t in self._record.items()}
        for name, tensor in named.items():
            tensor.copy_(stored[name])


def log_spaced_steps(steps: int, count: int) -> list[int]:
    """At most `count` numbers of steps from 1 to `steps`, even in the logarithm, without repetitions."""
    if count == 0 or steps == 0:
        return []
    return np.unique(np.geomspace(1, steps, count).round().astype(int)).tolist() if count > 1 else [steps]


def _blank_record(trials: Sequence[Trial], device: torch.device) -> dict[str, Tensor]:
    blank = torch.full((len(trials),), torch.nan, dtype=torch.float64, device=device)
    none = torch.full_like(blank, -1, dtype=torch.int64)
    measurements = len(log_spaced_steps(trials[0].steps, trials[0].measure_steps))
    measured = blank[:, None].repeat(measurements, 1, trials[0].depth)
    return {name: blank.repeat(trials[0].steps, 1) for name in _AT_STEPS} | {
        "accuracy": blank,
        "diverged_step": none,
        "diverged_layer": none.clone(),
        "update": blank.repeat(trials[0].depth, 1).T.contiguous(),
        **{f"measured_{name}": measured.clone() for name in ("gradient", "forward", "weight_gradient")},
    }


def _clips_in_use(trials: Sequence[Trial]) -> set[str]:
    return {name for name in _CLIPS for trial in trials if getattr(trial, name) is not None}


def _selected(layers: Sequence[Layer], rows: Tensor, hidden: int) -> list[Layer]:
    """The rows of some trials of each layer that one of them has; the readout comes last."""
    if not layers:
        return []
    return [
        layer.mapped(lambda tensor: tensor[rows[rows < len(tensor)]])
        for layer in (*layers[:hidden], layers[-1])
    ]


def _inner_products(before: Sequence[Layer], after: Sequence[Layer]) -> Tensor:
    """⟨before, after⟩ of each trial, in float64."""
    total = torch.zeros(len(before[-1].weight), dtype=torch.float64, device=before[-1].weight.device)
    for old, new in zip(before, after, strict=True):
        for x, y in zip(old.tensors(), new.tensors(), strict=True):
            total[: len(x)] += (x.double() * y.double()).sum(dim=(1, 2))
    return total
