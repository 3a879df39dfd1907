"""Bands of depth, σ_w, learning rate and size of an explosion, in which the questions' answers may differ."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl


def band(column: str | pl.Expr, edges: Sequence[float], labels: Sequence[str]) -> pl.Expr:
    """The label of each value's band, edge included below: one label more than edges, in their order."""
    values = pl.col(column) if isinstance(column, str) else column
    label = pl.lit(labels[0])
    for edge, name in zip(edges, labels[1:], strict=True):
        label = pl.when(values >= edge).then(pl.lit(name)).otherwise(label)
    return pl.when(values.is_not_null()).then(label).cast(pl.Enum(labels))


SMALL, USUAL, LARGE = "σ_w < 0.8", "σ_w from 0.8 to 1.25", "σ_w > 1.25"
WEIGHTS = band("sigma_w", (0.8, 1.25), (SMALL, USUAL, LARGE))
CRITICAL_WEIGHTS = band(
    "sigma_w", (1.0, 1.5, 3.0), ("σ_w < 1", "σ_w from 1 to 1.5", "σ_w from 1.5 to 3", "σ_w > 3")
)
SCHEMES = band("sigma_w", (0.7, 1.2), ("σ_w < 0.7", "σ_w from 0.7 to 1.2", "σ_w from 1.2 to 2"))
DEPTHS = band("depth", (10, 30), ("fewer than 10 layers", "10 to 29 layers", "30 and more layers"))
VERY_DEEP = band("depth", (10, 50), ("fewer than 10 layers", "10 to 49 layers", "50 and more layers"))
FROM_TWENTY = band("depth", (30, 50), ("20 to 29 layers", "30 to 49 layers", "50 and more layers"))
RATES = band(
    "learning_rate",
    (0.01, 0.1),
    ("learning rates below 0.01", "learning rates from 0.01 to 0.1", "learning rates of 0.1 and more"),
)
SEVERITY = band(pl.col("gradient_decades").abs(), (3.0,), ("fewer than 3 decades", "3 and more decades"))
