"""Structures that networks are built in: norms, their position, skip connections, the order in a block."""

from __future__ import annotations

from typing import Literal

NORMS = ("none", "batch", "layer")


NORM_POSITIONS = ("before", "after")


SKIPS = ("none", "residual", "preactivation", "scaled")


OperationKind = Literal["linear", "norm", "activation"]


def block_kinds(*, layer: int, norm: str, norm_position: str, skip: str) -> tuple[OperationKind, ...]:
    """The operations of block `layer` (1 … L) in the order of the forward pass.

    Layer 1 maps the input to the width: a linear map, and the activation where there is no skip. Blocks
    2 … L carry norm and skip. `preactivation` is x + W φ(x), He et al. (2016); `residual` is x + φ(W x);
    `scaled` is `preactivation` with its branch divided by √L.
    """
    has_norm = norm != "none" and layer > 1
    if layer == 1:
        return ("linear",) if skip != "none" else ("linear", "activation")
    if not has_norm:
        nonlinear: tuple[OperationKind, ...] = ("activation",)
    elif norm_position == "before":
        nonlinear = ("norm", "activation")
    else:
        nonlinear = ("activation", "norm")
    if skip in ("preactivation", "scaled"):
        return (*nonlinear, "linear")
    return ("linear", *nonlinear)
