"""Questions 1 to 5, 8 and 9: what activations and weights do to the gradient at initialisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl

from gradatlas.analysis.claims.answer import (
    DECADES,
    PER_LAYER,
    POINTS,
    SHARE,
    SIGMA,
    answered,
    extended,
    told,
    untested,
    with_arm,
)
from gradatlas.analysis.claims.bands import CRITICAL_WEIGHTS, FROM_TWENTY, LARGE, SCHEMES, SMALL, USUAL
from gradatlas.analysis.claims.claim import Claim
from gradatlas.analysis.claims.evidence import Evidence
from gradatlas.analysis.claims.reasons import factors_sentence
from gradatlas.analysis.claims.rules import MATTERS, above, below, found
from gradatlas.analysis.measures.effects import Effect, difference, matched, median, share
from gradatlas.analysis.measures.level_crossing import crossing
from gradatlas.analysis.words import number as digits
from gradatlas.analysis.words import plain_weights, word

STRATA = ("part", "init", "width", "octave", "scale")
_RUN = "gradatlas run claims (part {part})"
_NEGLIGIBLE = 1e-9  # decades: float64 sums of a hundred layers
_FEW_LAYERS_EACH = 0.01  # decades per layer that do not matter
_CLEARLY_LARGE = 3.0  # σ_w


def _is(activation: str) -> pl.Expr:
    return pl.col("activation") == activation


def chain_rule(evidence: Evidence, number: str, *, single: bool) -> Claim:
    """1: the factors of every step add up to it."""
    rule = below(_NEGLIGIBLE, noun="the largest mismatch in a trial")
    kind = pl.col("width") == 1 if single else pl.col("width") > 1
    rows = evidence.profiles.filter(kind).drop_nulls("mismatch")
    run = _RUN.format(part="chain" if single else "activations")
    if rows.is_empty():
        return untested(number, rule, run)
    worst = rows["mismatch"].to_numpy()
    effect = Effect(float(worst.max()), float(worst.min()), float(worst.max()), len(rows), len(rows))
    claim = told(number, rule, found(rule, effect, {}), unit=DECADES, figure="factors", lead="", to_run=run)
    factors = rows.group_by("activation").agg(pl.col("weights", "derivatives").median()).sort("activation")
    listed = "; ".join(
        f"{word('activation', name)}: weights {weights:+.2f}, φ′ {slope:+.2f}".replace("-", "−")
        for name, weights, slope in factors.iter_rows()
    )
    text = (
        f"In each of {len(rows):,} networks the factors of weights and φ′ give every step of the gradient, "
        f"to {worst.max():.0e} decades. Median factor of a step, in decades: {listed}."
    ).replace("e-", "e−")
    return replace(claim, answer=text)


def small_weights_relu(evidence: Evidence, number: str) -> Claim:
    """2a: ReLU with small weights."""
    claim = answered(
        number,
        below(0.0, noun="the median slope of ReLU networks with σ_w < 1"),
        evidence.plain.filter(_is("relu"), pl.col("sigma_w") < 1),
        partial(median, what="slope"),
        columns={},
        unit=PER_LAYER,
        figure="gradient_profiles",
        lead="With σ_w below 1, the gradient of ReLU networks changes on its way back by",
        to_run=_RUN.format(part="activations"),
    )
    reason = factors_sentence(evidence, ["relu"], pl.col("sigma_w") < 1)
    half = "φ′ is 1 for half of the units and 0 for the others, so it too costs a factor of √½."
    return extended(claim, reason, half if reason else "")


def small_weights_against(evidence: Evidence, number: str, other: str) -> Claim:
    """2b, 2c: ReLU's slope less another's at the same small weights and depth."""
    cells = with_arm(evidence.plain, _is("relu"), [_is("relu") | _is(other), pl.col("sigma_w") < 1])
    claim = answered(
        number,
        above(0.0, matters=_FEW_LAYERS_EACH, noun=f"the median difference of slopes, ReLU minus {other}"),
        cells,
        partial(matched, what="slope", arm="arm", groups=("part", "init", "width")),
        columns={},
        unit=PER_LAYER,
        figure="gradient_profiles",
        lead=f"At the same depth and σ_w < 1, the slope of ReLU networks minus that of {other} networks is",
        to_run=_RUN.format(part="activations"),
    )
    return extended(claim, factors_sentence(evidence, ["relu", other], pl.col("sigma_w") < 1))


def sigmoid_explodes(evidence: Evidence, number: str) -> Claim:
    """3a: whether any sigmoid network explodes, among those of large weights."""
    cells = evidence.plain.filter(_is("sigmoid"), pl.col("sigma_w") > 8, pl.col("depth") >= 10)
    claim = answered(
        number,
        above(0.0, matters=MATTERS, noun="the share of exploding sigmoid cells with σ_w > 8 and depth ≥ 10"),
        cells,
        partial(share, what="exploding"),
        columns={},
        unit=SHARE,
        figure="critical_gain",
        lead="Of the sigmoid networks of 10 and more layers with σ_w above 8, exploding:",
        to_run=_RUN.format(part="activations"),
    )
    return extended(claim, factors_sentence(evidence, ["sigmoid"], pl.col("sigma_w") > 8))


def sigmoid_needs_big_weights(evidence: Evidence, number: str) -> Claim:
    """3b: the σ_w from which on sigmoid explodes."""
    rule = above(2.0, noun="sigmoid's critical σ_w (twice Xavier's is 2)")
    lines = {name: _critical(evidence.plain.filter(_is(name))) for name in ("sigmoid", "tanh", "relu")}
    finding = found(rule, lines["sigmoid"], {})
    claim = told(
        number,
        rule,
        finding,
        unit=SIGMA,
        figure="critical_gain",
        lead="The gradient of sigmoid networks stops vanishing at a σ_w of",
        to_run=_RUN.format(part="activations"),
    )
    others = [
        f"{whose} at {line.value:.2f}"
        for whose, line in (("Tanh's", lines["tanh"]), ("ReLU's", lines["relu"]))
        if line is not None
    ]
    width = evidence.plain.filter(_is("sigmoid"))["width"].median()
    return extended(
        claim,
        f"{plain_weights(claim.effect, int(width))}." if claim.effect and width else "",  # type: ignore[arg-type]
        f"{' and '.join(others)}." if others else "",
    )


def _critical(cells: pl.DataFrame) -> Effect | None:
    """The critical σ_w of deep cells."""
    deep = cells.filter(pl.col("depth") >= 8, pl.col("sigma_w") > 0)
    layers = deep["depth"].cast(pl.Float64).to_numpy() - 1
    decades = deep["gradient_decades"].cast(pl.Float64).to_numpy()
    at = crossing(np.log10(deep["sigma_w"].to_numpy()), decades / layers, variance=1 / layers)
    if at.x is None or at.low is None or at.high is None:
        return None
    return Effect(10**at.x, 10**at.low, 10**at.high, int(deep["rows"].sum()), len(deep))


def relu_explodes_more(evidence: Evidence, number: str, other: str) -> Claim:
    """4: share of exploding cells, ReLU less another, at the same depth and σ_w."""
    claim = answered(
        number,
        above(0.0, matters=MATTERS, noun=f"the share of exploding cells, ReLU minus {other}"),
        with_arm(evidence.plain, _is("relu"), [_is("relu") | _is(other)]).with_columns(
            weights=CRITICAL_WEIGHTS
        ),
        partial(difference, what="exploding", arm="arm", strata=STRATA),
        columns={"weights": "σ_w"},
        unit=POINTS,
        figure="regime_map",
        lead=f"At the same depth and σ_w, exploding networks with ReLU against {other}:",
        to_run=_RUN.format(part="activations"),
    )
    return extended(claim, factors_sentence(evidence, ["relu", other], pl.col("sigma_w") > _CLEARLY_LARGE))


_USUAL = (pl.col("sigma_w") >= 0.5) & (pl.col("sigma_w") <= 2.0)


def lost_after_twenty(evidence: Evidence, number: str, activation: str) -> Claim:
    """5: the median G of 20 and more layers, with the weights of the usual schemes."""
    cells = evidence.plain.filter(_is(activation), _USUAL, pl.col("depth") >= 20).with_columns(
        weights=SCHEMES, depths=FROM_TWENTY
    )
    claim = answered(
        number,
        below(-10.0, noun="the median G at depth ≥ 20 and σ_w 0.5–2"),
        cells,
        partial(median, what="gradient_decades"),
        columns={"weights": "σ_w", "depths": "depth"},
        unit=DECADES,
        figure="gradient_profiles",
        lead=f"After 20 and more layers of {activation} with σ_w from 0.5 to 2, the gradient has changed by",
        to_run=_RUN.format(part="activations"),
    )
    return extended(
        claim, _medians(cells, ["depths", "weights"]), factors_sentence(evidence, [activation], _USUAL)
    )


def _medians(cells: pl.DataFrame, columns: Sequence[str]) -> str:
    """'Median by setting: 20 to 29 layers −14, …; σ_w < 0.7 −30, …', in decades."""
    listed = []
    for column in columns:
        groups = cells.group_by(column).agg(pl.col("gradient_decades").median()).sort(column)
        listed.append(", ".join(f"{label} {digits(value)}" for label, value in groups.drop_nulls().rows()))
    return f"Median by setting: {'; '.join(listed)}."


def small_against_large(evidence: Evidence, number: str, what: str, rule_noun: str, lead: str) -> Claim:
    """8a, 8b: a regime's share at small weights less that at large ones, at the same depth and activation."""
    cells = with_arm(evidence.plain, pl.col("band") == SMALL, [pl.col("band").is_in([SMALL, LARGE])])
    rule = below if what == "exploding" else above
    return answered(
        number,
        rule(0.0, matters=MATTERS, noun=rule_noun),
        cells,
        partial(difference, what=what, arm="arm", strata=("part", "activation", "init", "octave")),
        columns={"activation": "activation"},
        unit=POINTS,
        figure="regime_map",
        lead=lead,
        to_run=_RUN.format(part="activations"),
    )


_ALTERNATIVES = ("relu", "leaky_relu", "elu")


def other_activation_vanishes_less(evidence: Evidence, number: str, old: str) -> Claim:
    """9: share of vanishing cells, ReLU, leaky ReLU and ELU less the old activation."""
    kinds = pl.col("activation").is_in([*_ALTERNATIVES, old])
    cells = with_arm(evidence.plain, pl.col("activation").is_in(_ALTERNATIVES), [kinds])
    measure = partial(difference, what="vanishing", arm="arm", strata=STRATA)
    rule = below(0.0, matters=MATTERS, noun=f"the share of vanishing cells, alternatives minus {old}")
    effect = measure(cells)
    settings = {
        "activation": [(name, measure(cells.filter(_is(name) | _is(old)))) for name in _ALTERNATIVES],
        "σ_w": [(band, measure(cells.filter(pl.col("band") == band))) for band in (SMALL, USUAL, LARGE)],
    }
    claim = told(
        number,
        rule,
        found(rule, effect, settings),
        unit=POINTS,
        figure="regime_map",
        lead=f"At the same depth and σ_w, vanishing networks with ReLU, leaky ReLU or ELU against {old}:",
        to_run=_RUN.format(part="activations"),
    )
    return extended(claim, factors_sentence(evidence, [*_ALTERNATIVES, old], _USUAL))
