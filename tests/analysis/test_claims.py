"""Claims on planted worlds: each verdict both ways, what it depends on, and too little data."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from gradatlas.analysis.claims import CLAIMS, Claim, claims
from gradatlas.analysis.claims.evidence import evidence
from gradatlas.analysis.claims.questions import QUESTIONS
from gradatlas.analysis.figures.registry import FIGURES
from gradatlas.study.regimes import DEFAULT_LIMITS
from tests.analysis.conftest import row, trials
from tests.analysis.worlds import CRITICAL, World, planted

PLAIN: dict[str, Any] = {"activation": list(CRITICAL)}
NORMED: dict[str, Any] = {"activation": ["tanh", "relu"], "norm": ["none", "batch"]}
SKIPPED: dict[str, Any] = {"activation": ["tanh", "relu"], "skip": ["none", "residual"]}
CLIPPED = {"clip_norm": [None, 0.1, 1.0, 10.0], "steps": [100]}
TRAINED: dict[str, Any] = {"activation": ["tanh", "relu"]} | CLIPPED
VALUES: dict[str, Any] = {"activation": ["tanh", "relu"], "clip_value": [None, 0.1], "steps": [100]}
RECURRENT: dict[str, Any] = TRAINED | {"family": ["rnn"]}
XAVIER: dict[str, Any] = {"weight_gain": [1.0], "activation": ["tanh", "sigmoid"]}
HE: dict[str, Any] = {"weight_gain": [2**0.5], "activation": ["relu"]}
CHAIN: dict[str, Any] = {"activation": ["sigmoid"], "width": [1], "depth": [2, 3, 5]}


def critical(**changed: float) -> dict[str, float]:
    return CRITICAL | changed


EQUAL = dict.fromkeys(CRITICAL, 1.4)
SLOW = World(rate=0.02)

SUPPORTED: dict[str, tuple[World, dict[str, Any]]] = {
    "1a": (World(), CHAIN),
    "1b": (World(), PLAIN),
    "2a": (World(), PLAIN),
    "2b": (World(), PLAIN),
    "2c": (World(critical=critical(tanh=3.0)), PLAIN),
    "3a": (World(), PLAIN),
    "3b": (World(), PLAIN),
    "4a": (World(), {"activation": ["sigmoid", "relu"], "weight_gain": [2.0, 4.0, 8.0]}),
    "4b": (World(critical=critical(tanh=9.0)), PLAIN | {"weight_gain": [2.0, 4.0]}),
    "5a": (World(critical=critical(sigmoid=100.0)), PLAIN),
    "5b": (World(critical=critical(tanh=200.0)), PLAIN),
    "6a": (SLOW, PLAIN),
    "6b": (World(critical=dict.fromkeys(CRITICAL, 4.0), rate=0.26), PLAIN | {"weight_gain": [1.0]}),
    "6c": (World(critical=dict.fromkeys(CRITICAL, 4.0)), PLAIN),
    "7a": (World(), XAVIER),
    "7b": (World(critical=critical(sigmoid=1.0)), XAVIER),
    "7c": (World(critical=critical(relu=2**0.5)), HE),
    "8a": (World(critical=EQUAL), PLAIN),
    "8b": (World(critical=EQUAL), PLAIN),
    "8c": (World(), TRAINED),
    "9a": (World(), PLAIN | {"weight_gain": [3.0, 5.0]}),
    "9b": (World(critical=critical(tanh=9.0)), PLAIN | {"weight_gain": [3.0, 5.0]}),
    "10a": (World(norm_slope=0.0), NORMED),
    "10b": (World(norm_slope=0.0), NORMED),
    "11a": (World(rescued=0.6), TRAINED),
    "11b": (World(rescued=0.6), RECURRENT),
    "11c": (World(rescued=0.6), VALUES),
    "11d": (World(rescued=0.6, threshold=1.0), TRAINED),
    "11e": (World(learning=0.4), TRAINED),
    "12a": (World(skip_slope=0.0), SKIPPED),
    "12b": (World(skip_slope=0.0), SKIPPED),
    "13a": (World(), TRAINED),
    "13b": (World(), TRAINED),
    "13c": (World(), TRAINED),
}
REFUTED: dict[str, tuple[World, dict[str, Any]]] = {
    "1a": (World(mismatch=1e-3), CHAIN),
    "1b": (World(mismatch=1e-3), PLAIN),
    "2a": (World(critical=critical(relu=0.2)), PLAIN),
    "2b": (World(critical=critical(relu=30.0)), PLAIN),
    "2c": (World(), PLAIN),
    "3a": (World(critical=critical(sigmoid=100.0)), {"activation": ["sigmoid"]}),
    "3b": (World(critical=critical(sigmoid=1.0)), PLAIN),
    "4a": (World(critical=critical(relu=30.0)), PLAIN),
    "4b": (World(critical=critical(relu=30.0)), PLAIN),
    "5a": (SLOW, PLAIN),
    "5b": (SLOW, PLAIN),
    "6a": (World(critical=dict.fromkeys(CRITICAL, 30.0)), PLAIN),
    "6b": (World(rate=2.0), PLAIN),
    "6c": (World(rate=0.001), PLAIN),
    "7a": (World(forward=-0.5), XAVIER),
    "7b": (World(), XAVIER),
    "7c": (World(critical=critical(relu=5.0)), HE),
    "8a": (World(rate=0.001), PLAIN),
    "8b": (World(rate=0.001), PLAIN),
    "8c": (World(rate=0.001), TRAINED),
    "9a": (World(critical=dict.fromkeys(CRITICAL, 30.0) | {"sigmoid": 1.0}), PLAIN),
    "9b": (World(), PLAIN),
    "10a": (World(norm_slope=-0.7), NORMED),
    "10b": (World(norm_slope=0.7), NORMED),
    "11a": (World(), TRAINED),
    "11b": (World(), RECURRENT),
    "11c": (World(), VALUES),
    "11d": (World(), TRAINED),
    "11e": (World(), TRAINED),
    "12a": (World(skip_slope=-0.5), SKIPPED),
    "12b": (World(skip_slope=0.5), SKIPPED),
    "13a": (World(update=0.0), TRAINED),
    "13b": (World(diverging=0.0), TRAINED),
    "13c": (World(swinging=0.0, diverging=0.0), TRAINED),
}


def claim(number: str, world: World, choices: dict[str, Any], points: int = 1000) -> Claim:
    rows = planted(world, points=points, **choices)
    return CLAIMS[number](evidence(trials(rows), DEFAULT_LIMITS), number)


def test_every_question_has_its_claim_and_a_case_both_ways() -> None:
    numbers = [number for number, _ in QUESTIONS]
    assert list(CLAIMS) == numbers == list(SUPPORTED) == list(REFUTED)
    assert {number.rstrip("abcdef") for number in numbers} == {str(n) for n in range(1, 14)}


@pytest.mark.parametrize("number", SUPPORTED)
def test_a_planted_truth_is_supported(number: str) -> None:
    found = claim(number, *SUPPORTED[number])
    assert (found.verdict, found.depends_on) == ("yes", ""), found.answer
    assert found.effect is not None
    assert found.n > 0
    if number != "11d":  # a threshold of a grid has no interval
        assert found.interval is not None
        assert found.interval[0] <= found.effect <= found.interval[1]


@pytest.mark.thorough
@pytest.mark.parametrize("number", REFUTED)
def test_a_planted_falsehood_is_refuted(number: str) -> None:
    found = claim(number, *REFUTED[number])
    assert (found.verdict, found.depends_on) == ("no", ""), found.answer
    assert found.n > 0


@pytest.mark.parametrize(
    ("number", "world", "choices", "on"),
    [
        ("4a", World(), {"activation": ["sigmoid", "relu"]}, "σ_w"),
        ("5a", World(critical=critical(sigmoid=3.0), rate=0.6), {"activation": ["sigmoid"]}, "depth"),
        ("6a", World(rate=0.5), {"activation": ["sigmoid", "tanh"], "depth": [4, 5]}, "activation"),
        ("7a", World(forward=-0.06), XAVIER, "depth"),
        ("9b", World(critical=critical(tanh=1.4, relu=0.4, leaky_relu=5.0)), PLAIN, "activation"),
        ("10b", World(norm_slope=0.08), NORMED, "depth"),
        ("11a", World(rescued=0.8, threshold=1.0), TRAINED, "threshold"),
        ("12a", World(skip_slope=0.0), SKIPPED | {"skip": ["none", "residual", "scaled"]}, ""),
    ],
)
def test_a_verdict_depends_where_settings_contradict_each_other(
    number: str, world: World, choices: dict[str, Any], on: str
) -> None:
    found = claim(number, world, choices)
    assert (found.verdict == "depends") == bool(on), found.answer
    assert on in found.depends_on


def test_the_thresholds_that_help_are_those_of_the_law() -> None:
    found = claim("11d", *SUPPORTED["11d"])
    assert found.effect in (0.1, 1.0)
    assert "at a threshold of 0.1 and 1." in found.answer


def test_the_critical_weight_of_sigmoid_is_the_planted_one() -> None:
    found = claim("3b", *SUPPORTED["3b"])
    assert found.effect == pytest.approx(10.0, rel=0.02)
    assert found.interval is not None
    assert found.interval[0] <= 10.0 <= found.interval[1]
    assert "ReLU's at 1.40" in found.answer
    assert "at width 64: weights of about ±1.3." in found.answer


def test_batch_norm_that_changes_nothing_prevents_nothing() -> None:
    """Where nothing vanishes without it, a norm cannot be said to prevent it."""
    found = claim("10a", World(rate=0.001, norm_slope=0.0), NORMED)
    assert found.verdict == "undecided"
    assert "no rarer" in found.answer


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [row(0)],
        planted(World(), points=12, **PLAIN),
        [row(n, gradient_decades=None, gradient_profile=None) for n in range(40)],
        [row(n, outcome="diverged", final_loss=None) for n in range(40)],
    ],
    ids=["empty", "one", "few", "unmeasured", "all diverged"],
)
def test_too_little_data_tests_nothing_and_says_what_to_run(rows: list) -> None:
    found = [entry for entry in claims(trials(rows)) if entry.id != "1b"]
    assert {entry.verdict for entry in found} == {"not tested"}
    assert all(entry.to_run for entry in found)


def test_the_figure_of_a_claim_is_one_of_the_reports() -> None:
    shown = {claim(number, *planted_truth).figure for number, planted_truth in SUPPORTED.items()} - {None}
    assert len(shown) > 5
    assert shown <= set(FIGURES)


def test_a_claim_as_json_has_the_agreed_keys() -> None:
    entry = json.loads(json.dumps(claim("2a", *SUPPORTED["2a"]).as_json(), allow_nan=False))
    keys = ["id", "question", "verdict", "depends_on", "effect", "unit", "interval", "n", "figure", "answer"]
    assert list(entry) == keys


def test_answers_do_not_depend_on_the_order_of_the_rows() -> None:
    rows = planted(World(), points=600, **PLAIN)
    assert claims(trials(rows)) == claims(trials(rows[::-1]))


def test_clipping_that_only_keeps_networks_finite_does_not_help_them() -> None:
    """All unclipped ones diverge and no clipped one does; but none learns, so nothing was gained."""
    found = claim("11a", World(rescued=0.0, clipped=0.0, diverging=1.0), TRAINED)
    assert found.verdict == "no"
    assert "Diverged: 0\u00a0% with clipping, 100\u00a0% without" in found.answer


def test_clipping_is_not_judged_where_stable_networks_do_not_learn_either() -> None:
    rows = planted(World(), points=1000, **RECURRENT)
    for entry in rows:
        if entry["outcome"] == "learned":
            entry["outcome"] = "stalled"
    found = CLAIMS["11b"](evidence(trials(rows), DEFAULT_LIMITS), "11b")
    assert found.verdict == "undecided"
    assert "this run cannot tell" in found.answer


def test_a_learning_rate_that_is_too_large_is_not_taken_for_an_explosion() -> None:
    """Networks diverge at large rates alone, whatever their gradient, but exploding ones got larger rates."""
    rows = planted(World(diverging=0.0), points=2000, activation=["tanh", "relu"], steps=[100])
    rng = np.random.default_rng(1)
    for entry in rows:
        high = rng.random() < (0.8 if entry["gradient_decades"] > 1.3 else 0.2)
        entry["learning_rate"] = 1.0 if high else 0.01
        entry["outcome"] = "diverged" if high and rng.random() < 0.9 else "stalled"
    found = CLAIMS["13b"](evidence(trials(rows), DEFAULT_LIMITS), "13b")
    assert found.verdict in ("no", "undecided"), found.answer
    assert found.effect == pytest.approx(0.0, abs=0.05)


def test_noise_of_the_loss_is_no_oscillation() -> None:
    """The loss of every trial is noise around a level; where gradients explode it is ten times as large."""
    rows = planted(World(diverging=0.0), points=1000, **TRAINED)
    rng = np.random.default_rng(2)
    for entry in rows:
        size = 0.3 if entry["gradient_decades"] > 1.3 else 0.03
        entry["probe_losses"] = (2.3 + size * rng.normal(size=101)).tolist()
        entry["probe_steps"] = list(range(101))
    assert CLAIMS["13c"](evidence(trials(rows), DEFAULT_LIMITS), "13c").verdict == "no"


def test_diverged_trials_count_as_the_worst_oscillation() -> None:
    found = claim("13c", World(swinging=0.0, diverging=1.0), TRAINED)
    assert found.verdict == "yes"
    assert found.effect == pytest.approx(1.0, abs=0.02)


def test_trouble_does_not_start_where_there_is_as_much_just_before() -> None:
    """The band just below is asked: with a smooth law any two bands far apart differ."""
    found = claim("6b", World(rate=2.0), PLAIN)
    assert found.verdict == "no"
    assert "At 6 to 9 layers" in found.answer


def test_a_variance_that_changes_a_hundredfold_is_not_held() -> None:
    """|G| = 1 is stable by the limits of a regime, and a factor of 100 in variance."""
    found = claim("7a", World(critical=critical(tanh=10 ** (1 / 30))), XAVIER | {"depth": [31]})
    assert found.verdict == "no"
    assert (
        "From 30 layers on the median network's variances change by factors of 1 and 0.0099;" in found.answer
    )


def test_the_critical_weights_of_tanh_and_relu_are_told_apart_between_them() -> None:
    """Between the two critical σ_w tanh explodes and ReLU does not: pooled, the large weights hide it."""
    found = claim("4b", World(critical=critical(tanh=1.0, relu=2.5)), {"activation": ["tanh", "relu"]})
    assert found.verdict in ("no", "depends")
    assert found.effect is not None
    assert found.effect < 0


def test_norms_are_compared_in_parts_that_have_networks_without_them() -> None:
    """A part of normed networks alone, all of which explode, says nothing about what a norm prevents."""
    rows = planted(World(norm_slope=0.0), points=1000, **NORMED)
    alone = planted(World(norm_slope=0.7), points=500, activation=["tanh"], norm=["batch"])
    rows += [entry | {"trial": 2000 + n, "point": 2000 + n, "part": "b"} for n, entry in enumerate(alone)]
    assert CLAIMS["10b"](evidence(trials(rows), DEFAULT_LIMITS), "10b").verdict == "yes"


def test_exploding_streams_are_told_with_the_growth_of_their_signal() -> None:
    found = claim("12b", World(skip_slope=0.1, forward=0.1), SKIPPED)
    assert "decades and G − F 0.0: what is left" in found.answer


def test_factors_of_weights_and_derivatives_are_the_reason() -> None:
    found = claim("2b", World(), PLAIN)
    assert "weights and φ′ multiply the gradient by" in found.answer
    assert "and 0.63 with sigmoid" in found.answer  # the planted −0.2 decades of φ′
