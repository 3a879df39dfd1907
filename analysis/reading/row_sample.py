"""A sample of rows that is the same whatever the order of files and rows."""

from __future__ import annotations

import polars as pl


def sampled(frame: pl.DataFrame, most: int, *, by: str = "point", seed: int = 0) -> pl.DataFrame:
    """At most that many rows, chosen and ordered by a hash of a column."""
    if len(frame) <= most:
        return frame
    return frame.sort(pl.col(by).hash(seed)).head(most)
