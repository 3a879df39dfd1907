"""Which packs are trained in machine code (`study.training.kernels`), and how their tensors get there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gradatlas.study.choices.activations import ACTIVATIONS
from gradatlas.study.choices.losses import CROSS_ENTROPY, SQUARED_ERROR
from gradatlas.study.choices.optimizers import OPTIMIZERS
from gradatlas.study.choices.tasks import task_named
from gradatlas.study.networks.blocks import Layer
from gradatlas.study.training.clipping import SMALLEST_UNIT, TORCH_EPS
from gradatlas.study.trial import Trial

_RECORDED = ("losses", "norms_before", "norms_after", "cosines")


class Stack(NamedTuple):
    """Addresses of contiguous tensors: of weights and of biases, by layer, the readout's last."""

    parameters: np.ndarray  # (2, layers)
    slots: np.ndarray  # (2, 2, layers): what the optimizer keeps beside each, 0 where nothing
    depths: np.ndarray  # (trials,), deepest first


class Rules(NamedTuple):
    """How the trials train; by trial, infinity where one does not clip."""

    leak: np.floating
    optimizer: int  # place in the machine code's `OPTIMIZERS`
    rates: np.ndarray  # (trials, rates), as `study.choices.optimizers` names them, in the parameters' dtype
    clip_adaptive: np.ndarray
    clip_value: np.ndarray
    clip_norm: np.ndarray
    smallest_unit: float
    clip_eps: float
    diverged_factor: float


class Batches(NamedTuple):
    """What each step sees."""

    inputs: np.ndarray  # (steps, batch, features)
    targets: np.ndarray  # (steps, batch) labels or (steps, batch, outputs) values
    steps_done: int  # before the first of them


class Record(NamedTuple):
    """What is written down: by trial, and by (steps, trials) for each step that a trial did."""

    first_loss: np.ndarray
    diverged_step: np.ndarray  # -1 while a trial is running
    losses: np.ndarray
    norms_before: np.ndarray
    norms_after: np.ndarray
    cosines: np.ndarray


class Sizes(NamedTuple):
    """Of every trial."""

    features: int
    width: int
    outputs: int


@cache
def machine_code() -> ModuleType | None:
    """`study.training.kernels`, loaded once, where Numba is installed."""
    try:
        from gradatlas.study.training import kernels as compiled
    except ImportError:
        return None
    return compiled


def is_plain(trial: Trial) -> bool:
    """Whether a trial is a plain stack: a perceptron of straight lines without norms and skips."""
    is_bare = trial.family == "mlp" and trial.norm == trial.skip == "none"
    return is_bare and ACTIVATIONS[trial.activation].leak is not None


def takes(trial: Trial, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether packs of such a trial are trained in machine code; the same for all trials of a pack key."""
    return (
        device.type == "cpu"
        and dtype in (torch.float32, torch.float64)
        and is_plain(trial)
        and task_named(trial.task).loss in (CROSS_ENTROPY, SQUARED_ERROR)
        and (compiled := machine_code()) is not None
        and trial.optimizer in compiled.OPTIMIZERS
    )


def train(
    trial: Trial,
    depths: Sequence[int],
    layers: Sequence[Layer],
    slots: Sequence[Sequence[Layer]],
    columns: Mapping[str, Tensor],
    batches: tuple[Tensor, Tensor],
    *,
    steps_done: int,
    diverged_factor: float,
) -> dict[str, Tensor]:
    """Trains a pack's trials through some batches, up to where they diverge.

    `trial` is any of them, the readout's layer the last. Writes into the parameters, the slots and the
    columns `first_loss` and `diverged_step`; returns what is written down at every step, (steps, trials).
    """
    compiled = machine_code()
    assert compiled is not None
    inputs, targets = (tensor.numpy() for tensor in batches)
    recorded = {name: np.full((len(inputs), len(depths)), np.nan) for name in _RECORDED}
    kept = np.zeros((2, 2, len(layers)), dtype=np.int64)
    for place, slot in enumerate(slots):
        kept[place] = _addresses(slot)
    rates = torch.stack([columns[name] for name in OPTIMIZERS[trial.optimizer].rates], dim=1)
    compiled.train(
        Stack(_addresses(layers), kept, np.array(depths)),
        Rules(
            leak=inputs.dtype.type(ACTIVATIONS[trial.activation].leak),
            optimizer=compiled.OPTIMIZERS.index(trial.optimizer),
            rates=rates.to(batches[0].dtype).numpy(),
            **{name: columns[name].numpy() for name in ("clip_adaptive", "clip_value", "clip_norm")},
            smallest_unit=SMALLEST_UNIT,
            clip_eps=TORCH_EPS,
            diverged_factor=float(diverged_factor),
        ),
        Sizes(inputs.shape[2], *layers[-1].weight.shape[1:]),
        Batches(inputs, targets, steps_done),
        Record(
            first_loss=columns["first_loss"].numpy(),
            diverged_step=columns["diverged_step"].numpy(),
            **recorded,
        ),
        threads=min(torch.get_num_threads(), len(depths)),
    )
    return {name: torch.from_numpy(values) for name, values in recorded.items()}


def _addresses(layers: Sequence[Layer]) -> np.ndarray:
    """Of the layers' weights and biases, (2, layers)."""
    tensors = [[layer.weight for layer in layers], [layer.bias for layer in layers]]
    assert all(tensor.is_contiguous() for row in tensors for tensor in row)
    return np.array([[tensor.data_ptr() for tensor in row] for row in tensors])
