"""Rules: what an interval says, and what settings that differ do to a verdict for all."""

from __future__ import annotations

import math

import pytest

from gradatlas.analysis.claims.rules import MATTERS, Finding, above, below, found
from gradatlas.analysis.measures.effects import Effect

RULE = above(0.0, matters=MATTERS)


def effect(value: float, half: float, cells: int = 100) -> Effect:
    """An effect with an interval of that half-width."""
    return Effect(value, value - half, value + half, cells, cells)


def verdict(overall: Effect, *settings: Effect) -> Finding:
    listed = [(f"setting {number}", setting) for number, setting in enumerate(settings)]
    finding = found(RULE, overall, {"activation": listed})
    assert finding is not None
    return finding


@pytest.mark.parametrize(
    ("value", "half", "expected"),
    [
        (0.2, 0.1, "yes"),
        (0.04, 0.03, "undecided"),  # above nothing, but less than matters
        (0.04, 0.005, "no"),
        (0.2, 0.3, "undecided"),
        (-0.2, 0.1, "no"),
        (math.inf, 0.0, "yes"),
    ],
)
def test_a_verdict_is_where_the_interval_lies(value: float, half: float, expected: str) -> None:
    assert RULE.judge(effect(value, half)) == expected
    assert below(0.0, matters=MATTERS).judge(effect(-value, half)) == expected


def test_settings_that_say_yes_and_no_make_a_verdict_depend_on_them() -> None:
    finding = verdict(effect(0.4, 0.05), effect(0.8, 0.05), effect(0.0, 0.03))
    assert (finding.verdict, finding.depends_on) == ("depends", "activation")


def test_settings_that_differ_in_size_alone_do_not() -> None:
    finding = verdict(effect(0.4, 0.01, 10**4), effect(0.2, 0.01, 10**4), effect(0.6, 0.01, 10**4))
    assert (finding.verdict, finding.hidden) == ("yes", ())


def test_settings_on_both_sides_that_chance_may_have_parted_do_not() -> None:
    """0.06 ± 0.045 says yes and 0.0 ± 0.045 no, but they are no further apart than chance takes them."""
    finding = verdict(effect(0.06, 0.03), effect(0.06, 0.045), effect(0.0, 0.045))
    assert finding.verdict == "yes"


def test_a_setting_that_lies_apart_undecided_leaves_the_verdict_open() -> None:
    """Nine tenths of one setting and none of 44 of another: a yes for all would hide the second."""
    finding = verdict(effect(0.45, 0.1), effect(0.9, 0.08), effect(0.0, 0.08, 44))
    assert (finding.verdict, finding.depends_on, finding.hidden) == ("undecided", "", ["activation"])


def test_a_setting_of_few_cells_is_not_asked() -> None:
    assert verdict(effect(0.45, 0.1), effect(0.9, 0.05), effect(0.0, 0.03, 15)).verdict == "yes"


def test_intervals_of_many_settings_are_widened() -> None:
    """Of twenty settings one lies apart by chance: each is asked at a twentieth of the level."""
    settings = [effect(0.3, 0.25)] * 19 + [effect(-0.25, 0.25)]
    assert verdict(effect(0.28, 0.05), *settings).verdict == "yes"
    assert verdict(effect(0.28, 0.05), *settings[:1], effect(-0.25, 0.25)).verdict == "depends"


def test_effects_without_end_are_left_out_of_the_comparison() -> None:
    endless = Effect(-math.inf, -math.inf, -math.inf, 100, 100)
    assert verdict(effect(0.4, 0.05), endless, effect(0.4, 0.05)).verdict == "yes"


def test_without_an_effect_there_is_no_finding() -> None:
    assert found(RULE, None, {}) is None
