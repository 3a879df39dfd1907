"""The answers: each question of the study with verdict, effect, interval, number of trials and figure.

A claim is an entry of `CLAIMS`: a function of the evidence. Its verdict is that of a rule (`rules`) on the
interval of an effect (`effects`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import polars as pl

from gradatlas.analysis.claims import clipping, depths, gradients, remedies, schemes, training
from gradatlas.analysis.claims.claim import Claim, Verdict
from gradatlas.analysis.claims.evidence import Evidence, evidence
from gradatlas.study.regimes import DEFAULT_LIMITS, Limits

__all__ = ["CLAIMS", "Claim", "Verdict", "claims", "claims_of"]

CLAIMS: dict[str, Callable[[Evidence, str], Claim]] = {
    "1a": partial(gradients.chain_rule, single=True),
    "1b": partial(gradients.chain_rule, single=False),
    "2a": gradients.small_weights_relu,
    "2b": partial(gradients.small_weights_against, other="sigmoid"),
    "2c": partial(gradients.small_weights_against, other="tanh"),
    "3a": gradients.sigmoid_explodes,
    "3b": gradients.sigmoid_needs_big_weights,
    "4a": partial(gradients.relu_explodes_more, other="sigmoid"),
    "4b": partial(gradients.relu_explodes_more, other="tanh"),
    "5a": partial(gradients.lost_after_twenty, activation="sigmoid"),
    "5b": partial(gradients.lost_after_twenty, activation="tanh"),
    "6a": depths.depth_is_safe,
    "6b": depths.depth_begins_trouble,
    "6c": depths.depth_is_trouble,
    "7a": partial(schemes.scheme_holds, activation="tanh", sigma_w=1.0, name="Xavier"),
    "7b": partial(schemes.scheme_holds, activation="sigmoid", sigma_w=1.0, name="Xavier"),
    "7c": partial(schemes.scheme_holds, activation="relu", sigma_w=2**0.5, name="He"),
    "8a": partial(
        gradients.small_against_large,
        what="exploding",
        rule_noun="the share of exploding cells, small minus large weights",
        lead="Exploding networks with σ_w below 0.8 against above 1.25:",
    ),
    "8b": partial(
        gradients.small_against_large,
        what="vanishing",
        rule_noun="the share of vanishing cells, small minus large weights",
        lead="Vanishing networks with σ_w below 0.8 against above 1.25:",
    ),
    "8c": training.small_weights_learn_less,
    "9a": partial(gradients.other_activation_vanishes_less, old="sigmoid"),
    "9b": partial(gradients.other_activation_vanishes_less, old="tanh"),
    "10a": partial(remedies.batch_norm, what="vanishing"),
    "10b": partial(remedies.batch_norm, what="exploding"),
    "11a": partial(clipping.lets_learn, kind="clip_norm"),
    "11b": partial(clipping.lets_learn, kind="clip_norm", recurrent=True),
    "11c": partial(clipping.lets_learn, kind="clip_value"),
    "11d": clipping.threshold_that_helps,
    "11e": clipping.and_vanishing,
    "12a": partial(remedies.skips, what="vanishing"),
    "12b": partial(remedies.skips, what="exploding"),
    "13a": training.early_layers_learn_slowly,
    "13b": training.exploding_diverges,
    "13c": training.exploding_swings,
}


def claims(trials: pl.LazyFrame, limits: Limits = DEFAULT_LIMITS) -> list[Claim]:
    """The claims of labelled trials, in the order of the questions."""
    return claims_of(evidence(trials, limits))


def claims_of(found: Evidence) -> list[Claim]:
    """The claims of what `analysis.claims.evidence` gathered."""
    return [claim(found, number) for number, claim in CLAIMS.items()]
