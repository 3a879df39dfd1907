"""What the claims are made from: cells at initialisation and of training, and a sample of whole profiles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from gradatlas.analysis.claims.bands import WEIGHTS
from gradatlas.analysis.measures.oscillation import swings
from gradatlas.analysis.reading.cells import cells
from gradatlas.analysis.reading.row_sample import sampled
from gradatlas.study.choices.families import FEED_FORWARD
from gradatlas.study.regimes import Limits

CLIPS = ("clip_norm", "clip_value", "clip_adaptive")
_KEY = ("part", "point", *CLIPS)
_COLUMNS = (
    *_KEY, "family", "depth", "width", "activation", "init", "sigma_w", "sigma_b", "norm", "norm_position",
    "skip", "batch_size", "rows", "gradient_decades", "forward_decades", "slope", "regime", "trained",
    "learned", "diverged",
)  # fmt: skip
# Learning rates of one half decade are one cell's: what a rate does is not told from what a gradient does
# unless the same rates are compared.
_RATE = (2 * pl.col("learning_rate").log10()).floor()
_TRAINED_KEY = (*_KEY, "rate", "optimizer")
_SLOW = 0.5  # of the last layer's relative update, below which the first layer learns more slowly
_MOST_PROFILES = 2_000  # of chains, and of wide networks
_NONE = pl.DataFrame(schema={"trial": pl.Int64()})


@dataclass(frozen=True)
class Evidence:
    """`cells`: one row per point and clipping; `trained`: one per those, half decade of the learning rate
    and optimizer, of trials that were trained; `profiles`: one per trial of a sample.
    """

    cells: pl.DataFrame
    trained: pl.DataFrame
    profiles: pl.DataFrame
    limits: Limits

    @cached_property
    def plain(self) -> pl.DataFrame:
        """Feed-forward cells of wide layers without norm and skip."""
        return self.networks.filter(pl.col("norm") == "none", pl.col("skip") == "none")

    @cached_property
    def networks(self) -> pl.DataFrame:
        """Feed-forward cells of wide layers."""
        return self.cells.filter(pl.col("family").is_in(FEED_FORWARD), pl.col("width") > 1)


def evidence(trials: pl.LazyFrame, limits: Limits) -> Evidence:
    """The evidence of labelled trials."""
    table = cells(trials, limits, by=_KEY).select(_COLUMNS)
    return Evidence(_banded(table).collect().sort(_KEY), _trained(trials, limits), _profiles(trials), limits)


def _banded(table: pl.LazyFrame) -> pl.LazyFrame:
    """The cells with whether each has a regime, and the bands in which cells are compared."""
    return table.with_columns(
        *((pl.col("regime") == name).alias(name) for name in ("vanishing", "stable", "exploding")),
        relative_decades=pl.col("gradient_decades") - pl.col("forward_decades"),
        octave=pl.col("depth").log(2).floor(),
        scale=(2 * pl.col("sigma_w").log(2)).floor(),
        band=WEIGHTS,
    )


def _trained(trials: pl.LazyFrame, limits: Limits) -> pl.DataFrame:
    """Cells of training with the shares of trials whose first layer is slow and whose loss swings."""
    update = pl.col("update_profile").list
    table = cells(
        trials.filter(pl.col("outcome").is_not_null()).with_columns(rate=_RATE),
        limits,
        ((update.first() / update.last()).fill_nan(None) < _SLOW).mean().alias("slow"),
        _swings().mean().alias("swings"),
        pl.col("final_loss").median(),
        by=_TRAINED_KEY,
    )
    return _banded(table).drop_nulls("regime").collect().sort(_TRAINED_KEY)


def _swings() -> pl.Expr:
    """Whether a trial's loss swings on the fixed batch; so does one that diverged. Null where unknown."""
    record, losses = pl.struct("probe_losses", "probe_steps"), pl.col("probe_losses")
    swung = pl.when(losses.is_not_null()).then(record).map_elements(_swings_in, return_dtype=pl.Boolean)
    diverged = losses.is_not_null() & (pl.col("outcome") == "diverged")
    return pl.when(diverged).then(pl.lit(value=True)).otherwise(swung)


def _swings_in(record: dict[str, Any]) -> bool | None:
    losses = record["probe_losses"]
    return None if losses is None else swings(losses, record["probe_steps"])


def _profiles(trials: pl.LazyFrame) -> pl.DataFrame:
    """Of a sample of plain trials: how far the factors are from each step, and the median factor of each."""
    plain = trials.filter(
        pl.col("family").is_in(FEED_FORWARD),
        pl.col("norm") == "none",
        pl.col("skip") == "none",
        pl.col("weight_factor_profile").list.len() > 1,
    )
    chosen = plain.select("trial", single=pl.col("width") == 1).collect().partition_by("single")
    kept = pl.concat([sampled(kind, _MOST_PROFILES, by="trial") for kind in chosen] or [_NONE])
    names = ("gradient_profile", "weight_factor_profile", "derivative_factor_profile")
    rows = (
        plain.select("trial", "activation", "width", "depth", "sigma_w", *names)
        .join(kept.lazy(), on="trial", how="semi")
        .collect()
        .sort("trial")
    )
    told = [_told(*(np.array(row[name], float) for name in names)) for row in rows.iter_rows(named=True)]
    columns = ("mismatch", "weights", "derivatives")
    return rows.drop(names).with_columns(
        *(
            pl.Series(name, [entry[place] for entry in told], dtype=pl.Float64()).fill_nan(None)
            for place, name in enumerate(columns)
        )
    )


def _told(gradient: np.ndarray, weights: np.ndarray, derivatives: np.ndarray) -> tuple[float, float, float]:
    """(Largest |weights + derivatives − step|, their medians), decades; nan where no step is finite."""
    steps = gradient[:-1] - gradient[1:]
    known = np.isfinite(steps) & np.isfinite(weights[:-1]) & np.isfinite(derivatives[:-1])
    if not known.any():
        return np.nan, np.nan, np.nan
    w, d = weights[:-1][known], derivatives[:-1][known]
    return float(np.abs(w + d - steps[known]).max()), float(np.median(w)), float(np.median(d))
