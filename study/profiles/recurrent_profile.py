"""Gradient profiles of recurrent nets: layer l of a profile is time step l, exact at any number of steps.

The probe is linear in h_T, the last step's pre-activation (LSTM and GRU: hidden state), so δ_T = c and
δ_t = ∂ℓ/∂h_t. `weight_gradient` holds step t's own contribution a_{t−1}ᵀ δ_t to ∂ℓ/∂W_hh; the first step has
none, since the initial hidden state is zero. Their sum is what `W_hh.grad` holds. It is dominated by the last
steps where δ_t vanishes, so it cannot show vanishing; it stands beside as `summed_weight_gradient`.

As in `study.profiles.perceptron_profile` signals are carried as a tensor and the logarithm of its scale. The
gated cells' forward signals are bounded; the vanilla cell's is kept in units of 10^scale, chosen before each
step from the two terms that it adds up.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gradatlas.study.choices.activations import Activation
from gradatlas.study.networks.blocks import Kept
from gradatlas.study.networks.model import Workspace
from gradatlas.study.networks.recurrent import RecurrentNetwork, drives
from gradatlas.study.networks.recurrent_cells import LSTM, Cell, State, Vanilla
from gradatlas.study.profiles.profile import EXACT, Profile, far_from_one, root_mean_square, unit_shares
from gradatlas.study.shapes import Float

_NAMES = ("gradient", "forward", "weight_gradient", "weight_factor", "derivative_factor", "norm_factor")


def measured(
    network: RecurrentNetwork,
    inputs: Float[Tensor, "batch steps features"],
    probe: Float[Tensor, "trials batch width"],
) -> Profile:
    """The profile of a stack in float64, whatever its parameters are."""
    trials, steps = len(network.depths), inputs.shape[1]
    blank = torch.full((trials, steps), torch.nan, dtype=torch.float64, device=inputs.device)
    read = {name: blank.clone() for name in (*_NAMES, "saturated", "dead", "cell_gradient")}
    summed = _backward(network, _forward(network, inputs, read), probe, read)
    arrays = {name: values.cpu().numpy() for name, values in read.items()}
    if not isinstance(network.cell, LSTM):
        del arrays["cell_gradient"]
    return Profile(
        depths=np.array(network.depths), summed_weight_gradient=summed.decades().cpu().numpy(), **arrays
    )


class _Step(NamedTuple):
    """A step on the tape: what it kept is in units of 10^scale."""

    cell: Cell
    kept: Kept
    scale: Tensor


def _forward(network: RecurrentNetwork, inputs: Tensor, read: dict[str, Tensor]) -> list[_Step]:
    """The tape; reads h_t, and of the vanilla cell the shares of saturated and dead units."""
    drive = drives(network.layer, inputs, Workspace(torch.float64, inputs.device))
    cell, state, tape = network.cell, None, []
    scale = drive.new_zeros(len(drive))
    there = cell.activation if isinstance(cell, Vanilla) else None  # φ as it acts on the state's units
    for index in range(drive.shape[1]):
        driven = drive[:, index]
        if there is not None:
            wanted = _unit(there, state, driven, scale)
            cell = _between_units(network.cell, there, scale, wanted)
            scale = wanted
            driven = driven * _power(-scale) if scale.any() else driven
        state, kept = cell.forward(network.layer.weight, driven, state)
        tape.append(_Step(cell, kept, scale))
        read["forward"][:, index] = torch.log10(root_mean_square(state[0])) + scale
        if isinstance(network.cell, Vanilla):
            there = _at_scale(network.cell.activation, scale)
            for name, share in unit_shares(there, state[0], there.value(state[0], None)).items():
                read[name][:, index] = share
    return tape


def _power(decades: Tensor) -> Tensor:
    """10^decades for each trial; the bound keeps 0 · ∞ away, where what it multiplies is zero."""
    return torch.pow(10.0, decades.clamp(-300.0, 300.0)).view(-1, 1, 1)


def _at_scale(phi: Activation, scale: Tensor) -> Activation:
    """φ as it acts on a signal in units of 10^scale."""
    return far_from_one(phi, scale.view(-1, 1, 1)) if scale.any() else phi


def _unit(there: Activation, state: State | None, driven: Tensor, scale: Tensor) -> Tensor:
    """Decades of the next step's unit: 0 within the exact range, else the larger of what it adds up.

    `there` is φ in the units 10^scale of the state.
    """
    total = torch.log10(root_mean_square(driven))
    if state is not None:
        carried = there.value(state[0], None)
        total = torch.maximum(total, torch.log10(root_mean_square(carried)) + scale)
    can_shrink, can_grow = there.far_out is not None, there.near_zero is not None
    rescaled = (can_shrink & (total > EXACT)) | (can_grow & (total < -EXACT))
    return torch.where(rescaled & total.isfinite(), total, 0.0)


def _between_units(cell: Cell, there: Activation, before: Tensor, after: Tensor) -> Cell:
    """The cell that takes a state in units of 10^before, on which φ acts as `there`, to units of 10^after."""
    if not (before.any() or after.any()):
        return cell
    factor = _power(before - after)

    def backward(g: Tensor, h: Tensor, y: Tensor, out: Tensor | None) -> Tensor:
        return there.backward(g, h, there.value(h, None), out)  # δ is ∂ℓ/∂h, whatever h's unit

    return Vanilla(
        replace(there, value=lambda h, out: there.value(h, None) * factor, backward=backward, in_place=False)
    )


class _Sum:
    """A sum of matrices far apart in size, kept in the unit of the largest so far."""

    def __init__(self, like: Tensor) -> None:
        self._total = torch.zeros_like(like)
        self._unit = like.new_full((len(like),), -torch.inf)

    def add(self, part: Tensor, scale: Tensor) -> Tensor:
        """Adds part · 10^scale; log10 of the RMS of that."""
        decades = torch.log10(root_mean_square(part)) + scale
        unit = torch.maximum(self._unit, decades)
        usable = torch.where(unit.isfinite(), unit, 0.0)
        self._total.mul_(_power((self._unit - usable).nan_to_num(neginf=-300.0)))
        self._total.add_(part * _power(scale - usable))
        self._unit = unit
        return decades

    def decades(self) -> Tensor:
        """log10 of the RMS of the sum."""
        return torch.log10(root_mean_square(self._total)) + torch.where(
            self._unit.isfinite(), self._unit, 0.0
        )


def _backward(network: RecurrentNetwork, tape: list[_Step], probe: Tensor, read: dict[str, Tensor]) -> _Sum:
    """Reads δ_t, every step's contribution to ∂ℓ/∂W_hh and the factors; their sum comes back."""
    weight = network.layer.weight
    running: State = (probe, *[torch.zeros_like(probe)] * (network.cell.states - 1))
    scale, summed = probe.new_zeros(len(probe)), _Sum(weight)
    for index in reversed(range(len(tape))):
        step = tape[index]
        running, scale = _rescaled(running, scale)
        delta = root_mean_square(running[0])
        read["gradient"][:, index] = torch.log10(delta) + scale
        if isinstance(step.cell, LSTM):
            at_cell = step.cell.cell_gradient(running, step.kept)
            read["cell_gradient"][:, index] = torch.log10(root_mean_square(at_cell)) + scale
        if index == 0:
            break  # the hidden state before the first step is zero: no contribution, and nobody asks
        gradients = step.cell.backward(weight, running, step.kept)
        part = torch.bmm(step.kept[0].transpose(1, 2), gradients.recurrent)
        read["weight_gradient"][:, index] = summed.add(part, scale + step.scale)
        running = gradients.previous
        if isinstance(network.cell, Vanilla):
            carried = root_mean_square(gradients.carried)
            read["weight_factor"][:, index - 1] = torch.log10(carried / delta)
            read["derivative_factor"][:, index - 1] = torch.log10(root_mean_square(running[0]) / carried)
    return summed


def _rescaled(state: State, scale: Tensor) -> tuple[State, Tensor]:
    """The gradient at a state in float64's exact range, and the decades of its scale."""
    decades = torch.log10(torch.stack([root_mean_square(tensor) for tensor in state]).amax(dim=0))
    shift = torch.where(decades.abs().gt(EXACT) & decades.isfinite(), decades, 0.0)
    if not shift.any():
        return state, scale
    return tuple(tensor * _power(-shift) for tensor in state), scale + shift
