"""The answers: each question of the study with verdict, effect, interval, number of trials and figure."""

from __future__ import annotations

import polars as pl

from analysis.claims.claim import Claim, Verdict
from analysis.claims.questions import QUESTIONS
from study.regimes import DEFAULT_LIMITS, Limits

__all__ = ["Claim", "Verdict", "claims"]


def claims(trials: pl.LazyFrame, limits: Limits = DEFAULT_LIMITS) -> list[Claim]:
    """The claims of labelled trials, in the order of the questions."""
    return [Claim(number, text, "not tested", to_run="gradatlas run claims") for number, text in QUESTIONS]
