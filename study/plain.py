"""Which packs are trained in machine code (`study.compiled`), and how their tensors get there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from study.activations import ACTIVATIONS
from study.blocks import Layer
from study.clipping import SMALLEST_UNIT, TORCH_EPS
from study.losses import CROSS_ENTROPY, SQUARED_ERROR
from study.optimizers import OPTIMIZERS
from study.tasks import task_named
from study.trial import Trial

_RECORDED = ("losses", "norms_before", "norms_after", "cosines")


@cache
def machine_code() -> ModuleType | None:
    """`study.compiled`, loaded once, where Numba is installed."""
    try:
        from study import compiled
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
    rates = np.stack([columns[name].numpy() for name in OPTIMIZERS[trial.optimizer].rates], axis=1)
    compiled.train(
        compiled.Stack(_addresses(layers), kept, np.array(depths)),
        compiled.Rules(
            leak=inputs.dtype.type(ACTIVATIONS[trial.activation].leak),
            optimizer=compiled.OPTIMIZERS.index(trial.optimizer),
            rates=rates.astype(inputs.dtype),
            **{name: columns[name].numpy() for name in ("clip_adaptive", "clip_value", "clip_norm")},
            smallest_unit=SMALLEST_UNIT,
            clip_eps=TORCH_EPS,
            diverged_factor=float(diverged_factor),
        ),
        compiled.Sizes(inputs.shape[2], *layers[-1].weight.shape[1:]),
        compiled.Batches(inputs, targets, steps_done),
        compiled.Record(
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
