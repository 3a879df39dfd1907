"""From a finding to a claim: the verdict, the numbers, and a sentence or two made from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import polars as pl

from gradatlas.analysis.claims.claim import Claim
from gradatlas.analysis.claims.questions import QUESTIONS
from gradatlas.analysis.claims.rules import Finding, Rule, found
from gradatlas.analysis.measures.effects import Effect
from gradatlas.analysis.words import joined, number, percent, word
from gradatlas.study.trial import PARAMETERS

Measure = Callable[[pl.DataFrame], Effect | None]
SHARE, POINTS = "share", "difference of shares"
DECADES, PER_LAYER, SIGMA = "decades", "decades per layer", "σ_w"

_TEXTS = dict(QUESTIONS)


def amount(value: float, unit: str) -> str:
    """A value with its unit, for a sentence."""
    if unit == SHARE:
        return percent(value)
    bare = _bare(value, unit)
    if unit == POINTS:
        return f"{bare} points"
    return bare if unit == SIGMA else f"{bare} {unit}"


def _bare(value: float, unit: str) -> str:
    """The value alone, with its sign where the unit is a change."""
    if unit == SHARE:
        return percent(value)
    if unit == SIGMA:
        return number(value)
    text = f"{100 * value:.0f}".replace("-", "−") if unit == POINTS else number(value)
    return f"+{text}" if value > 0 and text != "0" else text.replace("−0", "0") if text == "−0" else text


def span(effect: Effect, unit: str, *, bare: bool = False) -> str:
    """An effect with its interval in words: '+12 points (95 % interval +9 to +15)'.

    Bare, for use inside brackets: '+12 points, +9 to +15'.
    """
    ends = f"{_bare(effect.low, unit)} to {_bare(effect.high, unit)}"
    if bare:
        return f"{amount(effect.value, unit)}, {ends}"
    return f"{amount(effect.value, unit)} (95\u00a0% interval {ends})"


def by_settings(
    cells: pl.DataFrame, measure: Measure, columns: Mapping[str, str]
) -> dict[str, list[tuple[str, Effect | None]]]:
    """The measure in each value of each column; `columns` gives each column's name for a reader."""
    return {
        name: [
            (_setting(column, value), measure(cells.filter(pl.col(column) == value)))
            for value in cells[column].drop_nulls().unique().sort()
        ]
        for column, name in columns.items()
    }


def _setting(column: str, value: object) -> str:
    return word(column, value) if column in PARAMETERS else str(value)


def answered(
    claim_id: str,
    rule: Rule,
    cells: pl.DataFrame,
    measure: Measure,
    *,
    columns: Mapping[str, str],
    unit: str,
    figure: str,
    lead: str,
    to_run: str,
) -> Claim:
    """The claim that a rule makes of a measure over cells, and over the settings of some columns.

    `lead`: the sentence's beginning, to which the effect with its interval is added.
    """
    effect = measure(cells)
    finding = found(rule, effect, by_settings(cells, measure, columns) if effect else {})
    return told(claim_id, rule, finding, unit=unit, figure=figure, lead=lead, to_run=to_run)


def told(
    claim_id: str, rule: Rule, finding: Finding | None, *, unit: str, figure: str, lead: str, to_run: str
) -> Claim:
    """The claim that a finding makes; without a finding, that the run does not test it."""
    if finding is None:
        return untested(claim_id, rule, to_run)
    effect, is_open = finding.effect, finding.verdict == "undecided"
    text = f"{lead} {span(effect, unit)}."
    if finding.hidden:
        text += f" Settings differ, and the data do not decide all. {_settings_sentence(finding, unit)}"
    elif is_open:
        text += " That is too wide for a verdict."
    if finding.verdict == "depends":
        text += f" {_settings_sentence(finding, unit)}"
    return Claim(
        id=claim_id,
        question=_TEXTS[claim_id],
        verdict=finding.verdict,
        depends_on=finding.depends_on,
        effect=_plain(effect.value),
        unit=unit,
        interval=(effect.low, effect.high),
        n=effect.n,
        figure=figure,
        answer=text,
        to_run=f"More points: {to_run}" if is_open else "",
        rule=rule.words,
    )


def untested(claim_id: str, rule: Rule, to_run: str) -> Claim:
    """The claim of a question that the run does not touch."""
    answer = "This run does not test it."
    return Claim(claim_id, _TEXTS[claim_id], "not tested", answer=answer, to_run=to_run, rule=rule.words)


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


def _settings_sentence(finding: Finding, unit: str) -> str:
    """Which settings say yes, which no and which neither, of what the verdict depends on or leaves open."""
    parts: list[str] = []
    for name in finding.hidden or finding.depends_on.split(" and "):
        for verdict, said in (("yes", "yes"), ("no", "no"), ("undecided", "open")):
            listed = [
                f"{label} ({_told(effect, unit, verdict)})"
                for label, effect, judged in finding.settings[name]
                if judged == verdict
            ]
            if listed:
                parts.append(f"{said} for {joined(listed)}")
    return f"By setting: {'; '.join(parts)}."


def _told(effect: Effect, unit: str, verdict: str) -> str:
    """A setting's effect, with its interval where that is what leaves it open."""
    return span(effect, unit, bare=True) if verdict == "undecided" else amount(effect.value, unit)


def extended(claim: Claim, *sentences: str) -> Claim:
    """The claim with more sentences behind its answer, if it has found anything; empty ones are left out."""
    if claim.effect is None:
        return claim
    return replace(claim, answer=" ".join([claim.answer, *filter(None, sentences)]))


def with_arm(cells: pl.DataFrame, arm: pl.Expr, among: Iterable[pl.Expr] = ()) -> pl.DataFrame:
    """The cells of some kind with `arm`: whether they have the treatment."""
    return cells.filter(*among).with_columns(arm=arm)
