"""Question 11: what clipping does for networks whose gradient explodes, or vanishes, at the start.

A remedy is judged by what it is for: whether networks learn. A clipped network moves at most learning rate
× threshold in a step, so a small threshold keeps any network finite without helping it. Networks are compared
at the same learning rates, and beside them stand those whose gradient is stable, clipped or not: what
diverges or fails to learn there as often is not the explosion's doing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import polars as pl

from gradatlas.analysis.claims.answer import POINTS, answered, by_settings, extended, told, untested, with_arm
from gradatlas.analysis.claims.bands import SEVERITY
from gradatlas.analysis.claims.claim import Claim
from gradatlas.analysis.claims.evidence import CLIPS, Evidence
from gradatlas.analysis.claims.rules import MATTERS, Rule, above, found
from gradatlas.analysis.measures.effects import Effect, difference, share
from gradatlas.analysis.words import joined, percent
from gradatlas.analysis.words import number as digits
from gradatlas.study.choices.families import FEED_FORWARD, RECURRENT

_RUN = "gradatlas run claims (part {part})"
STRATA = ("part", "activation", "optimizer", "rate")
_LEARNED = partial(difference, what="learned", arm="arm", strata=STRATA)
_LEARNABLE = 0.1  # the share that must learn with a stable gradient, for the task to tell anything
_FAMILIES = {False: pl.col("family").is_in(FEED_FORWARD), True: pl.col("family").is_in(RECURRENT)}
_NOUNS = {False: "feed-forward networks", True: "recurrent networks"}


def _cells(evidence: Evidence, kind: str, *, recurrent: bool) -> pl.DataFrame:
    """Trained cells that are clipped in one way (`arm`) or not at all, in parts that have both."""
    others = [pl.col(name).is_null() for name in CLIPS if name != kind]
    cells = with_arm(evidence.trained, pl.col(kind).is_not_null(), [_FAMILIES[recurrent], *others])
    both = pl.col("arm").n_unique().over("part") == 2
    return cells.filter(both).with_columns(severity=SEVERITY)


def lets_learn(evidence: Evidence, number: str, kind: str, *, recurrent: bool = False) -> Claim:
    """11a–c: trials that learn, of cells whose gradient explodes at the start, clipped minus not clipped."""
    cells = _cells(evidence, kind, recurrent=recurrent)
    word = "norm" if kind == "clip_norm" else "values"
    part = "recurrent" if recurrent else "clipping" if kind == "clip_norm" else "value_clipping"
    exploding = cells.filter(pl.col("exploding"))
    rule = above(0.0, matters=MATTERS, noun="the share of exploding networks that learn, clipped minus not")
    columns = {"activation": "activation", "severity": "how much it explodes"}
    settings = by_settings(exploding, _LEARNED, columns) | {"threshold": _by_limit(exploding, kind)}
    claim = told(
        number,
        rule,
        found(rule, _LEARNED(exploding), settings),
        unit=POINTS,
        figure="clipping",
        lead=f"Of {_NOUNS[recurrent]} whose gradient explodes at the start, learned with its {word} clipped "
        "against without, at the same learning rates:",
        to_run=_RUN.format(part=part),
    )
    return _with_control(claim, cells)


def _by_limit(cells: pl.DataFrame, kind: str) -> list[tuple[str, Effect | None]]:
    """The effect of each threshold, against networks without clipping."""
    return [
        (f"a threshold of {digits(limit)}", _helped(cells, kind, limit)) for limit in _thresholds(cells, kind)
    ]


def _with_control(claim: Claim, cells: pl.DataFrame) -> Claim:
    """The claim with both shares of what learned and diverged, beside those of a stable gradient.

    Where not even networks with a stable gradient learn, nothing can be said of a remedy.
    """
    exploding, stable = cells.filter(pl.col("exploding")), cells.filter(pl.col("stable"))
    claim = extended(claim, *(_outcomes(name, exploding, stable) for name in ("learned", "diverged")))
    control = share(stable, "learned")
    if claim.effect is None or (control is not None and control.high >= _LEARNABLE):
        return claim
    why = "Hardly any network with a stable gradient learns here either, so this run cannot tell."
    return replace(claim, verdict="undecided", depends_on="", answer=f"{claim.answer} {why}")


def _outcomes(what: str, exploding: pl.DataFrame, stable: pl.DataFrame) -> str:
    """'Diverged: 8 % with clipping, 53 % without; with a stable gradient 0 % and 12 %.'"""
    (clipped, plain), (control, bare) = (_shares(cells, what) for cells in (exploding, stable))
    return (
        f"{what.capitalize()}: {clipped} with clipping, {plain} without; where the gradient is stable "
        f"{control} and {bare}."
    )


def _shares(cells: pl.DataFrame, what: str) -> tuple[str, str]:
    """The share with clipping and without, in words."""
    arms = cells.filter(pl.col("arm")), cells.filter(~pl.col("arm"))
    first, second = (percent(arm[what].mean()) for arm in arms)  # type: ignore[arg-type]
    return first, second


def threshold_that_helps(evidence: Evidence, number: str) -> Claim:
    """11d: the thresholds at which exploding networks learn more often than without clipping."""
    words = (
        "yes if at some threshold the whole interval of the share that learns, clipped minus not, lies above "
        f"0 and is at least {MATTERS:g}; no if it lies below {MATTERS:g} at every threshold"
    )
    rule = Rule(words, above(0.0, matters=MATTERS).judge)
    run = _RUN.format(part="clipping")
    cells = _cells(evidence, "clip_norm", recurrent=False).filter(pl.col("exploding"))
    limits = _thresholds(cells, "clip_norm")
    effects = [(limit, effect) for limit in limits if (effect := _helped(cells, "clip_norm", limit))]
    if len(effects) < 2:
        return untested(number, rule, run)
    verdicts = [rule.judge(effect) for _, effect in effects]
    helping = [limit for (limit, _), verdict in zip(effects, verdicts, strict=True) if verdict == "yes"]
    best, effect = max(effects, key=lambda pair: pair[1].value)
    blank = untested(number, rule, "")
    return replace(
        blank,
        verdict="yes" if helping else "no" if set(verdicts) == {"no"} else "undecided",
        effect=best if helping else None,
        unit="norm of the gradient",
        n=sum(effect.n for _, effect in effects),
        figure="clipping",
        answer=f"{_helping_sentence(helping)} {_by_threshold(cells)}",
        to_run="" if helping or set(verdicts) == {"no"} else f"More points: {run}",
    )


def _thresholds(cells: pl.DataFrame, kind: str) -> Sequence[float]:
    limits: list[float] = cells[kind].drop_nulls().unique().sort().to_list()
    return limits


def _helped(cells: pl.DataFrame, kind: str, limit: float) -> Effect | None:
    """Learned at one threshold minus without clipping, at the same learning rates."""
    return _LEARNED(cells.filter(pl.col(kind).is_null() | (pl.col(kind) == limit)))


def _helping_sentence(helping: Sequence[float]) -> str:
    if not helping:
        return "At none of the thresholds do clearly more of them learn than without clipping."
    listed = joined([digits(limit) for limit in helping])
    return f"More of them learn than without clipping at a threshold of {listed}."


def _by_threshold(cells: pl.DataFrame) -> str:
    """What became of networks at each threshold: learned, diverged, and the median of the final losses."""
    entries = []
    for limit in (*_thresholds(cells, "clip_norm"), None):
        chosen = cells.filter(pl.col("clip_norm").eq_missing(pl.lit(limit, dtype=pl.Float64)))
        name = "without" if limit is None else f"at {digits(limit)}"
        outcomes = f"{percent(chosen['learned'].mean())}, {percent(chosen['diverged'].mean())}"  # type: ignore[arg-type]
        loss = chosen["final_loss"].median()
        entries.append(f"{name} {outcomes}, {'–' if loss is None else digits(float(loss))}")  # type: ignore[arg-type]
    return (
        f"Learned, diverged, median final loss of the others: {'; '.join(entries)}. A network moves at most "
        "learning rate × threshold in a step: a small threshold keeps it finite where it started."
    )


def and_vanishing(evidence: Evidence, number: str) -> Claim:
    """11e: trials that learn, of cells whose gradient vanishes, clipped minus not clipped."""
    cells = _cells(evidence, "clip_norm", recurrent=False)
    claim = answered(
        number,
        above(0.0, matters=MATTERS, noun="the share of vanishing networks that learn, clipped minus not"),
        cells.filter(pl.col("vanishing")),
        _LEARNED,
        columns={"activation": "activation", "severity": "how much it vanishes"},
        unit=POINTS,
        figure="clipping",
        lead="Of networks whose gradient vanishes at the start, learned with the gradient's norm clipped "
        "against without, at the same learning rates:",
        to_run=_RUN.format(part="clipping"),
    )
    vanishing, stable = cells.filter(pl.col("vanishing")), cells.filter(pl.col("stable"))
    return extended(claim, _outcomes("learned", vanishing, stable))
