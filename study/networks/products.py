"""Stacked matrix products, (trials, n, m) times (trials, m, k), by the faster of two libraries.

torch multiplies on a CPU with MKL, whose fast kernels are for Intel's processors. On AMD's, NumPy's OpenBLAS
takes 0.4 to 0.8 of its time for the sizes of a pack (`tests/bench/engine.py` has the figures), so there it is
taken. Which one it is depends on the processor alone: a run's numbers never depend on a clock.
"""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gradatlas.study.shapes import Float

_NUMPY_DTYPES = (torch.float32, torch.float64)
_SMALLEST_BATCH = 32  # from which on a product pays for transposing its weights


def _vendor() -> str:
    """Who made the processor, as Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("vendor_id")), "")


NUMPY_IS_FASTER = _vendor() == "AuthenticAMD"


def _takes_numpy(x: Tensor) -> bool:
    return NUMPY_IS_FASTER and x.device.type == "cpu" and x.dtype in _NUMPY_DTYPES


def multiply(
    a: Float[Tensor, "trials rows inner"],
    b: Float[Tensor, "trials inner columns"],
    out: Float[Tensor, "trials rows columns"],
) -> Tensor:
    """a @ b, in `out`."""
    if not _takes_numpy(a):
        return torch.bmm(a, b, out=out)
    with np.errstate(all="ignore"):  # a diverging trial overflows
        np.matmul(a.numpy(), b.numpy(), out=out.numpy())
    return out


def affine(
    x: Float[Tensor, "trials batch inner"],
    weight: Float[Tensor, "trials inner columns"],
    bias: Float[Tensor, "trials _ columns"],
    out: Float[Tensor, "trials batch columns"],
) -> Tensor:
    """x @ weight + bias, in `out`."""
    if _takes_numpy(x):
        return multiply(x, weight, out).add_(bias)
    if len(x) == out.shape[2] == 1:
        # A matrix times one vector is another kernel's, which sums in another order than a stack of them.
        pair = [tensor.expand(2, -1, -1) for tensor in (bias, x, weight)]
        return out.copy_(torch.baddbmm(*pair)[:1])
    return torch.baddbmm(bias, x, weight, out=out)


def multiply_transposed(
    g: Float[Tensor, "trials batch columns"],
    weight: Float[Tensor, "trials inner columns"],
    out: Float[Tensor, "trials batch inner"],
) -> Tensor:
    """g @ weightᵀ, in `out`."""
    # OpenBLAS is slow where the second matrix is transposed.
    pays = weight.dtype == torch.float32 and g.shape[1] >= _SMALLEST_BATCH
    second = _transposed(weight) if pays and _takes_numpy(g) else weight.transpose(1, 2)
    return multiply(g, second, out)


def _transposed(
    weight: Float[Tensor, "trials inner columns"],
) -> Float[Tensor, "trials columns inner"]:
    """A copy with each matrix transposed.

    As a shuffle of channels: that has a kernel which transposes blocks in vector registers (float32 alone),
    and takes a fifth of the time of `weight.transpose(1, 2).contiguous()`.
    """
    trials, inner, columns = weight.shape
    flat = weight.reshape(1, 1, trials, inner * columns)
    shuffled = torch.channel_shuffle(flat.permute(0, 3, 1, 2), inner)
    return shuffled.permute(0, 2, 3, 1).view(trials, columns, inner)
