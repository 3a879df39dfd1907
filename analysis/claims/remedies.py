"""Questions 10 to 12: batch normalisation, clipping, skip connections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import polars as pl

from gradatlas.analysis import words
from gradatlas.analysis.claims.answer import POINTS, SHARE, answered, untested, with_arm
from gradatlas.analysis.claims.claim import Claim, Verdict
from gradatlas.analysis.claims.evidence import Evidence
from gradatlas.analysis.claims.gradients import STRATA
from gradatlas.analysis.claims.rules import MATTERS, PREVENTED, Rule, above, below
from gradatlas.analysis.measures.effects import Effect, difference, share
from gradatlas.study.choices.families import FEED_FORWARD, RECURRENT

_RUN = "gradatlas run claims (part {part})"
_WORDS = (
    "yes if the whole interval of {what} lies below 10 % and it is rarer than without; no if it lies above"
)
_DEPTHS = (
    pl.when(pl.col("depth") < 10)
    .then(pl.lit("fewer than 10 layers"))
    .when(pl.col("depth") < 50)
    .then(pl.lit("10 to 49 layers"))
    .otherwise(pl.lit("50 and more layers"))
)


def _prevents(
    number: str,
    cells: pl.DataFrame,
    what: str,
    *,
    noun: str,
    strata: Sequence[str],
    columns: dict[str, str],
    figure: str,
    lead: str,
    to_run: str,
) -> Claim:
    """A remedy prevents something where it hardly happens with it, and happens less than without it."""
    rule = replace(below(PREVENTED), words=_WORDS.format(what=noun))
    treated = cells.filter(pl.col("arm"))
    claim = answered(
        number, rule, treated, partial(share, what=what),
        columns=columns, unit=SHARE, figure=figure, lead=lead, to_run=to_run,
    )  # fmt: skip
    against = difference(cells, what, "arm", strata)
    if claim.effect is None or against is None:
        return untested(number, rule, to_run)
    if against.high >= 0 and claim.verdict == "yes":
        # Nothing to prevent: it does not happen without the remedy either.
        return replace(claim, verdict="not tested", answer=f"{claim.answer} It is no rarer than without.")
    points = f"{100 * against.value:+.0f} points ({100 * against.low:+.0f} to {100 * against.high:+.0f})"
    return replace(
        claim,
        n=max(claim.n, against.n),
        answer=f"{claim.answer} Against the same networks without: {points.replace('-', '−')}.",
    )


def batch_norm(evidence: Evidence, number: str, what: str) -> Claim:
    """10: the regime's share with batch norm and without, no skip."""
    among = [pl.col("skip") == "none", pl.col("norm").is_in(["none", "batch"])]
    return _prevents(
        number,
        with_arm(evidence.networks, pl.col("norm") == "batch", among).with_columns(depths=_DEPTHS),
        what,
        noun=f"the share of {what} cells with batch norm",
        strata=("activation", *STRATA),
        columns={"depths": "depth", "activation": "activation"},
        figure="regime_map",
        lead=f"Of networks with batch norm, {what}:",
        to_run=_RUN.format(part="remedies"),
    )


def skips(evidence: Evidence, number: str, what: str) -> Claim:
    """12: the regime's share with a skip connection and without, from 30 layers on, σ_w ≤ 4, no norm."""
    among = [pl.col("norm") == "none", pl.col("depth") >= 30, pl.col("sigma_w") <= 4]
    return _prevents(
        number,
        with_arm(evidence.networks, pl.col("skip") != "none", among),
        what,
        noun=f"the share of {what} cells with a skip connection at depth ≥ 30 and σ_w ≤ 4",
        strata=("activation", *STRATA),
        columns={"skip": "kind of skip connection", "activation": "activation", "band": "σ_w"},
        figure="regime_map",
        lead=f"Of networks of 30 and more layers with skip connections and σ_w up to 4, {what}:",
        to_run=_RUN.format(part="remedies"),
    )


def _clipping(evidence: Evidence, kind: str, family: pl.Expr, regime: str) -> pl.DataFrame:
    """Trained cells of one regime at the start that are clipped in one way or not at all."""
    others = [name for name in ("clip_norm", "clip_value", "clip_adaptive") if name != kind]
    among = [family, pl.col("regime") == regime, *(pl.col(name).is_null() for name in others)]
    return with_arm(evidence.trained, pl.col(kind).is_not_null(), among)


_FEED_FORWARD, _RECURRENT = pl.col("family").is_in(FEED_FORWARD), pl.col("family").is_in(RECURRENT)
_TRAINING_STRATA = ("part", "activation", "octave")


def clipping_prevents(evidence: Evidence, number: str, kind: str, *, recurrent: bool = False) -> Claim:
    """11a–c: trials that diverge, of cells whose gradient explodes at the start, clipped and not."""
    cells = _clipping(evidence, kind, _RECURRENT if recurrent else _FEED_FORWARD, "exploding")
    noun = "recurrent nets" if recurrent else "feed-forward nets"
    word = "norm" if kind == "clip_norm" else "values"
    part = "recurrent" if recurrent else "training" if kind == "clip_norm" else "value_clipping"
    return _prevents(
        number,
        cells,
        "diverged",
        noun=f"the share of diverged trials with the gradient's {word} clipped",
        strata=_TRAINING_STRATA,
        columns={kind: "threshold", "activation": "activation"},
        figure="clipping",
        lead=f"Of {noun} whose gradient explodes at the start and is clipped by {word}, diverged:",
        to_run=_RUN.format(part=part),
    )


def clipping_threshold(evidence: Evidence, number: str) -> Claim:
    """11d: the largest threshold up to which fewer than 10 % diverge."""
    words = (
        "yes if at some threshold and every smaller one the whole interval of the share of diverged "
        "trials lies below 10 %; no if at none"
    )
    rule = Rule(words, lambda effect: "yes")
    cells = _clipping(evidence, "clip_norm", _FEED_FORWARD, "exploding")
    shares = [
        (float(key), found)
        for (key,), group in sorted(cells.drop_nulls("clip_norm").group_by(["clip_norm"]))
        if (found := share(group, "diverged")) is not None
    ]
    run = _RUN.format(part="training")
    without = share(cells.filter(~pl.col("arm")), "diverged")
    if len(shares) < 2 or without is None or without.low <= PREVENTED:
        return untested(number, rule, run)
    return _threshold_claim(shares, without, untested(number, rule, run))


def _threshold_claim(shares: list[tuple[float, Effect]], without: Effect, blank: Claim) -> Claim:
    good = []
    for threshold, effect in shares:
        if effect.high >= PREVENTED:
            break
        good.append(threshold)
    listed = ", ".join(f"{100 * effect.value:.0f} % at {words.number(limit)}" for limit, effect in shares)
    beyond = next((limit for limit, _ in shares if limit not in good), None)
    n = sum(effect.n for _, effect in shares) + without.n
    tried = f"Diverged trials by threshold: {listed}; {100 * without.value:.0f} % without clipping."
    open_ = not good and any(effect.low < PREVENTED for _, effect in shares)
    if not good:
        verdict: Verdict = "undecided" if open_ else "no"
        to_run = f"More points: {blank.to_run}" if open_ else ""
        return replace(
            blank,
            verdict=verdict,
            n=n,
            answer=tried,
            figure="clipping",
            unit="norm of the gradient",
            to_run=to_run,
        )
    interval = (good[-1], beyond if beyond is not None else good[-1])
    head = f"Up to a threshold of {words.number(good[-1])}, hardly any trial diverges."
    return replace(
        blank, verdict="yes", effect=good[-1], unit="norm of the gradient", interval=interval, n=n,
        figure="clipping", answer=f"{head} {tried}", to_run="",
    )  # fmt: skip


def clipping_and_vanishing(evidence: Evidence, number: str) -> Claim:
    """11e: trials that learn, of cells whose gradient vanishes, clipped less not clipped."""
    return answered(
        number,
        above(0.0, matters=MATTERS, noun="the share of learned trials, clipped less not clipped"),
        _clipping(evidence, "clip_norm", _FEED_FORWARD, "vanishing"),
        partial(difference, what="learned", arm="arm", strata=_TRAINING_STRATA),
        columns={},
        unit=POINTS,
        figure="clipping",
        lead="Of networks whose gradient vanishes at the start, learned with clipping against without:",
        to_run=_RUN.format(part="training"),
    )
