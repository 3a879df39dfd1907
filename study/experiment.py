"""A pack's experiment: profiles at initialisation, training, and one row of results for each trial."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from study.families import FAMILIES
from study.initializers import sigma_b, sigma_w
from study.propagation import Profile
from study.regimes import DEFAULT_LIMITS, Limits, outcome
from study.tasks import Data, batch_indices, task_named
from study.training import Training, log_spaced_steps, train
from study.trial import PARAMETERS, Trial

_LOSS_POINTS = 64
_FINAL_LOSSES = 20

Row = dict[str, Any]


def results(
    trials: Sequence[Trial], *, device: torch.device | None = None, limits: Limits = DEFAULT_LIMITS
) -> list[Row]:
    """One row per trial, in their order; every column of `study.records` that is not an identity.

    A row depends on its trial alone, whichever others share the pack. The trials share a pack key; raises
    ValueError otherwise.
    """
    if len({trial.pack_key() for trial in trials}) != 1:
        raise ValueError(
            f"a pack must hold trials of one pack key, but these {len(trials)} trials differ in it"
        )
    device = torch.device("cpu") if device is None else device
    started = time.perf_counter()
    order = sorted(range(len(trials)), key=lambda place: -trials[place].depth)
    deepest_first = [trials[place] for place in order]
    data = task_named(trials[0].task).data(trials[0].depth)
    first_batch = data.inputs[batch_indices(len(data.inputs), trials[0].batch_size, 0)]
    rows = [settings(trial) for trial in deepest_first]
    profile = FAMILIES[trials[0].family].profile
    add_initialisation(rows, profile(deepest_first, first_batch, device=device))
    _add_training(rows, deepest_first, data, device, limits)
    per_layer = (time.perf_counter() - started) / sum(trial.depth for trial in trials)
    for row in rows:
        row |= {"seconds": per_layer * row["depth"], "device": _device_name(device)}
    return [row for _, row in sorted(zip(order, rows, strict=True), key=lambda pair: pair[0])]


def settings(trial: Trial) -> Row:
    """The columns of a trial's parameters, its seed, and what is derived from them."""
    row: Row = {name: getattr(trial, name) for name in PARAMETERS} | {"seed": trial.seed}
    row["sigma_w"] = sigma_w(trial.init, trial.width, trial.weight_gain)
    row["sigma_b"] = sigma_b(trial.init, trial.width, trial.bias_std)
    return row


def add_initialisation(rows: list[Row], profile: Profile) -> None:
    """Adds the columns of what was measured at initialisation; rows come as the profile's trials do."""
    slopes, errors = profile.slopes()
    columns = {
        "gradient_decades": profile.gradient_decades,
        "forward_decades": profile.forward_decades,
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
    for place, row in enumerate(rows):
        row |= {
            name: None if values is None else _plain(values[place], row["depth"])
            for name, values in columns.items()
        }
        row |= dict.fromkeys(("theory_gradient_decades", "theory_slope", "theory_sd"))


def _add_training(
    rows: list[Row], trials: Sequence[Trial], data: Data, device: torch.device, limits: Limits
) -> None:
    if trials[0].steps == 0:
        for row in rows:
            row |= _training_row(None, 0, 0)
        return
    training = train(trials, data, device=device, limits=limits)
    final = np.nan_to_num(training.losses[-_FINAL_LOSSES:].mean(axis=0), nan=np.inf)
    labels = outcome(
        first_loss=training.losses[0],
        final_loss=final,
        constant_loss=task_named(trials[0].task).loss.constant(data.targets),
        diverged=training.diverged_step >= 0,
        limits=limits,
    )
    for place, row in enumerate(rows):
        weights = FAMILIES[row["family"]].weights(row["depth"])
        row |= _training_row(training, place, weights) | _measured_row(training, place, trials[place])
        row["outcome"] = labels[place]


def _training_row(training: Training | None, place: int, weights: int) -> Row:
    """The training columns of one trial; all null without training."""
    if training is None:
        names = (
            "measured_steps measured_gradient_decades measured_gradient_profiles measured_forward_profiles "
            "measured_weight_gradient_profiles "
            "initial_loss final_loss final_accuracy outcome diverged_step diverged_layer clipped_fraction "
            "gradient_norm_before gradient_norm_after clip_cosine update_profile loss_sign_changes losses "
            "loss_steps failure"
        )
        return dict.fromkeys(names.split())
    diverged = training.diverged_step[place] >= 0
    losses = training.losses[:, place]
    losses = losses[: training.diverged_step[place] + 1] if diverged else losses
    before, after = training.norms_before[: len(losses), place], training.norms_after[: len(losses), place]
    chosen = np.unique(np.linspace(0, len(losses) - 1, _LOSS_POINTS).round().astype(int))
    return {
        "initial_loss": _plain(losses[0]),
        "final_loss": None if diverged else _plain(losses[-_FINAL_LOSSES:].mean()),
        "final_accuracy": _plain(training.accuracy[place]),
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
