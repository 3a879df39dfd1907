"""Questions 10 and 12: batch normalisation and skip connections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import polars as pl

from gradatlas.analysis import words
from gradatlas.analysis.claims.answer import SHARE, answered, extended, untested, with_arm
from gradatlas.analysis.claims.bands import VERY_DEEP
from gradatlas.analysis.claims.claim import Claim
from gradatlas.analysis.claims.evidence import Evidence
from gradatlas.analysis.claims.gradients import STRATA
from gradatlas.analysis.claims.rules import PREVENTED, below
from gradatlas.analysis.measures.effects import LEAST_CELLS, difference, share
from gradatlas.study.choices.families import FEED_FORWARD

_RUN = "gradatlas run claims (part {part})"
_WORDS = (
    "yes if the whole interval of {what} lies below 10 % and it is rarer than without; no if it lies above"
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
    """A remedy prevents something where it hardly happens with it, and happens less than without it.

    Only parts of the study that have networks without it count: elsewhere there is nothing to compare with.
    """
    cells = cells.filter(pl.col("arm").n_unique().over("part") == 2)
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
        return replace(claim, verdict="undecided", answer=f"{claim.answer} It is no rarer than without.")
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
        with_arm(evidence.networks, pl.col("norm") == "batch", among).with_columns(depths=VERY_DEEP),
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
    cells = with_arm(evidence.networks, pl.col("skip") != "none", among)
    claim = _prevents(
        number,
        cells,
        what,
        noun=f"the share of {what} cells with a skip connection at depth ≥ 30 and σ_w ≤ 4",
        strata=("activation", *STRATA),
        columns={"skip": "kind of skip connection", "activation": "activation", "band": "σ_w"},
        figure="regime_map",
        lead=f"Of networks of 30 and more layers with skip connections and σ_w up to 4, {what}:",
        to_run=_RUN.format(part="remedies"),
    )
    return extended(claim, *(_explosions(evidence, cells) if what == "exploding" else ()))


def _explosions(evidence: Evidence, cells: pl.DataFrame) -> list[str]:
    """What an explosion in a stream means: how much the signal grows alike, and whether training works."""
    skipped = cells.filter(pl.col("arm"), pl.col("exploding")).drop_nulls("relative_decades")
    if skipped.is_empty():
        return []
    gradient, relative = (
        # Adding 0 makes −0 a 0.
        f"{round(float(skipped[name].median()), 1) + 0:.1f}".replace("-", "−")  # type: ignore[arg-type]
        for name in ("gradient_decades", "relative_decades")
    )
    told = [
        f"Where they explode, the median G is {gradient} decades and G − F {relative}: what is left without "
        "the growth of the signal. Near 0 each layer's gradient is in proportion to its signal."
    ]
    trained = evidence.trained.filter(
        pl.col("family").is_in(FEED_FORWARD), pl.col("norm") == "none", pl.col("skip") != "none"
    )
    exploding, stable = (trained.filter(pl.col(name)) for name in ("exploding", "stable"))
    if min(len(exploding), len(stable)) >= LEAST_CELLS:
        shares = [words.percent(rows["learned"].mean()) for rows in (exploding, stable)]  # type: ignore[arg-type]
        told.append(
            f"Of trained networks with skip connections, learned: {shares[0]} where G explodes, {shares[1]} "
            "where it is stable."
        )
    return told
