"""Questions 8c and 13: what the gradient at the start does to training, at the same learning rates."""

from __future__ import annotations

from functools import partial

import polars as pl

from gradatlas.analysis.claims.answer import POINTS, answered, extended, with_arm
from gradatlas.analysis.claims.bands import RATES, SMALL, USUAL
from gradatlas.analysis.claims.claim import Claim
from gradatlas.analysis.claims.clipping import STRATA
from gradatlas.analysis.claims.evidence import CLIPS, Evidence
from gradatlas.analysis.claims.rules import MATTERS, above, below
from gradatlas.analysis.measures.effects import difference
from gradatlas.analysis.words import percent
from gradatlas.study.choices.families import FEED_FORWARD

_RUN = "gradatlas run claims (part training)"
_FEED_FORWARD = pl.col("family").is_in(FEED_FORWARD)
_PLAIN = (pl.col("norm") == "none") & (pl.col("skip") == "none")
_UNCLIPPED = pl.all_horizontal(pl.col(*CLIPS).is_null())


def small_weights_learn_less(evidence: Evidence, number: str) -> Claim:
    """8c: trials that learn, small weights minus usual ones, at the same depth and activation."""
    among = [_FEED_FORWARD, _PLAIN, pl.col("band").is_in([SMALL, USUAL])]
    return answered(
        number,
        below(0.0, matters=MATTERS, noun="the share of learned trials, small minus usual weights"),
        with_arm(evidence.trained, pl.col("band") == SMALL, among),
        partial(difference, what="learned", arm="arm", strata=(*STRATA, "octave")),
        columns={"activation": "activation"},
        unit=POINTS,
        figure="outcome_map",
        lead="Learned with σ_w below 0.8 against 0.8 to 1.25, at the same depth and learning rate:",
        to_run=_RUN,
    )


def early_layers_learn_slowly(evidence: Evidence, number: str) -> Claim:
    """13a: trials whose first layer moves less than half as much as the last, vanishing minus stable."""
    cells = with_arm(
        evidence.trained,
        pl.col("vanishing"),
        [_FEED_FORWARD, _PLAIN, pl.col("regime").is_in(["vanishing", "stable"])],
    ).drop_nulls("slow")
    claim = answered(
        number,
        above(
            0.0,
            matters=MATTERS,
            noun="the share of trials whose first layer moves less than half as much as the last, relative "
            "to their weights, vanishing minus stable",
        ),
        cells,
        partial(difference, what="slow", arm="arm", strata=STRATA),
        columns={"activation": "activation"},
        unit=POINTS,
        figure="trainability",
        lead="Trials whose first layer moves less than half as much as the last, relative to its weights, "
        "where the gradient vanishes against where it is stable, at the same learning rates:",
        to_run=_RUN,
    )
    homogeneous = (
        "In ReLU networks without biases ⟨W, ∂ℓ/∂W⟩ is the same in every layer, so their layers move alike "
        "however much δ vanishes: the signal is larger in early layers by what the gradient is smaller."
    )
    has_relu = "relu" in cells["activation"]
    return extended(claim, _two_shares(cells, "slow", "vanishes"), homogeneous if has_relu else "")


def _two_shares(cells: pl.DataFrame, what: str, verb: str) -> str:
    first, second = (
        percent(cells.filter(arm)[what].mean())  # type: ignore[arg-type]
        for arm in (pl.col("arm"), ~pl.col("arm"))
    )
    return f"In all, {first} where it {verb} and {second} where it is stable."


def _exploding(evidence: Evidence) -> pl.DataFrame:
    """Trained cells without clipping whose gradient explodes (`arm`) or is stable at the start."""
    among = [_FEED_FORWARD, _PLAIN, _UNCLIPPED, pl.col("regime").is_in(["exploding", "stable"])]
    return with_arm(evidence.trained, pl.col("exploding"), among).with_columns(rates=RATES)


def exploding_diverges(evidence: Evidence, number: str) -> Claim:
    """13b: trials that diverge where gradients explode minus where they are stable, unclipped."""
    cells = _exploding(evidence)
    claim = answered(
        number,
        above(0.0, matters=MATTERS, noun="the share of diverged trials, exploding minus stable"),
        cells,
        partial(difference, what="diverged", arm="arm", strata=STRATA),
        columns={"activation": "activation", "rates": "learning rate"},
        unit=POINTS,
        figure="trainability",
        lead="Trials that diverged, where the gradient explodes against where it is stable, at the same "
        "learning rates:",
        to_run=_RUN,
    )
    return extended(claim, _two_shares(cells, "diverged", "explodes"))


def exploding_swings(evidence: Evidence, number: str) -> Claim:
    """13c: trials whose loss swings on a fixed batch, exploding minus stable; those that diverge swing."""
    cells = _exploding(evidence).drop_nulls("swings")
    claim = answered(
        number,
        above(0.0, matters=MATTERS, noun="the share of trials whose loss swings, exploding minus stable"),
        cells,
        partial(difference, what="swings", arm="arm", strata=STRATA),
        columns={"activation": "activation", "rates": "learning rate"},
        unit=POINTS,
        figure="trainability",
        lead="Trials whose loss on a fixed batch goes up and down from step to step, passes twice its "
        "first value or diverges, where the gradient explodes against where it is stable, at the same "
        "learning rates:",
        to_run=_RUN,
    )
    calm = cells.filter(pl.col("diverged") == 0)
    rest = f"Without those that diverged: {_two_shares(calm, 'swings', 'explodes').removeprefix('In all, ')}"
    return extended(claim, _two_shares(cells, "swings", "explodes"), rest)
