"""Question 6: from which depth on gradients are in trouble, with the weights of the usual schemes."""

from __future__ import annotations

from functools import partial

import polars as pl

from gradatlas.analysis.claims.answer import SHARE, answered, extended, span, untested
from gradatlas.analysis.claims.claim import Claim, Verdict
from gradatlas.analysis.claims.evidence import Evidence
from gradatlas.analysis.claims.rules import GUARANTEED, Rule, above
from gradatlas.analysis.measures.effects import Effect, share

_RUN = "gradatlas run claims (part activations)"
_USUAL = (pl.col("sigma_w") >= 0.5) & (pl.col("sigma_w") <= 2.0)
_LITTLE, _MUCH = 0.25, 0.5  # shares of unstable networks that "before trouble" and "in trouble" mean
_COLUMNS = {"activation": "activation", "band": "σ_w"}


def _usual(evidence: Evidence, low: int, high: float) -> pl.DataFrame:
    """Plain cells of some depths, with `trouble`: not stable."""
    inside = pl.col("depth").is_between(low, high)
    return evidence.plain.filter(_USUAL, inside).with_columns(
        trouble=~pl.col("stable"),
    )


def depth_is_safe(evidence: Evidence, number: str) -> Claim:
    """6a: share of stable cells at depth 2 to 5."""
    return answered(
        number,
        above(GUARANTEED, noun="the share of stable cells at depth 2–5 and σ_w 0.5–2"),
        _usual(evidence, 2, 5),
        partial(share, what="stable"),
        columns=_COLUMNS,
        unit=SHARE,
        figure="regime_map",
        lead="Of plain networks of 2 to 5 layers with σ_w from 0.5 to 2, stable:",
        to_run=_RUN,
    )


def depth_begins_trouble(evidence: Evidence, number: str) -> Claim:
    """6b: trouble starts in a band where there is little of it just before and much inside.

    Any two bands differ; so the band below, 6 to 9 layers, is asked as well.
    """
    words = (
        f"yes if the whole interval of the unstable share lies below {_LITTLE:g} at depth 6–9 and above "
        f"{_MUCH:g} at depth 10–20; no if it lies above {_LITTLE:g} before or below {_MUCH:g} inside"
    )
    before = share(_usual(evidence, 6, 9), "trouble")

    def judge(inside: Effect) -> Verdict:
        assert before is not None
        if inside.high < _MUCH or before.low > _LITTLE:
            return "no"
        return "yes" if inside.low > _MUCH and before.high < _LITTLE else "undecided"

    rule = Rule(words, judge)
    if before is None:
        return untested(number, rule, _RUN)
    claim = answered(
        number,
        rule,
        _usual(evidence, 10, 20),
        partial(share, what="trouble"),
        columns={},
        unit=SHARE,
        figure="regime_map",
        lead="Of plain networks of 10 to 20 layers with σ_w from 0.5 to 2, unstable:",
        to_run=_RUN,
    )
    shallow = share(_usual(evidence, 2, 5), "trouble")
    told = f"At 6 to 9 layers: {span(before, SHARE)}"
    claim = extended(claim, f"{told}; at 2 to 5: {span(shallow, SHARE)}." if shallow else f"{told}.")
    sooner = "Trouble starts sooner, and grows with depth rather than at a certain one."
    return extended(claim, sooner) if claim.verdict == "no" and before.low > _LITTLE else claim


def depth_is_trouble(evidence: Evidence, number: str) -> Claim:
    """6c: share of unstable cells beyond 50 layers."""
    return answered(
        number,
        above(GUARANTEED, noun="the share of unstable cells at depth > 50 and σ_w 0.5–2"),
        _usual(evidence, 51, float("inf")),
        partial(share, what="trouble"),
        columns=_COLUMNS,
        unit=SHARE,
        figure="regime_map",
        lead="Of plain networks of more than 50 layers with σ_w from 0.5 to 2, unstable:",
        to_run=_RUN,
    )
