"""A sample of trials for figures that draw each one: diverged ones always among them."""

from __future__ import annotations

import polars as pl


def sampled(trials: pl.LazyFrame, columns: list[str], most: int) -> pl.DataFrame:
    """At most `most` trials: of the diverged at most half of these, the rest spread over all others.

    The same trials whatever the order of the files.
    """
    place = pl.col("trial").hash(0)
    frame = trials.select("trial", "regime", "outcome", *dict.fromkeys(columns)).collect().sort(place)
    is_lost = (pl.col("outcome") == "diverged").fill_null(False)
    lost = frame.filter(is_lost).head(most // 2)
    return pl.concat([frame.filter(~is_lost).head(most - len(lost)), lost])
