"""Training in machine code (`study.training.kernels`): how a pack's tensors get there and what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradatlas.study.choices.activations import ACTIVATIONS
from gradatlas.study.networks.blocks import Layer
from gradatlas.study.training import kernels
from gradatlas.study.training.clipping import SMALLEST_UNIT, TORCH_EPS
from gradatlas.study.training.engine import AT_STEPS, CLIPS, Batches, Probe, TrainingState, Window
from gradatlas.study.trial import Trial

_LONGEST_WINDOW = 32  # steps that a trial is taken through while it is in the core's cache


def engine(trial: Trial, device: torch.device) -> MachineCodeEngine:
    """The engine for packs of such a trial."""
    return MachineCodeEngine()


class MachineCodeEngine:
    """Compiled loops, one trial after another; a trial's gradient is where the core works on it."""

    longest_window = _LONGEST_WINDOW

    def steps(self, state: TrainingState, batches: Batches) -> Window:
        """As `Engine.steps`."""
        inputs, targets = (tensor.numpy() for tensor in batches)
        trials = len(state.columns["diverged_step"])
        recorded = {name: np.full((len(inputs), trials), np.nan) for name in AT_STEPS}
        kernels.train(
            _stack(state),
            _rules(state, inputs.dtype),
            _sizes(state, inputs),
            kernels.Examples(inputs, targets, state.steps_done),
            kernels.Record(
                first_loss=state.columns["first_loss"].numpy(),
                diverged_step=state.columns["diverged_step"].numpy(),
                **recorded,
            ),
            threads=min(torch.get_num_threads(), trials),
        )
        has_diverged = bool((state.columns["diverged_step"] >= 0).any())
        return Window({name: torch.from_numpy(values) for name, values in recorded.items()}, has_diverged)

    def probe_losses(self, state: TrainingState, probe: Probe) -> Tensor:
        """As `Engine.probe_losses`."""
        inputs, targets = (tensor.numpy() for tensor in probe.batches)
        losses = torch.empty_like(state.columns["first_loss"])
        kernels.probe(
            _stack(state),
            _rules(state, inputs.dtype),
            _sizes(state, inputs),
            kernels.Probe(inputs, targets, np.array(probe.counted)),
            losses.numpy(),
            threads=min(torch.get_num_threads(), len(losses)),
        )
        return losses


def _sizes(state: TrainingState, inputs: np.ndarray) -> kernels.LayerSizes:
    readout: Any = state.network.parameters()[-1]
    return kernels.LayerSizes(inputs.shape[2], *readout.weight.shape[1:])


def _stack(state: TrainingState) -> kernels.Stack:
    layers: Any = state.network.parameters()
    kept = np.zeros((2, 2, len(layers)), dtype=np.int64)
    slots: Any = state.slots
    for number, slot in enumerate(slots):
        kept[number] = _addresses(slot)
    # The readout's updates are not summed.
    updates = np.array([*(total.data_ptr() for total in state.updates), 0])
    assert all(total.is_contiguous() for total in state.updates)
    return kernels.Stack(_addresses(layers), kept, updates, np.array(state.network.depths))


def _addresses(layers: Sequence[Layer]) -> np.ndarray:
    """Of the layers' weights and biases, (2, layers)."""
    tensors = [[layer.weight for layer in layers], [layer.bias for layer in layers]]
    assert all(tensor.is_contiguous() for row in tensors for tensor in row)
    return np.array([[tensor.data_ptr() for tensor in row] for row in tensors])


def _rules(state: TrainingState, dtype: np.dtype) -> kernels.Rules:
    leak = ACTIVATIONS[state.trial.activation].leak
    assert leak is not None
    columns = state.columns
    absent = torch.full_like(columns["learning_rate"], torch.nan)
    rates = {name: columns.get(name, absent).numpy().astype(dtype) for name in kernels.Rates._fields}
    return kernels.Rules(
        leak=dtype.type(leak),
        optimizer=kernels.OPTIMIZERS[state.trial.optimizer],
        rates=kernels.Rates(**rates),
        **{name: columns[name].numpy() for name in CLIPS},
        smallest_unit=SMALLEST_UNIT,
        clip_eps=TORCH_EPS,
        diverged_factor=float(state.diverged_factor),
    )
