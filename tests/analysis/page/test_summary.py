"""The answer's sentences say what was planted, and nothing where the data say nothing."""

from __future__ import annotations

import pytest

from gradatlas.analysis import words
from gradatlas.analysis.page import summary
from gradatlas.analysis.reading import tables
from tests.analysis.conftest import row, study_rows, trials


def _sentences(rows: list) -> list[str]:
    frame = trials(rows)
    return summary.sentences(tables.cells(frame), frame)


def test_the_sentences_say_what_was_planted() -> None:
    stable, kinds, training = _sentences(study_rows(points=1200))
    assert stable.startswith(
        "In plain networks (no norm, no skip) of about 44 hidden layers (32 to 64 pooled)"
    )
    assert "with tanh" in stable
    assert "with ReLU" in stable
    assert "100\u00a0% with batch norm (none vanish, none explode)" in kinds
    assert training.startswith(
        "After 100 training steps at a learning rate of 0.1, 100\u00a0% of the networks whose gradient was "
        "stable"
    )
    assert "0\u00a0% of the ones where it vanished" in training
    diverged = sum(planted["outcome"] == "diverged" for planted in study_rows(points=1200))
    assert training.endswith(f"{diverged} trials of 1,200 diverged.")


def test_shares_in_the_sentence_are_those_of_the_plain_networks() -> None:
    rows = study_rows(points=400)
    plain = [planted["gradient_decades"] for planted in rows if planted["norm"] == "none"]
    stable = sum(abs(g) <= 1.3 for g in plain) / len(plain)
    assert f"{words.percent(stable)} of the plain networks" in _sentences(rows)[1]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [row(0)],
        [row(n, gradient_decades=None, outcome=None) for n in range(20)],
    ],
    ids=["nothing", "one", "unmeasured"],
)
def test_too_little_data_says_nothing(rows: list) -> None:
    assert _sentences(rows) == []


def test_without_training_nothing_is_said_about_it() -> None:
    rows = [planted | {"outcome": None} for planted in study_rows()]
    assert len(_sentences(rows)) == 2


def test_a_study_in_parts_speaks_of_its_largest_and_says_so() -> None:
    small = [row(1000 + n, part="small", activation="sigmoid") for n in range(20)]
    found = _sentences(study_rows() + small)
    assert all(sentence.startswith("Part main (of 2): ") for sentence in found)
    assert "sigmoid" not in found[0]
    assert "of 240 diverged" in found[2]


def test_each_sentence_speaks_of_the_part_that_has_most_to_say_of_it() -> None:
    kinds = [planted | {"part": "kinds", "outcome": None} for planted in study_rows(points=400)]
    plain = [
        planted | {"part": "plain", "outcome": None, "norm": "none", "trial": 9000 + n, "point": 9000 + n}
        for n, planted in enumerate(
            planted for planted in study_rows(points=700) if planted["norm"] == "none"
        )
    ]
    training = [
        planted | {"part": "training", "norm": "none", "trial": 5000 + n, "point": 5000 + n}
        for n, planted in enumerate(study_rows(points=100))
    ]
    found = _sentences(kinds + plain + training)
    assert [sentence.split(":")[0] for sentence in found] == [
        "Part plain (of 3)",
        "Part kinds (of 3)",
        "Part training (of 3)",
    ]


def _trained(rates, **values) -> list:
    return [
        row(n, point=n // 2, draw=n % 2, learning_rate=rate, **values) for n, rate in enumerate(rates)
    ]  # fmt: skip


NUISANCE = {"nuisance": {"learning_rate": {"low": 1e-3, "high": 1.0}}}
DRAWS = [0.001, 0.2, 0.03, 1.0, 0.5, 0.1, 0.7, 0.004, 0.02, 0.3]
SAME = [rate for rate in DRAWS for _ in range(2)]  # two repetitions of one draw


@pytest.mark.parametrize(
    ("rates", "sweep", "said"),
    [
        ([0.1] * 10, NUISANCE, "at a learning rate of 0.1, "),
        (SAME, NUISANCE, "at one learning rate for each point, drawn at random from 0.001 to 1, "),
        (DRAWS, NUISANCE, "at up to 2 learning rates for each point, drawn at random from 0.001 to 1, "),
        (SAME, {"part": [NUISANCE | {"name": "main"}]}, "at one learning rate for each point, drawn at "),
        (SAME, {"part": [NUISANCE | {"name": "other"}]}, "at learning rates from 0.001 to 1, "),
        (SAME, {"scientific": NUISANCE["nuisance"]}, "at learning rates from 0.001 to 1, "),
        (SAME, {}, "at learning rates from 0.001 to 1, "),
        (SAME, NUISANCE | {"search": {"sampler": "tpe"}}, "at learning rates from 0.001 to 1, "),
        (SAME, NUISANCE | {"search": {"sampler": "grid"}}, "at one learning rate for each point, drawn at "),
        ([None] * 10, NUISANCE, "100\u00a0% of the networks"),
    ],
)  # fmt: skip
def test_a_share_that_hangs_on_random_learning_rates_says_so(rates: list, sweep: dict, said: str) -> None:
    frame = trials(_trained(rates))
    sentence = summary.sentences(tables.cells(frame), frame, sweep=sweep)[-1]
    assert sentence.startswith(f"After 100 training steps {said}".replace("steps 100", "steps, 100"))


def test_a_parts_own_role_of_the_learning_rate_counts_before_the_files() -> None:
    rates = {"learning_rate": {"low": 1e-3, "high": 1.0}}
    frame = trials(_trained(SAME))
    sweep = {"nuisance": rates, "part": [{"name": "main", "scientific": rates}]}
    assert "at learning rates from" in summary.sentences(tables.cells(frame), frame, sweep=sweep)[-1]


@pytest.mark.parametrize(
    ("sigma_w", "width", "text"),
    [
        (1.2, 64, "σ_w = 1.2 at width 64: weights of about ±0.15"),
        (10.0, 64, "σ_w = 10 at width 64: weights of about ±1.3"),
        (1.0, 1, "σ_w = 1 at width 1: weights of about ±1"),
        (2**0.5, 1024, "σ_w = 1.41 at width 1024: weights of about ±0.044"),
    ],
)
def test_a_weight_scale_is_told_as_plain_weights(sigma_w: float, width: int, text: str) -> None:
    assert words.plain_weights(sigma_w, width) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.25, "0.25"), (1.414, "1.4"), (16.0, "16"), (130.0, "130"), (9.96, "10"), (1.25, "1.3"), (-6.0, "−6"),
     (0, "0"), (0.0999, "0.1"), (float("-inf"), "−∞"), (0.0003, "0.0003"), (-1.13e-15, "−1.1·10⁻¹⁵")],
)  # fmt: skip
def test_numbers_have_two_digits_and_an_exponent_where_they_are_tiny(value: float, text: str) -> None:
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(None, "–"), (0.0, "0 %"), (0.001, "<1 %"), (0.347, "35 %"), (0.999, ">99 %"), (1.0, "100 %")],
)
def test_percentages_claim_none_and_all_only_if_true(share: float | None, text: str) -> None:
    assert words.percent(share).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("text", "shown"), [("residual", "residual"), ("pre-activation residual", "pre-activati…")]
)
def test_what_an_axis_has_no_room_for_ends_in_an_ellipsis(text: str, shown: str) -> None:
    assert words.shortened(text, 13) == shown
