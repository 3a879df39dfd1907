"""Critical lines: the σ_w at which gradients turn from vanishing to exploding, with an interval."""

from __future__ import annotations

import polars as pl

from study.regimes import DEFAULT_LIMITS, Limits

SCHEMA = pl.Schema(
    {
        "part": pl.String(),
        "activation": pl.String(),
        "norm": pl.String(),
        "norm_position": pl.String(),
        "skip": pl.String(),
        "depth_low": pl.Int64(),
        "depth_high": pl.Int64(),
        "critical_sigma_w": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "theory_sigma_w": pl.Float64(),
        "residual": pl.Float64(),
        "cells": pl.Int64(),
        "note": pl.String(),
    }
)


def boundaries(trials: pl.LazyFrame, limits: Limits = DEFAULT_LIMITS) -> pl.DataFrame:
    """One row per setting and depth band: the critical σ_w, its 95 % interval, theory's beside it."""
    return pl.DataFrame(schema=SCHEMA)
