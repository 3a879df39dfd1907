"""Gradient profiles of perceptrons: how strong signal and gradient are at every layer, at any depth.

The one idea: a signal is carried as a tensor of ordinary size and the logarithm of its scale. The gradient is
rescaled at the taps whenever it leaves the range in which float64 is exact, and the logarithms are added up,
so a gradient of 1e-600 is a number like any other. The forward signal is rescaled too where there is no norm:
far from 1 every activation is a pair of straight lines (`Activation.near_zero`, `far_out`), and biases shrink
or grow against the signal by the same logarithm.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from gradatlas.study.networks.blocks import Kept, Layer, Nonlinearity, Operation
from gradatlas.study.networks.model import Workspace
from gradatlas.study.networks.perceptrons import Network, backward, forward
from gradatlas.study.profiles.profile import EXACT, Profile, far_from_one, root_mean_square, unit_shares
from gradatlas.study.shapes import Float


def measured(
    network: Network,
    inputs: Float[Tensor, "batch features"],
    probe: Float[Tensor, "trials batch width"],
) -> Profile:
    """The profile of a stack in float64, whatever its parameters are."""
    workspace = Workspace(torch.float64, inputs.device)
    meter = _Meter(network, probe)
    tape = forward(network, inputs, workspace, meter)
    gradients = [layer.like(workspace.within("gradient")) for layer in network.layers]
    gradient = workspace.take("output gradient", tuple(tape.output.shape)).zero_()
    backward(network, tape, gradient, gradients, workspace, meter)
    return meter.profile()


class _Meter:
    """Reads RMS values at taps and steps, and keeps the signals in float64's exact range."""

    def __init__(self, network: Network, probe: Tensor) -> None:
        self._network, self._probe = network, probe
        used = [operation for block in network.blocks for operation in block]
        has_norm = any(operation.kind == "norm" for operation in used)
        phi = next((operation.activation for operation in used if isinstance(operation, Nonlinearity)), None)
        self._can_shrink = not has_norm and (phi is None or phi.far_out is not None)
        self._can_grow = not has_norm and (phi is None or phi.near_zero is not None)
        trials, depth = len(network.depths), network.depths[0]
        blank = torch.full((depth, trials), torch.nan, dtype=torch.float64, device=probe.device)
        # Axes (layers, trials) while measuring, so that a layer's trials are a contiguous prefix.
        self._read = {
            name: blank.clone()
            for name in ("gradient", "forward", "weight_gradient", "linear", "activation", "norm")
        }
        self._shares = {name: blank.clone() for name in ("saturated", "dead")}
        self._forward_scale = torch.zeros(trials, dtype=torch.float64, device=probe.device)
        self._input_scales = [self._forward_scale]  # of what block 1, 2, … takes in
        self._backward_scale = self._forward_scale.clone()
        self._before = torch.ones(trials, dtype=torch.float64, device=probe.device)

    def adapted(self, operation: Operation, layer: Layer) -> tuple[Operation, Layer]:
        """Biases and activation as they act on a rescaled signal."""
        scale = self._forward_scale[: len(layer.weight)]
        if not scale.any():
            return operation, layer
        if operation.kind == "linear":
            # The bound keeps 0 · ∞ away: beside a bias that is not zero no signal gets that small.
            factor = torch.pow(10.0, -scale.clamp(min=-300.0))
            return operation, replace(layer, bias=layer.bias * factor.view(-1, 1, 1))
        assert isinstance(operation, Nonlinearity)
        return Nonlinearity(far_from_one(operation.activation, scale.view(-1, 1, 1))), layer

    def forward_tap(self, number: int, h: Tensor) -> None:
        """Reads RMS h^l and rescales h where it leaves the exact range."""
        count = len(h)
        decades = torch.log10(root_mean_square(h))
        scale = self._forward_scale[:count]
        total = decades + scale
        self._read["forward"][number - 1, :count] = total
        rescaled = (self._can_shrink & (total > EXACT)) | (self._can_grow & (total < -EXACT))
        wanted = torch.where(rescaled & total.isfinite(), total, 0.0)
        if not torch.equal(wanted, scale):
            h.mul_(torch.pow(10.0, scale - wanted).view(-1, 1, 1))
        self._forward_scale = wanted
        self._input_scales.append(wanted)

    def backward_tap(self, number: int, delta: Tensor) -> None:
        """Starts the trials that end here with the probe, reads RMS δ^l and rescales δ where needed."""
        deeper, count = self._network.counts[number], len(delta)
        delta[deeper:] = self._probe[deeper:count]
        rms = root_mean_square(delta)
        decades, scale = torch.log10(rms), self._backward_scale[:count]
        self._read["gradient"][number - 1, :count] = decades + scale
        shift = torch.where(decades.abs().gt(EXACT) & decades.isfinite(), decades, 0.0)
        if shift.any():
            factor = torch.pow(10.0, -shift)
            delta.mul_(factor.view(-1, 1, 1))
            rms = rms * factor
            scale.add_(shift)
        branch_scale = self._network.branch_scale
        self._before[:count] = rms if branch_scale is None else rms * branch_scale[:count].flatten()

    def backward_step(
        self, number: int, operation: Operation, kept: Kept, after: Tensor | None, gradient: Layer
    ) -> None:
        """Reads the factor of one operation, and what belongs to its kind."""
        if operation.kind == "linear":
            count = len(gradient.weight)
            scale = self._backward_scale[:count] + self._input_scales[number - 1][:count]
            self._read["weight_gradient"][number - 1, :count] = (
                torch.log10(root_mean_square(gradient.weight)) + scale
            )
        elif isinstance(operation, Nonlinearity):
            for name, share in unit_shares(operation.activation, *kept).items():
                self._shares[name][number - 1, : len(share)] = share
        if after is None:
            return
        rms = root_mean_square(after)
        # Without a skip the tap lies between linear map and activation: those belong to the step into
        # block `number`, the linear map to the step out of it.
        into = number - 1 if self._network.has_skip or operation.kind == "linear" else number
        self._read[operation.kind][into - 1, : len(rms)] = torch.log10(rms / self._before[: len(rms)])
        self._before[: len(rms)] = rms

    def profile(self) -> Profile:
        """What was read; the factors of the last layer, which no step leads to, are nan."""
        depths = np.array(self._network.depths)
        read = {name: values.T.cpu().numpy() for name, values in (self._read | self._shares).items()}
        for kind in ("linear", "activation", "norm"):
            read[kind][np.arange(read[kind].shape[1]) >= depths[:, None] - 1] = np.nan
        return Profile(
            depths=depths,
            gradient=read["gradient"],
            forward=read["forward"],
            weight_gradient=read["weight_gradient"],
            weight_factor=read["linear"],
            derivative_factor=read["activation"],
            norm_factor=read["norm"],
            saturated=read["saturated"],
            dead=read["dead"],
        )
