"""Question 7: whether an initialisation scheme holds the variance of activations and gradients.

"Holds" is a factor of ten in variance at most, half a decade of an RMS: the limits of a stable gradient, 1.3
decades, are a factor of 400 and would call nearly everything held.
"""

from __future__ import annotations

from functools import partial

import polars as pl

from gradatlas.analysis.claims.answer import SHARE, answered, extended
from gradatlas.analysis.claims.bands import DEPTHS
from gradatlas.analysis.claims.claim import Claim
from gradatlas.analysis.claims.evidence import Evidence
from gradatlas.analysis.claims.rules import GUARANTEED, above
from gradatlas.analysis.measures.effects import share
from gradatlas.analysis.words import number as digits
from gradatlas.analysis.words import percent, word

_HELD = 0.5  # decades of an RMS: a factor of ten in variance


def scheme_holds(evidence: Evidence, number: str, activation: str, sigma_w: float, name: str) -> Claim:
    """7: share of a scheme's cells that keep the variance of both within a factor of ten."""
    there = (pl.col("sigma_w") / sigma_w - 1).abs() < 0.01
    cells = evidence.plain.filter(
        pl.col("activation") == activation, there, pl.col("sigma_b") == 0
    ).with_columns(
        forward=pl.col("forward_decades").abs() <= _HELD,
        backward=pl.col("gradient_decades").abs() <= _HELD,
        depths=DEPTHS,
    )
    claim = answered(
        number,
        above(GUARANTEED, noun=f"the share of {name} cells whose variances change tenfold at most"),
        cells.with_columns(held=pl.col("forward") & pl.col("backward")),
        partial(share, what="held"),
        columns={"depths": "depth"},
        unit=SHARE,
        figure="forward_backward",
        lead=f"Of {word('activation', activation)} networks with {name}{_width(cells)}, those that hold the "
        "variance of activations and of gradients within a factor of ten:",
        to_run="gradatlas run claims (part schemes)",
    )
    return extended(claim, _halves(cells), _medians(cells))


def _width(cells: pl.DataFrame) -> str:
    widths = cells["width"].unique()
    return f" at width {widths[0]}" if len(widths) == 1 else ""


def _halves(cells: pl.DataFrame) -> str:
    forward, backward = (percent(cells[name].mean()) for name in ("forward", "backward"))  # type: ignore[arg-type]
    return f"Activations alone: {forward}; gradients alone: {backward}."


def _medians(cells: pl.DataFrame) -> str:
    """By what the variances change in the median deep network, of 30 and more layers."""
    deep = cells.filter(pl.col("depth") >= 30)
    if len(deep) < 8:
        return ""
    forward, backward = (
        digits(10 ** (2 * float(deep[name].median())))  # type: ignore[arg-type]
        for name in ("forward_decades", "gradient_decades")
    )
    return (
        f"From 30 layers on the median network's variances change by factors of {forward} and {backward}; a "
        "network's own factors scatter more, the larger its depth is against its width."
    )
