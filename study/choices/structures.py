"""Structures that networks are built in: norms, their position, skip connections, the order in a block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class NormKind:
    """A normalisation; `axis` of (trials, batch, units) is that of mean and variance, None of no norm."""

    title: str
    meaning: str
    axis: Literal[1, 2] | None


@dataclass(frozen=True)
class StructureKind:
    """A position of the norm, or a kind of skip connection; `block_kinds` says what it does to a block."""

    title: str
    meaning: str


NORMS: dict[str, NormKind] = {
    "none": NormKind("no norm", "no normalisation", None),
    "batch": NormKind("batch norm", "of each unit over the batch, in train mode (Ioffe & Szegedy 2015)", 1),
    "layer": NormKind("layer norm", "of each example over the units (Ba et al. 2016)", 2),
}
NORM_POSITIONS: dict[str, StructureKind] = {
    "before": StructureKind("norm before φ", "φ(norm(W x))"),
    "after": StructureKind("norm after φ", "norm(φ(W x))"),
}
SKIPS: dict[str, StructureKind] = {
    "none": StructureKind("no skip", "x′ = φ(W x)"),
    "residual": StructureKind("residual", "x′ = x + φ(W x)"),
    "preactivation": StructureKind("pre-activation residual", "x′ = x + W φ(x) (He et al. 2016)"),
    "scaled": StructureKind("scaled residual", "x′ = x + W φ(x) / √L (De & Smith 2020)"),
}

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
