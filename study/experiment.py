"""A pack's experiment: profiles at initialisation, training, and one row of results for each trial."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradatlas.study.choices.families import FAMILIES
from gradatlas.study.choices.initializers import sigma_b, sigma_w
from gradatlas.study.choices.tasks import Data, batch_indices, task_named
from gradatlas.study.families import ARCHITECTURES
from gradatlas.study.networks.model import Model
from gradatlas.study.profiles.profile import Profile
from gradatlas.study.records import COLUMNS, Role
from gradatlas.study.regimes import DEFAULT_LIMITS, Limits, outcome
from gradatlas.study.state import load_tensors, save_tensors
from gradatlas.study.theory.predictions import theory_columns
from gradatlas.study.training.pack import PackInTraining, Training, log_spaced_steps
from gradatlas.study.training.probing import probe_steps
from gradatlas.study.trial import PARAMETERS, Trial

_LOSS_POINTS = 64
_FINAL_LOSSES = 20
_PROFILE, _TRAINING = "profile.npz", "training.npz"  # files of a saved experiment

Row = dict[str, Any]


def results(
    trials: Sequence[Trial], *, device: torch.device | None = None, limits: Limits = DEFAULT_LIMITS
) -> list[Row]:
    """One row per trial, in their order; every column of `study.records` that is not an identity.

    A row depends on its trial alone, whichever others share the pack. The trials share a pack key; raises
    ValueError otherwise.
    """
    experiment = Experiment(trials, device=device, limits=limits)
    experiment.advance(trials[0].steps)
    return experiment.rows()


class Experiment:
    """A pack on its way to its rows: measured at initialisation, trained step by step, written down.

    `save` keeps what was done so far and `load` goes on from it bit for bit, in another process too.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        *,
        device: torch.device | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        if len({trial.pack_key() for trial in trials}) != 1:
            raise ValueError(
                f"a pack must hold trials of one pack key, but these {len(trials)} trials differ in it"
            )
        self._device = torch.device("cpu") if device is None else device
        self._limits = limits
        self._order = sorted(range(len(trials)), key=lambda place: -trials[place].depth)
        self._trials = [trials[place] for place in self._order]
        self._seconds = 0.0
        self._profile: Profile | None = None
        self._initial: Model | None = None  # what was measured, until its training begins
        self._training: PackInTraining | None = None
        self.finished = False

    @property
    def steps_done(self) -> int:
        """Training steps behind it."""
        return 0 if self._training is None else self._training.steps_done

    @cached_property
    def _data(self) -> Data:
        return task_named(self._trials[0].task).data(self._trials[0].depth)

    def advance(self, steps: int) -> None:
        """Trains up to `steps` more; measures the pack first if that is still to do."""
        started = time.perf_counter()
        self._measure()
        wanted = min(self.steps_done + steps, self._trials[0].steps)
        if self._trials[0].steps:
            self._training = self._training or self._new_training()
            self._training.advance(steps)
        # Training stops early where every trial has diverged.
        self.finished = self.steps_done < wanted or wanted == self._trials[0].steps
        self._seconds += time.perf_counter() - started

    def _measure(self) -> None:
        """The pack's profile at initialisation, once."""
        if self._profile is None:
            family = ARCHITECTURES[self._trials[0].family]
            self._profile, self._initial = family.profile(
                self._trials, self._first_batch(), device=self._device
            )

    def _first_batch(self) -> Tensor:
        chosen = batch_indices(len(self._data.inputs), self._trials[0].batch_size, 0)
        return self._data.inputs[chosen]

    def _new_training(self) -> PackInTraining:
        initial, self._initial = self._initial, None
        return PackInTraining(
            self._trials, self._data, device=self._device, limits=self._limits, initial=initial
        )

    def rows(self) -> list[Row]:
        """The row of each trial of a finished pack, in the order in which the trials were given."""
        started = time.perf_counter()
        rows = self._rows_so_far()
        _add_training(rows, self._trials, self._training, self._data, self._limits)
        return self._shared_out(rows, self._seconds + time.perf_counter() - started)

    def failed_rows(self, reason: str) -> list[Row]:
        """Rows that say why there is no more than what was measured before training."""
        rows = self._rows_so_far()
        for row in rows:
            row |= _nulls("training") | {"outcome": "failed", "failure": reason}
        return self._shared_out(rows, self._seconds)

    def _rows_so_far(self) -> list[Row]:
        rows = [settings(trial) for trial in self._trials]
        if self._profile is None:
            return [_nulls("initialisation") | row for row in rows]
        add_initialisation(rows, self._trials, self._first_batch(), self._profile)
        return rows

    def _shared_out(self, rows: list[Row], seconds: float) -> list[Row]:
        """The rows in their trials' first order, each with its share of the time."""
        per_layer = seconds / sum(trial.depth for trial in self._trials)
        for row in rows:
            row |= {"seconds": per_layer * row["depth"], "device": _device_name(self._device)}
        return [row for _, row in sorted(zip(self._order, rows, strict=True), key=lambda pair: pair[0])]

    def save(self, folder: Path) -> None:
        """Writes what was done so far into a folder (.npz); every file is whole or absent."""
        if self._profile is None:
            return
        values = {entry.name: getattr(self._profile, entry.name) for entry in fields(Profile)}
        arrays = {name: torch.from_numpy(array) for name, array in values.items() if array is not None}
        save_tensors(
            folder / _PROFILE, arrays | {"seconds": torch.tensor(self._seconds, dtype=torch.float64)}
        )
        if self._training is not None:
            self._training.save(folder / _TRAINING)

    def load(self, folder: Path) -> None:
        """Takes up what `save` left there for the same trials; raises ValueError where it cannot be read."""
        if not (folder / _PROFILE).exists():
            return
        stored = {name: tensor.numpy() for name, tensor in load_tensors(folder / _PROFILE).items()}
        try:
            self._seconds = float(stored.pop("seconds"))
            self._profile = Profile(**stored)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{folder / _PROFILE}: must be a saved profile, but {error}") from None
        if (folder / _TRAINING).exists():
            self._training = self._new_training()
            self._training.load(folder / _TRAINING)


def settings(trial: Trial) -> Row:
    """The columns of a trial's parameters, its seed, and what is derived from them."""
    row: Row = {name: getattr(trial, name) for name in PARAMETERS} | {"seed": trial.seed}
    row["sigma_w"] = sigma_w(trial.init, trial.width, trial.weight_gain)
    row["sigma_b"] = sigma_b(trial.init, trial.width, trial.bias_std)
    return row


def add_initialisation(rows: list[Row], trials: Sequence[Trial], inputs: Tensor, profile: Profile) -> None:
    """Adds the columns of the initialisation, measured and predicted; rows come as the trials do."""
    slopes, errors = profile.slopes()
    columns = {
        "gradient_decades": profile.gradient_decades,
        "forward_decades": profile.forward_decades,
        "relative_gradient_decades": _difference(profile.gradient_decades, profile.forward_decades),
        "weight_gradient_decades": profile.weight_gradient_decades,
        "gradient_slope": slopes,
        "gradient_slope_stderr": errors,
        "gradient_profile": profile.gradient,
        "forward_profile": profile.forward,
        "weight_gradient_profile": profile.weight_gradient,
        "weight_factor_profile": profile.weight_factor,
        "derivative_factor_profile": profile.derivative_factor,
        "norm_factor_profile": profile.norm_factor,
        "saturated_profile": profile.saturated,
        "dead_profile": profile.dead,
        "recurrent_weight_gradient": profile.summed_weight_gradient,
        "cell_gradient_profile": profile.cell_gradient,
        **{f"survival_{name}": layers for name, layers in profile.survival().items()},
    }
    theory = theory_columns(trials, inputs)
    for place, row in enumerate(rows):
        row |= theory[place] | {
            name: None if values is None else _plain(values[place], row["depth"])
            for name, values in columns.items()
        }


def _difference(decades: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Decades minus decades; nan where both are the same infinity, as of signals that are exactly zero."""
    with np.errstate(invalid="ignore"):
        difference: np.ndarray = decades - other
        return difference


def _add_training(
    rows: list[Row], trials: Sequence[Trial], pack: PackInTraining | None, data: Data, limits: Limits
) -> None:
    if pack is None:
        for row in rows:
            row |= _nulls("training")
        return
    training = pack.training()
    final = np.nan_to_num(training.losses[-_FINAL_LOSSES:].mean(axis=0), nan=np.inf)
    labels = outcome(
        first_loss=training.losses[0],
        final_loss=final,
        constant_loss=task_named(trials[0].task).loss.constant(data.targets),
        diverged=training.diverged_step >= 0,
        limits=limits,
    )
    for place, row in enumerate(rows):
        weights = FAMILIES[row["family"]].hidden_weights(row["depth"])
        row |= _training_row(training, place, weights) | _measured_row(training, place, trials[place])
        row |= _probe_row(training, place, trials[place])
        row["outcome"] = labels[place]


def _nulls(role: Role) -> Row:
    """The columns of a role, for a trial of which there is nothing to say."""
    return {column.name: None for column in COLUMNS.values() if column.role == role}


def _training_row(training: Training, place: int, weights: int) -> Row:
    """The training columns of one trial."""
    diverged = training.diverged_step[place] >= 0
    losses = training.losses[:, place]
    losses = losses[: training.diverged_step[place] + 1] if diverged else losses
    before, after = training.norms_before[: len(losses), place], training.norms_after[: len(losses), place]
    chosen = np.unique(np.linspace(0, len(losses) - 1, _LOSS_POINTS).round().astype(int))
    return {
        "initial_loss": _plain(losses[0]),
        "final_loss": None if diverged else _plain(losses[-_FINAL_LOSSES:].mean()),
        "final_accuracy": _plain(training.accuracy[place]),
        "final_test_loss": _plain(training.test_loss[place]),
        "failure": None,
        "diverged_step": int(training.diverged_step[place]) if diverged else None,
        "diverged_layer": int(layer) if (layer := training.diverged_layer[place]) >= 0 else None,
        "clipped_fraction": _plain(np.mean(after < before * (1 - 1e-9))),
        "gradient_norm_before": _plain(np.median(before)),
        "gradient_norm_after": _plain(np.median(after)),
        "clip_cosine": _mean_of_numbers(training.cosines[: len(losses), place]),
        "update_profile": None if diverged else _plain(training.update[place], weights),
        "loss_sign_changes": None if diverged else _sign_changes(losses[len(losses) // 2 :]),
        "losses": _plain(losses[chosen]),
        "loss_steps": chosen.tolist(),
    }


def _measured_row(training: Training, place: int, trial: Trial) -> Row:
    """The measurements during training of one trial: null without any, of nulls after it diverged."""
    steps = log_spaced_steps(trial.steps, trial.measure_steps)
    gradients = training.measured_gradient[:, place]
    row: Row = {
        "measured_steps": steps or None,
        "measured_gradient_decades": _plain(gradients[:, 0] - gradients[:, trial.depth - 1]) or None,
    }
    for name in ("gradient", "forward", "weight_gradient"):
        profiles = getattr(training, f"measured_{name}")[:, place]
        row[f"measured_{name}_profiles"] = [_plain(profile, trial.depth) for profile in profiles] or None
    return row


def _probe_row(training: Training, place: int, trial: Trial) -> Row:
    """The losses on the probe of one trial: null without any, up to the step at which it diverged."""
    steps, losses = probe_steps(trial.steps, trial.probe_size), training.probe_losses[:, place].tolist()
    if not steps:
        return {"probe_losses": None, "probe_steps": None}
    end = int(training.diverged_step[place])
    if end >= 0:
        before = sum(step < end for step in steps)
        steps, losses = [*steps[:before], end], [*losses[:before], training.diverged_probe_loss[place]]
    return {"probe_losses": _plain(np.array(losses)), "probe_steps": steps}


def _plain(value: Any, depth: int | None = None) -> Any:
    """A Python number, or the list of a trial's layers; nan becomes None."""
    if np.ndim(value) == 1:
        return [None if np.isnan(x) else x for x in value[:depth].tolist()]
    number = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(number, float) and np.isnan(number) else number


def _mean_of_numbers(values: np.ndarray) -> float | None:
    numbers = values[~np.isnan(values)]
    return float(numbers.mean()) if len(numbers) else None


def _sign_changes(losses: np.ndarray) -> int:
    signs = np.sign(np.diff(losses))
    signs = signs[signs != 0]
    return int((signs[1:] != signs[:-1]).sum())


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
