"""What the claims are made from: one row per point and clipping, and a sample of whole profiles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from gradatlas.analysis.reading.cells import cells
from gradatlas.analysis.reading.row_sample import sampled
from gradatlas.study.choices.families import FEED_FORWARD
from gradatlas.study.regimes import Limits

_CLIPS = ("clip_norm", "clip_value", "clip_adaptive")
_KEY = ("part", "point", *_CLIPS)
_COLUMNS = (
    *_KEY, "family", "depth", "width", "activation", "init", "sigma_w", "sigma_b", "norm", "norm_position",
    "skip", "batch_size", "rows", "gradient_decades", "forward_decades", "slope", "regime", "trained",
    "learned", "diverged", "update_decades", "oscillation",
)  # fmt: skip
_MOST_PROFILES = 2_000  # of chains, and of wide networks
_NONE = pl.DataFrame(schema={"trial": pl.Int64()})

SMALL, USUAL, LARGE = "σ_w < 0.8", "0.8 ≤ σ_w ≤ 1.25", "σ_w > 1.25"


@dataclass(frozen=True)
class Evidence:
    """`cells`: one row per point and clipping; `steps`: one per layer's step of a sample of trials."""

    cells: pl.DataFrame
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

    @cached_property
    def trained(self) -> pl.DataFrame:
        """Cells that were trained, of any family."""
        return self.cells.filter(pl.col("trained") > 0)


def evidence(trials: pl.LazyFrame, limits: Limits) -> Evidence:
    """The evidence of labelled trials."""
    ratio = (pl.col("update_profile").list.first() / pl.col("update_profile").list.last()).log10()
    table = cells(
        trials,
        limits,
        ratio.fill_nan(None).median().alias("update_decades"),
        # Signs are counted over the last half of training.
        (2 * pl.col("loss_sign_changes") / pl.col("steps")).fill_nan(None).mean().alias("oscillation"),
        by=_KEY,
    ).select(_COLUMNS)
    banded = table.with_columns(
        *((pl.col("regime") == name).alias(name) for name in ("vanishing", "stable", "exploding")),
        octave=pl.col("depth").log(2).floor(),
        scale=(2 * pl.col("sigma_w").log(2)).floor(),
        band=pl.when(pl.col("sigma_w") < 0.8)
        .then(pl.lit(SMALL))
        .when(pl.col("sigma_w") > 1.25)
        .then(pl.lit(LARGE))
        .otherwise(pl.lit(USUAL)),
    )
    return Evidence(banded.collect().sort(_KEY), _profiles(trials), limits)


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
