"""Rules: from an effect's interval to a verdict. What a rule says in words stands beside every verdict.

Where a rule cannot place an interval the verdict is "undecided". An effect over all cells can hide settings
(an activation, a band of σ_w, …) that differ, so they are compared:

- "depends" takes two things: their effects differ by more than chance (Cochran's Q), and one setting says yes
  and another no, each by an interval of its own. Settings whose effects differ in size alone give one answer.
- where they differ by more than chance and one lies on the other side without an interval that says so, a yes
  or no for all would hide it: undecided, with what was seen.

Questions ask about several settings at once, so their intervals are widened and the level of Q is divided by
how many there are (Bonferroni). `tests/analysis/test_calibration.py` counts how often verdicts are wrong.

Source: Cochran (1954).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from scipy.stats import chi2, norm

from gradatlas.analysis.claims.claim import Verdict
from gradatlas.analysis.measures.effects import Effect

MATTERS = 0.05  # a difference between shares below this does not matter
GUARANTEED = 0.9  # the share that "safe", "holds" and "guaranteed" mean
PREVENTED = 0.1  # the share below which a remedy prevents something
_LEAST_STRATUM = 16  # cells of a setting from which on its verdict counts
_LEVEL = 0.05
_Z = float(norm.ppf(1 - _LEVEL / 2))


@dataclass(frozen=True)
class Rule:
    """A verdict for an effect, and the rule in words."""

    words: str
    judge: Callable[[Effect], Verdict]


@dataclass(frozen=True)
class Finding:
    """The verdict of all cells together, on what it depends, and each setting's own verdict.

    `hidden`: the columns in which settings differ and one lies on the other side, which leave the verdict
    open.
    """

    effect: Effect
    verdict: Verdict
    depends_on: str
    settings: Mapping[str, Sequence[tuple[str, Effect, Verdict]]]
    hidden: Sequence[str] = ()


def above(limit: float, *, matters: float = 0.0, noun: str = "the effect") -> Rule:
    """Yes where the effect is larger than the limit, no where it is not, by what matters."""

    def judge(effect: Effect) -> Verdict:
        if effect.low > limit and effect.value >= limit + matters:
            return "yes"
        return "no" if effect.high < limit + matters or effect.high <= limit else "undecided"

    least = f" and it is at least {_written(limit + matters)}" if matters else ""
    words = f"yes if the whole interval of {noun} lies above {_written(limit)}{least}"
    return Rule(f"{words}; no if it lies below {_written(limit + matters)}", judge)


def below(limit: float, *, matters: float = 0.0, noun: str = "the effect") -> Rule:
    """Yes where the effect is smaller than the limit, no where it is not, by what matters."""

    def judge(effect: Effect) -> Verdict:
        if effect.high < limit and effect.value <= limit - matters:
            return "yes"
        return "no" if effect.low > limit - matters or effect.low >= limit else "undecided"

    least = f" and it is at most {_written(limit - matters)}" if matters else ""
    words = f"yes if the whole interval of {noun} lies below {_written(limit)}{least}"
    return Rule(f"{words}; no if it lies above {_written(limit - matters)}", judge)


def _written(limit: float) -> str:
    return f"{limit:g}".replace("-", "−")


def found(
    rule: Rule, effect: Effect | None, settings: Mapping[str, Sequence[tuple[str, Effect | None]]]
) -> Finding | None:
    """The finding of an effect and of the same effect in each setting; None without an effect."""
    if effect is None:
        return None
    judged = {name: _judged(rule, parts) for name, parts in settings.items()}
    differing = [name for name, parts in judged.items() if _differ(parts, _LEVEL / max(len(judged), 1))]
    on = [name for name in differing if {"yes", "no"} <= {verdict for *_, verdict in judged[name]}]
    if on:
        return Finding(effect, "depends", " and ".join(on), judged)
    verdict = rule.judge(effect)
    hidden = [name for name in differing if any(_lies_apart(rule, part, verdict) for part in judged[name])]
    if verdict == "undecided" or not hidden:
        return Finding(effect, verdict, "", judged)
    return Finding(effect, "undecided", "", judged, hidden)


def _judged(rule: Rule, parts: Sequence[tuple[str, Effect | None]]) -> Sequence[tuple[str, Effect, Verdict]]:
    """The settings of one column that have enough cells, judged by intervals that hold for all at once."""
    known = [(label, part) for label, part in parts if part is not None and part.cells >= _LEAST_STRATUM]
    wider = float(norm.ppf(1 - _LEVEL / (2 * len(known)))) / _Z if known else 1.0
    return [(label, part, rule.judge(_widened(part, wider))) for label, part in known]


def _widened(effect: Effect, factor: float) -> Effect:
    """The effect with an interval that many times as wide on both sides."""
    low, high = (
        effect.value + factor * (end - effect.value) if math.isfinite(end - effect.value) else end
        for end in (effect.low, effect.high)
    )
    return replace(effect, low=low, high=high)


def _differ(parts: Sequence[tuple[str, Effect, Verdict]], level: float) -> bool:
    """Whether the settings' effects differ by more than chance.

    Cochran's Q, with standard errors of a quarter of the intervals' widths. Effects without a finite one are
    left out.
    """
    pairs = [(effect.value, (effect.high - effect.low) / (2 * _Z)) for _, effect, _ in parts]
    known = [(value, error) for value, error in pairs if math.isfinite(value) and 0 < error < math.inf]
    if len(known) < 2:
        return False
    weights = [error**-2 for _, error in known]
    mean = sum(weight * value for weight, (value, _) in zip(weights, known, strict=True)) / sum(weights)
    q = sum(weight * (value - mean) ** 2 for weight, (value, _) in zip(weights, known, strict=True))
    return bool(chi2.sf(q, len(known) - 1) < level)


def _lies_apart(rule: Rule, part: tuple[str, Effect, Verdict], verdict: Verdict) -> bool:
    """Whether a setting's effect alone, without its interval, would give the other answer."""
    _, effect, _ = part
    alone = rule.judge(replace(effect, low=effect.value, high=effect.value))
    return {alone, verdict} == {"yes", "no"}
