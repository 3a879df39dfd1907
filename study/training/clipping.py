"""Gradient norms that neither underflow nor overflow, and clipping per trial.

Norms are kept in float64: a float32 norm squares first, so it is zero below about 4e-23 and infinite above
1.8e19 per element; `torch.nn.utils.clip_grad_norm_` then turns a finite gradient of 1e25 into zero.

Gradients are lists of layers that hold prefixes of the trials; limits are (trials,), infinity where a trial
is not clipped.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gradatlas.study.networks.blocks import Layer
from gradatlas.study.shapes import Float

# A total float32 norm between these was neither overflown nor missing anything that could show in it.
_TRUSTED = (1e-12, 1e18)
TORCH_EPS = 1e-6  # in torch.nn.utils.clip_grad_norm_, whose definition this follows
SMALLEST_UNIT = 1e-3  # Brock et al. (2021): units with smaller weights are clipped as if they had this norm


def gradient_norms(gradients: Sequence[Layer]) -> Float[Tensor, " trials"]:
    """Norm of each trial's whole gradient, in float64."""
    weight = gradients[0].weight
    # In float64 alone on a device that works beside the host: a look at the norms would make the host wait.
    # On a CPU norms in float64 take ten times as long as in float32, which is enough for most.
    if weight.device.type != "cpu" or weight.dtype == torch.float64:
        return _total_squares(gradients, None, torch.float64).sqrt_()
    norms = _total_squares(gradients, None, torch.float32).sqrt_()
    doubtful = ~((norms > _TRUSTED[0]) & (norms < _TRUSTED[1]))
    if doubtful.any():
        rows = doubtful.nonzero().squeeze(1)
        norms[rows] = _total_squares(gradients, rows, torch.float64).sqrt_()
    return norms


def _total_squares(gradients: Sequence[Layer], rows: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Sum of squares over layers, of all trials or of some rows; norms of layers are made in `dtype`."""
    tensors = [tensor for layer in gradients for tensor in layer.tensors()]
    if rows is not None:
        tensors = [tensor[rows[rows < tensor.shape[0]]] for tensor in tensors]
    # Rows are sorted, so the trials that have a layer come first in both cases; the others have zero there.
    trials = max(tensor.shape[0] for tensor in tensors)
    norms = torch.zeros(len(tensors), trials, dtype=dtype, device=tensors[0].device)
    for norm, tensor in zip(norms, tensors, strict=True):
        torch.linalg.vector_norm(tensor, dim=(1, 2), out=norm[: tensor.shape[0]], dtype=dtype)
    # One after another: how a sum over an axis associates may depend on how many trials are beside.
    total, *others = norms.double().square_()
    for squares in others:
        total += squares
    return total


def _norm(tensor: Tensor, dims: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Norms over some axes, kept as axes of one, made in `dtype`."""
    return torch.linalg.vector_norm(tensor, dim=dims, keepdim=True, dtype=dtype)


def clip_values(gradients: Sequence[Layer], limits: Float[Tensor, " trials"]) -> None:
    """Clamps every element to ±limit of its trial, in place."""
    for layer in gradients:
        for tensor in layer.tensors():
            limit = limits[: len(tensor)].view(-1, 1, 1).to(tensor.dtype)
            torch.clamp(tensor, -limit, limit, out=tensor)


def clip_units(
    gradients: Sequence[Layer], parameters: Sequence[Layer], limits: Float[Tensor, " trials"]
) -> None:
    """Adaptive clipping, in place: no unit's gradient is longer than limit × its weights.

    A unit is a column of a weight, or a whole vector: a bias, scale, shift or the weight of one input.
    Source: Brock et al. (2021), "High-performance large-scale image recognition without normalization", and
    their code.
    """
    for layer, values in zip(gradients, parameters, strict=True):
        for tensor, value in zip(layer.tensors(), values.tensors(), strict=True):
            dims = (1,) if tensor.shape[1] > 1 else (1, 2)
            size = _norm(value, dims, torch.promote_types(value.dtype, torch.float32))
            allowed = limits[: len(tensor)].view(-1, 1, 1) * size.clamp_(min=SMALLEST_UNIT)
            length = _norm(tensor, dims, torch.float64)
            # length > 0 wherever it is above what is allowed; where it is not, nothing is changed.
            factor = torch.where(length > allowed, allowed / length, 1.0)
            tensor.mul_(factor.to(tensor.dtype))


def norm_factors(
    norms: Float[Tensor, " trials"], limits: Float[Tensor, " trials"]
) -> Float[Tensor, " trials"]:
    """What to multiply each trial's gradient by so that its norm is at most its limit."""
    return (limits / (norms + TORCH_EPS)).clamp_(max=1.0)
