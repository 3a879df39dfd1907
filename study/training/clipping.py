"""Gradient norms that neither underflow nor overflow, and clipping per trial.

Norms are kept in float64: a float32 norm squares first, so it is zero below about 4e-23 and infinite above
1.8e19 per element; `torch.nn.utils.clip_grad_norm_` then turns a finite gradient of 1e25 into zero.

Gradients are groups of tensors of any rank that hold the first trials of a stack along their first axis;
limits are (trials,), infinity where a trial is not clipped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gradatlas.study.networks.model import ParameterGroup
from gradatlas.study.shapes import Float

# A total float32 norm between these was neither overflown nor missing anything that could show in it.
_TRUSTED = (1e-12, 1e18)
TORCH_EPS = 1e-6  # in torch.nn.utils.clip_grad_norm_, whose definition this follows
SMALLEST_UNIT = 1e-3  # Brock et al. (2021): units with smaller weights are clipped as if they had this norm


def within_trial(tensor: Tensor) -> tuple[int, ...]:
    """The axes of a tensor's elements of one trial: all but the first."""
    return tuple(range(1, tensor.dim()))


def of_trials(values: Tensor, tensor: Tensor) -> Tensor:
    """The values, (trials,), of a tensor's trials, shaped to act on all elements of a trial."""
    return values[: len(tensor)].view(-1, *(1,) * (tensor.dim() - 1))


def tensors_of(groups: Sequence[ParameterGroup]) -> list[Tensor]:
    """The tensors of all groups, in their order."""
    return [tensor for group in groups for tensor in group.named().values()]


def trial_norms(tensor: Tensor, dtype: torch.dtype, *, out: Tensor | None = None) -> Float[Tensor, " trials"]:
    """Euclidean norm of each trial's elements, made in `dtype`."""
    if tensor.dim() == 1:  # no axes to sum over would mean all of them
        tensor = tensor.unsqueeze(1)
    norms: Tensor = torch.linalg.vector_norm(tensor, dim=within_trial(tensor), dtype=dtype, out=out)
    return norms


def gradient_norms(gradients: Sequence[ParameterGroup]) -> Float[Tensor, " trials"]:
    """Norm of each trial's whole gradient, in float64."""
    tensors = tensors_of(gradients)
    # In float64 alone on a device that works beside the host: a look at the norms would make the host wait.
    # On a CPU norms in float64 take ten times as long as in float32, which is enough for most.
    if tensors[0].device.type != "cpu" or tensors[0].dtype == torch.float64:
        return _total_squares(tensors, torch.float64).sqrt_()
    norms = _total_squares(tensors, torch.float32).sqrt_()
    doubtful = ~((norms > _TRUSTED[0]) & (norms < _TRUSTED[1]))
    if doubtful.any():
        rows = doubtful.nonzero().squeeze(1)
        chosen = [tensor[rows[rows < len(tensor)]] for tensor in tensors]
        norms[rows] = _total_squares(chosen, torch.float64).sqrt_()
    return norms


def _total_squares(tensors: Sequence[Tensor], dtype: torch.dtype) -> Float[Tensor, " trials"]:
    """Sum of squares over tensors; norms of tensors are made in `dtype`."""
    # The trials that a tensor has come first, so the others have zero there.
    trials = max(len(tensor) for tensor in tensors)
    norms = torch.zeros(len(tensors), trials, dtype=dtype, device=tensors[0].device)
    for norm, tensor in zip(norms, tensors, strict=True):
        trial_norms(tensor, dtype, out=norm[: len(tensor)])
    # One after another: how a sum over an axis associates may depend on how many trials are beside.
    total: Tensor
    total, *others = norms.double().square_()
    for squares in others:
        total += squares
    return total


def clip_values(gradients: Sequence[ParameterGroup], limits: Float[Tensor, " trials"]) -> None:
    """Clamps every element to ±limit of its trial, in place."""
    for tensor in tensors_of(gradients):
        limit = of_trials(limits, tensor).to(tensor.dtype)
        torch.clamp(tensor, -limit, limit, out=tensor)


def clip_units(
    gradients: Sequence[ParameterGroup],
    parameters: Sequence[ParameterGroup],
    limits: Float[Tensor, " trials"],
) -> None:
    """Adaptive clipping, in place: no unit's gradient is longer than limit × its weights.

    A unit is what a weight holds for one output (`ParameterGroup.unit_axis`), or a whole vector: a bias,
    scale, shift or the weight of one input.
    Source: Brock et al. (2021), "High-performance large-scale image recognition without normalization", and
    their code.
    """
    for group, values in zip(gradients, parameters, strict=True):
        for tensor, value in zip(group.named().values(), values.named().values(), strict=True):
            axes = _within_unit(tensor, group.unit_axis)
            size = _norm(value, axes, torch.promote_types(value.dtype, torch.float32))
            allowed = of_trials(limits, tensor) * size.clamp_(min=SMALLEST_UNIT)
            length = _norm(tensor, axes, torch.float64)
            # length > 0 wherever it is above what is allowed; where it is not, nothing is changed.
            factor = torch.where(length > allowed, allowed / length, 1.0)
            tensor.mul_(factor.to(tensor.dtype))


def _within_unit(tensor: Tensor, unit_axis: int) -> tuple[int, ...]:
    """The axes of one unit's elements; all of a trial's where a unit would be a single number."""
    axes = tuple(axis for axis in within_trial(tensor) if axis != unit_axis)
    return axes if math.prod(tensor.shape[axis] for axis in axes) > 1 else within_trial(tensor)


def _norm(tensor: Tensor, axes: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Norms over some axes, kept as axes of one, made in `dtype`."""
    if not axes:  # one number for each trial
        return tensor.abs().to(dtype)
    norms: Tensor = torch.linalg.vector_norm(tensor, dim=axes, keepdim=True, dtype=dtype)
    return norms


def norm_factors(
    norms: Float[Tensor, " trials"], limits: Float[Tensor, " trials"]
) -> Float[Tensor, " trials"]:
    """What to multiply each trial's gradient by so that its norm is at most its limit."""
    return (limits / (norms + TORCH_EPS)).clamp_(max=1.0)
