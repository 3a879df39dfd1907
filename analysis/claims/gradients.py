"""Questions 1 to 9: what activations, weights and depth do to the gradient at initialisation."""

from __future__ import annotations

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
    told,
    untested,
    with_arm,
)
from gradatlas.analysis.claims.claim import Claim
from gradatlas.analysis.claims.evidence import LARGE, SMALL, USUAL, Evidence
from gradatlas.analysis.claims.rules import GUARANTEED, MATTERS, above, below, found
from gradatlas.analysis.measures.effects import Effect, difference, matched, median, share
from gradatlas.analysis.measures.level_crossing import crossing
from gradatlas.analysis.words import word

STRATA = ("part", "init", "width", "octave", "scale")
_RUN = "gradatlas run claims (part {part})"
_WIDE = {"activation": "activation", "band": "σ_w"}
_NEGLIGIBLE = 1e-9  # decades: float64 sums of a hundred layers
_FEW_LAYERS_EACH = 0.01  # decades per layer that do not matter


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
    return answered(
        number,
        below(0.0, noun="the median slope of ReLU with σ_w < 1"),
        evidence.plain.filter(_is("relu"), pl.col("sigma_w") < 1),
        partial(median, what="slope"),
        columns={},
        unit=PER_LAYER,
        figure="gradient_profiles",
        lead="With σ_w below 1, ReLU's gradient changes on its way back by",
        to_run=_RUN.format(part="activations"),
    )


def small_weights_against(evidence: Evidence, number: str, other: str) -> Claim:
    """2b, 2c: ReLU's slope less another's at the same small weights and depth."""
    cells = with_arm(evidence.plain, _is("relu"), [_is("relu") | _is(other), pl.col("sigma_w") < 1])
    return answered(
        number,
        above(0.0, matters=_FEW_LAYERS_EACH, noun=f"the median difference of slopes, ReLU less {other}"),
        cells,
        partial(matched, what="slope", arm="arm", groups=("part", "init", "width")),
        columns={},
        unit=PER_LAYER,
        figure="gradient_profiles",
        lead=f"At the same depth and σ_w < 1, ReLU's slope less {other}'s is",
        to_run=_RUN.format(part="activations"),
    )


def sigmoid_explodes(evidence: Evidence, number: str) -> Claim:
    """3a: whether any sigmoid network explodes, among those of large weights."""
    cells = evidence.plain.filter(_is("sigmoid"), pl.col("sigma_w") > 8, pl.col("depth") >= 10)
    return answered(
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
        lead="Sigmoid's gradient stops vanishing at a σ_w of",
        to_run=_RUN.format(part="activations"),
    )
    others = [
        f"{word} at {line.value:.2f}"
        for word, line in (("tanh's", lines["tanh"]), ("ReLU's", lines["relu"]))
        if line is not None
    ]
    return replace(claim, answer=f"{claim.answer} {' and '.join(others)}." if others else claim.answer)


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
    return answered(
        number,
        above(0.0, matters=MATTERS, noun=f"the share of exploding cells, ReLU less {other}"),
        with_arm(evidence.plain, _is("relu"), [_is("relu") | _is(other)]),
        partial(difference, what="exploding", arm="arm", strata=STRATA),
        columns={"band": "σ_w"},
        unit=POINTS,
        figure="regime_map",
        lead=f"At the same depth and σ_w, exploding networks with ReLU against {other}:",
        to_run=_RUN.format(part="activations"),
    )


_WEIGHTS = (
    pl.when(pl.col("sigma_w") < 0.5)
    .then(pl.lit("σ_w < 0.5"))
    .when(pl.col("sigma_w") > 2)
    .then(pl.lit("σ_w > 2"))
    .otherwise(pl.lit("0.5 ≤ σ_w ≤ 2"))
)


def lost_after_twenty(evidence: Evidence, number: str, activation: str) -> Claim:
    """5: the median G of 20 and more layers."""
    return answered(
        number,
        below(-10.0, noun="the median G at depth ≥ 20"),
        evidence.plain.filter(_is(activation), pl.col("depth") >= 20).with_columns(weights=_WEIGHTS),
        partial(median, what="gradient_decades"),
        columns={"weights": "σ_w"},
        unit=DECADES,
        figure="gradient_profiles",
        lead=f"After 20 and more layers of {activation} the gradient has changed by",
        to_run=_RUN.format(part="activations"),
    )


_USUAL = (pl.col("sigma_w") >= 0.5) & (pl.col("sigma_w") <= 2.0)


def depth_is_safe(evidence: Evidence, number: str) -> Claim:
    """6a: share of stable cells at depth 2 to 5."""
    return answered(
        number,
        above(GUARANTEED, noun="the share of stable cells at depth 2–5 and σ_w 0.5–2"),
        evidence.plain.filter(_USUAL, pl.col("depth").is_between(2, 5)),
        partial(share, what="stable"),
        columns=_WIDE,
        unit=SHARE,
        figure="regime_map",
        lead="Of plain networks of 2 to 5 layers with σ_w from 0.5 to 2, stable:",
        to_run=_RUN.format(part="activations"),
    )


def depth_begins_trouble(evidence: Evidence, number: str) -> Claim:
    """6b: share of unstable cells at depth 10 to 20 less that at 2 to 5."""
    cells = with_arm(
        evidence.plain.with_columns(trouble=~pl.col("stable")),
        pl.col("depth") >= 10,
        [_USUAL, pl.col("depth").is_between(2, 5) | pl.col("depth").is_between(10, 20)],
    )
    return answered(
        number,
        above(0.0, matters=MATTERS, noun="the share of unstable cells, depth 10–20 less depth 2–5"),
        cells,
        partial(difference, what="trouble", arm="arm", strata=("part", "activation", "init", "scale")),
        columns=_WIDE,
        unit=POINTS,
        figure="regime_map",
        lead="Unstable networks at 10 to 20 layers against 2 to 5 (plain, σ_w from 0.5 to 2):",
        to_run=_RUN.format(part="activations"),
    )


def depth_is_trouble(evidence: Evidence, number: str) -> Claim:
    """6c: share of unstable cells beyond 50 layers."""
    return answered(
        number,
        above(GUARANTEED, noun="the share of unstable cells at depth > 50 and σ_w 0.5–2"),
        evidence.plain.with_columns(trouble=~pl.col("stable")).filter(_USUAL, pl.col("depth") > 50),
        partial(share, what="trouble"),
        columns=_WIDE,
        unit=SHARE,
        figure="regime_map",
        lead="Of plain networks of more than 50 layers with σ_w from 0.5 to 2, unstable:",
        to_run=_RUN.format(part="activations"),
    )


_DEPTHS = (
    pl.when(pl.col("depth") < 10)
    .then(pl.lit("fewer than 10 layers"))
    .when(pl.col("depth") < 30)
    .then(pl.lit("10 to 29 layers"))
    .otherwise(pl.lit("30 and more layers"))
)


def scheme_holds(evidence: Evidence, number: str, activation: str, sigma_w: float, name: str) -> Claim:
    """7: share of cells of a scheme in which |F| and |G| are inside the stable limit."""
    limit = evidence.limits.stable_decades
    there = (pl.col("sigma_w") / sigma_w - 1).abs() < 0.01
    both = (pl.col("forward_decades").abs() <= limit) & (pl.col("gradient_decades").abs() <= limit)
    return answered(
        number,
        above(GUARANTEED, noun=f"the share of {name} cells with |F| and |G| ≤ {limit:g}"),
        evidence.plain.filter(_is(activation), there, pl.col("sigma_b") == 0).with_columns(
            held=both, depths=_DEPTHS
        ),
        partial(share, what="held"),
        columns={"depths": "depth"},
        unit=SHARE,
        figure="forward_backward",
        lead=f"Of {activation} networks with {name}, those that hold activations and gradients within "
        f"{limit:g} decades:",
        to_run=_RUN.format(part="schemes"),
    )


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
    rule = below(0.0, matters=MATTERS, noun=f"the share of vanishing cells, alternatives less {old}")
    effect = measure(cells)
    settings = {
        "activation": [(name, measure(cells.filter(_is(name) | _is(old)))) for name in _ALTERNATIVES],
        "σ_w": [(band, measure(cells.filter(pl.col("band") == band))) for band in (SMALL, USUAL, LARGE)],
    }
    return told(
        number,
        rule,
        found(rule, effect, settings),
        unit=POINTS,
        figure="regime_map",
        lead=f"At the same depth and σ_w, vanishing networks with ReLU, leaky ReLU or ELU against {old}:",
        to_run=_RUN.format(part="activations"),
    )
