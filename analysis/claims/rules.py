"""Rules: from an effect's interval to a verdict. What a rule says in words stands beside every verdict.

Where a rule cannot place an interval the verdict is "undecided". Where a setting
(an activation, a band of σ_w, …) says yes and another no, each by an interval of its own, the verdict is
"depends", on that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gradatlas.analysis.claims.claim import Verdict
from gradatlas.analysis.measures.effects import Effect

MATTERS = 0.05  # a difference between shares below this does not matter
GUARANTEED = 0.9  # the share that "safe", "holds" and "guaranteed" mean
PREVENTED = 0.1  # the share below which a remedy prevents something
_LEAST_STRATUM = 16  # cells of a setting from which on its verdict counts


@dataclass(frozen=True)
class Rule:
    """A verdict for an effect, and the rule in words."""

    words: str
    judge: Callable[[Effect], Verdict]


@dataclass(frozen=True)
class Finding:
    """The verdict of all cells together, on what it depends, and each setting's own verdict."""

    effect: Effect
    verdict: Verdict
    depends_on: str
    settings: Mapping[str, Sequence[tuple[str, Effect, Verdict]]]


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
    judged = {
        name: [
            (label, part, rule.judge(part))
            for label, part in parts
            if part is not None and part.cells >= _LEAST_STRATUM
        ]
        for name, parts in settings.items()
    }
    told = {name: {verdict for _, _, verdict in parts} for name, parts in judged.items()}
    on = [name for name, verdicts in told.items() if {"yes", "no"} <= verdicts]
    return Finding(effect, "depends" if on else rule.judge(effect), " and ".join(on), judged)
