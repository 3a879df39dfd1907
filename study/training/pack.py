"""Training of a pack: many trials at once, each as if it were alone.

A trial that diverges is reported and its rows leave the pack: it touches no neighbour and costs nothing more.
A pack's state can be saved between two steps and goes on as if it had not stopped.

Asking a device which trials diverged makes the host wait for it. So steps are done in *windows*, and the host
asks, and drops rows, at the last step of each. Until then a trial that diverged is frozen on the device: its
step is noted and its parameters stay, so that the layer can be found from them and from that step's batch.
What is written down does not depend on the windows' length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gradatlas.study.choices.optimizers import OPTIMIZERS
from gradatlas.study.choices.tasks import Data, batch_indices, task_named
from gradatlas.study.families import ARCHITECTURES
from gradatlas.study.networks.divergence import first_bad_layers
from gradatlas.study.networks.model import Model, ParameterGroup, Workspace
from gradatlas.study.profiles.profile import probes
from gradatlas.study.regimes import DEFAULT_LIMITS, Limits
from gradatlas.study.state import load_tensors, save_tensors
from gradatlas.study.training.clipping import trial_norms
from gradatlas.study.training.engine import AT_STEPS, CLIPS, Batches, Probe, TrainingState, engine_of
from gradatlas.study.training.probing import parts, probe_steps
from gradatlas.study.trial import Trial

_EXAMPLES_AT_ONCE = 1024  # of the test split, whose outputs are kept at a time

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}


@dataclass(frozen=True)
class Training:
    """What training left of each trial; nan or -1 where there is nothing to say.

    Axes: (trials,), or (steps, trials) for what was recorded at every step; steps that a diverged trial did
    not do are nan. `update` is ‖Σ updates‖/‖W_start‖ by layer, (trials, layers).
    """

    losses: np.ndarray
    norms_before: np.ndarray
    norms_after: np.ndarray
    cosines: np.ndarray
    accuracy: np.ndarray  # of the test split; so the next one
    test_loss: np.ndarray
    diverged_step: np.ndarray
    diverged_layer: np.ndarray
    update: np.ndarray
    probe_losses: np.ndarray  # (probe steps, trials)
    diverged_probe_loss: np.ndarray  # of the parameters that a trial diverged with
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
    """The trials still in training, and what is written down of all of them.

    `check_every` is the longest window, in steps; by default the engine's. `initial` is the stack that
    training starts from, in any number format; without it, it is drawn.
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
        self._trials, first = trials, trials[0]
        self._device = torch.device("cpu") if device is None else device
        self._dtype = DTYPES[first.dtype] if dtype is None else dtype
        self._engine = engine_of(first, dtype=self._dtype, device=self._device)
        self._check_every = self._engine.longest_window if check_every is None else check_every
        self._loss, self._data = task_named(first.task).loss, data
        self._inputs, self._targets = self._on_device(data.inputs, data.targets)
        self._measured_steps = log_spaced_steps(first.steps, first.measure_steps)
        self._probe_steps = probe_steps(first.steps, first.probe_size)
        self._probe = self._probe_of(first) if self._probe_steps else None
        self._indices = torch.arange(len(trials), device=self._device)
        family = ARCHITECTURES[first.family]
        drawn = initial or family.build(trials, dtype=self._dtype, device=self._device)
        self._state = self._first_state(drawn.cast(self._dtype), limits)
        self._start_norms = _norms_by_layer(self._network.hidden_weights())
        self._record = _blank_record(trials, self._device)

    def _first_state(self, network: Model, limits: Limits) -> TrainingState:
        first, optimizer = self._trials[0], OPTIMIZERS[self._trials[0].optimizer]
        exact = torch.float32 if self._dtype == torch.bfloat16 else self._dtype
        blank = partial(torch.zeros_like, dtype=exact)
        return TrainingState(
            trial=first,
            network=network,
            slots=[[group.mapped(blank) for group in network.parameters()] for _ in range(optimizer.slots)],
            updates=[blank(weight) for weight in network.hidden_weights()],
            columns={name: self._column(name) for name in (*CLIPS, *optimizer.rates)}
            | {
                "first_loss": torch.full_like(self._indices, torch.nan, dtype=torch.float64),
                "diverged_step": torch.full_like(self._indices, -1),
            },
            clips_in_use=_clips_in_use(self._trials),
            steps_done=0,
            diverged_factor=limits.diverged_factor,
            workspace=Workspace(self._dtype, self._device),
        )

    def _on_device(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        kept = targets if targets.dtype == torch.int64 else targets.to(self._dtype)
        return inputs.to(self._device, self._dtype), kept.to(self._device)

    def _probe_of(self, trial: Trial) -> Probe:
        """The first `probe_size` training examples."""
        cut = parts(trial.probe_size, trial.batch_size)
        starts = torch.tensor([part.start for part in cut], device=self._device)
        rows = starts[:, None] + torch.arange(trial.batch_size, device=self._device)
        return Probe(self._batches(rows), [(first - start, last - start) for start, first, last in cut])

    def _column(self, name: str) -> Tensor:
        """One parameter of every trial; off is infinity."""
        values = [getattr(trial, name) for trial in self._trials]
        filled = [np.inf if value is None else value for value in values]
        return torch.tensor(filled, dtype=torch.float64, device=self._device)

    @property
    def steps_done(self) -> int:
        """Training steps behind the trials still running."""
        return self._state.steps_done

    @property
    def _network(self) -> Model:
        return self._state.network

    def advance(self, steps: int) -> None:
        """Trains up to `steps` more, no further than the trials' own number."""
        end = min(self.steps_done + steps, self._trials[0].steps)
        if self.steps_done == 0 < end:
            self._take_probe()
        while self.steps_done < end and len(self._indices):
            self._train_to(self._end_of_window(end))
            self._take_probe()
            if self.steps_done in self._measured_steps and len(self._indices):
                self._measure(self._measured_steps.index(self.steps_done))

    def _end_of_window(self, end: int) -> int:
        """The number of steps after which the host asks again."""
        # Most trials that diverge do so early and are best dropped soon: 1, 1, 2, 4, … steps.
        window = min(max(1, self.steps_done), self._check_every)
        stops = [step for step in (*self._measured_steps, *self._probe_steps) if step > self.steps_done]
        return min(self.steps_done + window, end, *stops)

    def _train_to(self, end: int) -> None:
        """Trains a window, and drops the trials that diverged in it."""
        examples, size, done = len(self._inputs), self._trials[0].batch_size, self.steps_done
        chosen = [batch_indices(examples, size, step) for step in range(done, end)]
        rows = torch.from_numpy(np.stack(chosen)).to(self._device)
        batches = self._batches(rows)
        window = self._engine.steps(self._state, batches)
        for name, values in window.recorded.items():
            self._record[name][done:end, self._indices] = values
        self._state.steps_done = end
        if window.has_diverged:
            self._drop(self._state.columns["diverged_step"] >= 0, batches)

    def _take_probe(self) -> None:
        """Writes down the probe's losses, if this is a step at which they are wanted."""
        if self._probe is not None and self.steps_done in self._probe_steps and len(self._indices):
            index = self._probe_steps.index(self.steps_done)
            losses = self._engine.probe_losses(self._state, self._probe)
            self._record["probe_losses"][index, self._indices] = losses

    def _measure(self, index: int) -> None:
        """The profile as it is now, with the inputs and the probe of the one at initialisation."""
        family, batch_size = ARCHITECTURES[self._trials[0].family], self._trials[0].batch_size
        examples = self._data.inputs[batch_indices(len(self._inputs), batch_size, 0)]
        probe = probes(self._running(), batch_size)
        inputs = examples.to(self._device, torch.float64)
        profile = family.measured(self._network.cast(torch.float64), inputs, probe.to(self._device))
        for name in ("gradient", "forward", "weight_gradient"):
            values = torch.from_numpy(getattr(profile, name)).to(self._device)
            self._record[f"measured_{name}"][index, self._indices, : values.shape[1]] = values

    def _running(self) -> list[Trial]:
        """The trials still in training."""
        return [self._trials[index] for index in self._indices.tolist()]

    def _batches(self, rows: Tensor) -> Batches:
        return Batches(self._inputs[rows], self._targets[rows])

    def _drop(self, diverged: Tensor, batches: Batches) -> None:
        """Records where and when trials diverged in the window that ends now, and removes their rows."""
        steps, end = self._state.columns["diverged_step"], self.steps_done
        self._record["diverged_step"][self._indices[diverged]] = steps[diverged]
        for step in sorted(set(steps[diverged].tolist())):
            rows = (steps == step).nonzero().squeeze(1)
            gone = self._indices[rows]
            for name in AT_STEPS:
                self._record[name][step + 1 : end, gone] = torch.nan
            batch = batches.inputs[step - end], batches.targets[step - end]
            left = self._state.selected(rows)
            self._record["diverged_layer"][gone] = first_bad_layers(left.network, batch, self._loss)
            if self._probe is not None:
                self._record["diverged_probe_loss"][gone] = self._engine.probe_losses(left, self._probe)
        self._keep((~diverged).nonzero().squeeze(1))

    def _keep(self, rows: Tensor) -> None:
        """Leaves only some rows of everything that has a row for each trial."""
        self._indices = self._indices[rows]
        if len(rows) == 0:
            return
        self._state = self._state.selected(rows)
        self._state.clips_in_use = _clips_in_use(self._running())

    def training(self) -> Training:
        """What was written down, and how the trials that did not diverge end."""
        test_loss = torch.full_like(self._record["accuracy"], torch.nan)
        if len(self._indices):
            test_loss[self._indices], self._record["accuracy"][self._indices] = self._on_test_split()
            self._measure_updates()
        found = self._record | {"test_loss": test_loss}
        return Training(**{name: tensor.cpu().numpy() for name, tensor in found.items()})

    def _on_test_split(self) -> tuple[Tensor, Tensor]:
        """The mean loss, and the share of right answers or nan, of each trial that did not diverge."""
        inputs, targets = self._on_device(self._data.test_inputs, self._data.test_targets)
        losses, correct = torch.zeros(2, len(self._indices), dtype=torch.float64, device=self._device)
        done = 0
        for outputs in self._test_outputs(inputs):
            answers = targets[done : (done := done + outputs.shape[1])]
            if self._loss.correct is not None:
                correct += self._loss.correct(outputs, answers).sum(dim=1)
            # One trial at a time: the last bits of an element depend on how many stand beside it.
            means = [self._loss.value_and_gradient(one.double()[None], answers)[0] for one in outputs]
            losses += outputs.shape[1] * torch.cat(means)
        if self._loss.correct is None:
            correct.fill_(torch.nan)
        return losses / len(inputs), correct / len(inputs)

    def _test_outputs(self, inputs: Tensor) -> Iterator[Tensor]:
        """The outputs for all examples in their order, (trials, part, outputs) for some of them at a time.

        In batches of the training's size, or one of all examples where they are fewer.
        """
        size = min(self._trials[0].batch_size, len(inputs))
        cut, at_once = parts(len(inputs), size), max(1, _EXAMPLES_AT_ONCE // size)
        for index in range(0, len(cut), at_once):
            batches = []
            for start, first, last in cut[index : index + at_once]:
                outputs = self._network.outputs(inputs[start : start + size], self._state.workspace)
                batches.append(outputs[:, first - start : last - start].clone())
            yield torch.cat(batches, dim=1)

    def _measure_updates(self) -> None:
        """How far each layer moved, from the sums of its updates."""
        moved = _norms_by_layer(self._state.updates)
        layers = moved.shape[1]
        self._record["update"][self._indices, :layers] = moved / self._start_norms[self._indices, :layers]

    def _tensors(self) -> dict[str, Tensor]:
        """Everything that changes from step to step, by name."""
        kinds: dict[str, Sequence[ParameterGroup]] = {"parameter": self._network.parameters()} | {
            f"slot {number}": slot for number, slot in enumerate(self._state.slots)
        }
        named = {
            f"{kind} {index} {number}": tensor
            for kind, groups in kinds.items()
            for index, group in enumerate(groups)
            for number, tensor in enumerate(group.named().values())
        }
        updates = {f"update {index}": total for index, total in enumerate(self._state.updates)}
        record = {f"record {name}": tensor for name, tensor in self._record.items()}
        return named | updates | record | {"first_loss": self._state.columns["first_loss"]}

    def save(self, path: Path) -> None:
        """Writes the state between two steps (.npz); from it `load` goes on bit for bit on one device."""
        done = torch.tensor(self.steps_done)
        tensors = (
            self._tensors() if len(self._indices) else {f"record {n}": t for n, t in self._record.items()}
        )
        # Files of earlier versions call the indices places: so that they can be read, files go on doing so.
        save_tensors(path, {"steps_done": done, "places": self._indices, **tensors})

    def load(self, path: Path) -> None:
        """Takes up a state that `save` wrote for the same trials; raises ValueError for another's, and for
        one of an earlier version, which lacks what is written down since."""
        stored = load_tensors(path)
        if stored["record losses"].shape != self._record["losses"].shape:
            raise ValueError(
                f"{path}: must be the state of these {len(self._trials)} trials, but it is of others"
            )
        self._state.steps_done = int(stored["steps_done"])
        self._keep(stored["places"].to(self._device))
        named = self._tensors() if len(self._indices) else {f"record {n}": t for n, t in self._record.items()}
        if missing := named.keys() - stored.keys():
            raise ValueError(f"{path}: must be a state of this version, but has no '{min(missing)}'")
        for name, tensor in named.items():
            tensor.copy_(stored[name])


def log_spaced_steps(steps: int, count: int) -> list[int]:
    """At most `count` numbers of steps from 1 to `steps`, even in the logarithm, without repetitions."""
    if count == 0 or steps == 0:
        return []
    return np.unique(np.geomspace(1, steps, count).round().astype(int)).tolist() if count > 1 else [steps]


def _norms_by_layer(tensors: Sequence[Tensor]) -> Tensor:
    """The norm of each trial's part of each tensor, (trials, layers), float64; nan beyond a trial's depth."""
    norms = torch.full(
        (len(tensors[0]), len(tensors)), torch.nan, dtype=torch.float64, device=tensors[0].device
    )
    for index, tensor in enumerate(tensors):
        norms[: len(tensor), index] = trial_norms(tensor.double(), torch.float64)
    return norms


def _blank_record(trials: Sequence[Trial], device: torch.device) -> dict[str, Tensor]:
    blank = torch.full((len(trials),), torch.nan, dtype=torch.float64, device=device)
    none = torch.full_like(blank, -1, dtype=torch.int64)
    measurements = len(log_spaced_steps(trials[0].steps, trials[0].measure_steps))
    measured = blank[:, None].repeat(measurements, 1, trials[0].depth)
    probes = len(probe_steps(trials[0].steps, trials[0].probe_size))
    return {name: blank.repeat(trials[0].steps, 1) for name in AT_STEPS} | {
        "accuracy": blank,
        "diverged_step": none,
        "diverged_layer": none.clone(),
        "update": blank.repeat(trials[0].depth, 1).T.contiguous(),
        "probe_losses": blank.repeat(probes, 1),
        "diverged_probe_loss": blank.clone(),
        **{f"measured_{name}": measured.clone() for name in ("gradient", "forward", "weight_gradient")},
    }


def _clips_in_use(trials: Sequence[Trial]) -> frozenset[str]:
    return frozenset(name for name in CLIPS for trial in trials if getattr(trial, name) is not None)
