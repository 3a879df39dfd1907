"""Questions 8c and 13: what the gradient at the start does to training."""

from __future__ import annotations

from functools import partial

import polars as pl

from gradatlas.analysis.claims.answer import DECADES, POINTS, answered, with_arm
from gradatlas.analysis.claims.claim import Claim
from gradatlas.analysis.claims.evidence import SMALL, USUAL, Evidence
from gradatlas.analysis.claims.rules import MATTERS, above, below
from gradatlas.analysis.measures.effects import difference, mean_difference, median
from gradatlas.study.choices.families import FEED_FORWARD

_RUN = "gradatlas run claims (part training)"
_FEED_FORWARD = pl.col("family").is_in(FEED_FORWARD)
_UNCLIPPED = pl.all_horizontal(pl.col("clip_norm", "clip_value", "clip_adaptive").is_null())


def small_weights_learn_less(evidence: Evidence, number: str) -> Claim:
    """8c: trials that learn, small weights less usual ones, at the same depth and activation."""
    plain = [_FEED_FORWARD, pl.col("norm") == "none", pl.col("skip") == "none"]
    cells = with_arm(
        evidence.trained, pl.col("band") == SMALL, [*plain, pl.col("band").is_in([SMALL, USUAL])]
    )
    return answered(
        number,
        below(0.0, matters=MATTERS, noun="the share of learned trials, small less usual weights"),
        cells,
        partial(difference, what="learned", arm="arm", strata=("part", "activation", "octave")),
        columns={"activation": "activation"},
        unit=POINTS,
        figure="outcome_map",
        lead="Trials that learned, with σ_w below 0.8 against 0.8 to 1.25:",
        to_run=_RUN,
    )


def early_layers_learn_slowly(evidence: Evidence, number: str) -> Claim:
    """13a: how far the first layer moved against the last, relative to its weights."""
    return answered(
        number,
        below(0.0, matters=0.1, noun="the median of log10 (update of the first layer / of the last)"),
        evidence.trained.filter(_FEED_FORWARD, pl.col("vanishing")),
        partial(median, what="update_decades"),
        columns={"activation": "activation"},
        unit=DECADES,
        figure="trainability",
        lead="Where gradients vanish, the first layer's relative update over the last's is",
        to_run=_RUN,
    )


_MEASURES = {"diverged": difference, "oscillation": mean_difference}


def exploding_disturbs(evidence: Evidence, number: str, what: str, noun: str, lead: str) -> Claim:
    """13b, 13c: what happens where gradients explode less what happens where they are stable, unclipped."""
    cells = with_arm(
        evidence.trained,
        pl.col("exploding"),
        [_FEED_FORWARD, _UNCLIPPED, pl.col("regime").is_in(["exploding", "stable"])],
    )
    return answered(
        number,
        above(0.0, matters=MATTERS, noun=noun),
        cells,
        partial(_MEASURES[what], what=what, arm="arm", strata=("part", "activation")),
        columns={"activation": "activation"},
        unit=POINTS,
        figure="trainability",
        lead=lead,
        to_run=_RUN,
    )
