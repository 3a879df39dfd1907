"""The sentence on stable weight scales tells planted windows, and claims no end that the data do not hold."""

from __future__ import annotations

import re
from itertools import count

import numpy as np
import pytest

from gradatlas.analysis.measures.regions import StableRange
from gradatlas.analysis.page.stable_windows import End, range_words, stable_sentence
from gradatlas.analysis.reading.cells import cells
from gradatlas.study.regimes import Limits
from tests.analysis.conftest import row, trials

LIMITS = Limits()
DEPTH = 21  # 20 steps: stable within 10^±(1.3 / 20) = 1.161 times the critical σ_w
ENDS = r"from ([\d.]+) \((?:95 % interval )?([\d.]+) to ([\d.]+)\) to ([\d.]+) \(([\d.]+) to ([\d.]+)\)"


def planted(activation: str, critical: float, *, seed: int = 0, cells: int = 200, high: float = 8.0, **more):
    """Networks at random σ_w whose G passes zero at the critical one, with noise of 0.1 decades."""
    generator = np.random.default_rng(seed)
    numbers = count(1000 * seed)
    theory = {} if "theory" not in more else {"theory": more.pop("theory")}
    rows = []
    for sigma_w in (0.25 * (high / 0.25) ** generator.random(cells)).tolist():
        g = 20 * np.log10(sigma_w / critical)
        told = {"theory_gradient_decades": 20 * np.log10(sigma_w / theory["theory"])} if theory else {}
        rows.append(
            row(
                next(numbers), activation=activation, depth=DEPTH, weight_gain=sigma_w,
                gradient_decades=g + 0.1 * generator.normal(), **told, **more,
            )
        )  # fmt: skip
    return rows


def said(rows: list) -> str:
    return stable_sentence(cells(trials(rows)), LIMITS)


def test_a_planted_window_is_told_with_intervals_that_hold_its_ends() -> None:
    sentence = said(planted("relu", 1.4))
    assert sentence.startswith(
        "In plain networks (no norm, no skip) of 21 hidden layers, gradients are stable "
    )
    lower, low, high, upper, upper_low, upper_high = map(float, re.search(ENDS, sentence).groups())
    ends = 1.4 * 10 ** (-1.3 / 20), 1.4 * 10 ** (1.3 / 20)
    assert low <= ends[0] <= high
    assert upper_low <= ends[1] <= upper_high
    assert (lower, upper) == pytest.approx(ends, rel=0.03)


def test_theorys_window_stands_beside_the_measured_one() -> None:
    found = re.search(r"with ReLU \(theory ([\d.]+) to ([\d.]+)\)", said(planted("relu", 1.4, theory=1.5)))
    ends = 1.5 * 10 ** (-1.3 / 20), 1.5 * 10 ** (1.3 / 20)
    # Between neighbouring σ_w that were tried, some 2 % apart.
    assert tuple(map(float, found.groups())) == pytest.approx(ends, rel=0.02)
    assert "theory" not in said(planted("relu", 1.4))


def test_activations_with_one_window_are_told_together_and_others_apart() -> None:
    relu, leaky = planted("relu", 1.4, seed=1, theory=1.4), planted("leaky_relu", 1.4, seed=2, theory=1.4)
    together = said([*relu, *leaky])
    assert len(re.findall(ENDS, together)) == 1
    assert "with ReLU and leaky ReLU (theory" in together
    apart = said([*relu, *planted("tanh", 2.8, seed=3, theory=2.8)])
    assert len(re.findall(ENDS, apart)) == 2
    assert apart.index("with tanh") < apart.index("with ReLU")  # in the order of their declaration
    assert apart.count("95 % interval") == 1


def test_windows_that_theory_tells_apart_are_not_told_together() -> None:
    one, other = End(1.4, 1.2, 1.6, 1.4), End(1.41, 1.2, 1.6, 1.41)
    assert one.is_like(other)
    assert not one.is_like(End(1.41, 1.2, 1.6, 1.5))
    assert not one.is_like(End(1.41, 1.2, 1.6, None))
    assert not one.is_like(End(1.7, 1.3, 1.8, 1.4))
    assert not End(1.4, 1.39, 1.41, 1.4).is_like(End(1.45, 1.3, 1.6, 1.4))


def test_told_together_intervals_hold_those_of_each() -> None:
    rows = [planted("relu", 1.4, seed=1), planted("leaky_relu", 1.4, seed=2)]
    alone = [re.search(ENDS, said(each)).groups() for each in rows]
    both = re.search(ENDS, said([*rows[0], *rows[1]])).groups()
    assert float(both[1]) == min(float(each[1]) for each in alone)
    assert float(both[5]) == max(float(each[5]) for each in alone)


def test_a_window_that_was_not_left_upwards_is_open() -> None:
    sentence = said(planted("sigmoid", 8.0, high=8.5))
    assert re.search(r"for σ_w from 6\.\d+ \(95 % interval [\d.]+ to [\d.]+\) to the largest tried", sentence)


def test_without_an_estimate_the_outermost_stable_networks_are_named_as_such() -> None:
    sigma = np.geomspace(0.25, 8, 9)  # one cell fewer than an estimate needs
    rows = [
        row(n, depth=DEPTH, weight_gain=s, gradient_decades=0.0 if 0.7 < s < 3 else 5.0)
        for n, s in enumerate(sigma.tolist())
    ]
    assert said(rows).startswith(
        "In plain networks (no norm, no skip) of 21 hidden layers, gradients are stable in those tried for "
        "σ_w from 0.92 to 2.2 with ReLU."
    )


def test_the_first_weight_scale_is_told_as_plain_weights_at_the_runs_width() -> None:
    sentence = said(planted("relu", 1.4, width=16))
    lower = float(re.search(ENDS, sentence).group(1))
    assert sentence.endswith(f" σ_w = {lower:g} at width 16: weights of about ±{lower / 4:.2g}.")
    assert "weights of" not in said([row(n, depth=DEPTH) for n in range(9)])  # stable at every σ_w tried


def test_where_settings_differ_the_most_usual_one_is_told_and_named() -> None:
    rows = planted("relu", 1.4, width=32) + planted("relu", 4.0, seed=1, cells=150, width=64)
    sentence = said(rows)
    assert "of 21 hidden layers (width 32), gradients" in sentence
    assert float(re.search(ENDS, sentence).group(1)) == pytest.approx(1.2, abs=0.05)


def evenly(activation: str, g: list[float], *, depth: int, first: int) -> list:
    """Networks of one depth at even steps of log σ_w with the given G."""
    return [
        row(first + n, activation=activation, depth=depth, weight_gain=s, gradient_decades=g[n])
        for n, s in enumerate(np.geomspace(0.3, 8, len(g)).tolist())
    ]


def test_one_end_alone_is_no_window_where_the_other_side_is_not_stable_to_the_last() -> None:
    sentence = said(
        evenly("relu", [-9.0] * 8 + [-0.9, -0.5, 0.0, 0.4, 0.9] + [9.0] * 2, depth=DEPTH, first=0)
    )
    assert "gradients are stable in those tried for σ_w from" in sentence


def test_windows_are_told_where_they_can_be_estimated_even_if_deeper_networks_have_stable_ones() -> None:
    deep = evenly("relu", [-9.0] * 3 + [0.0] * 3 + [9.0] * 3, depth=60, first=5000)
    assert "of 60 hidden layers" in said(deep)
    assert "of 21 hidden layers" in said([*planted("relu", 1.4), *deep])


def test_the_depth_is_that_at_which_most_activations_have_a_stable_weight_scale() -> None:
    shallow = [
        evenly(name, [0.0] * 20, depth=5, first=5000 + 100 * n)
        for n, name in enumerate(["relu", "tanh", "elu"])
    ]
    deep = evenly("tanh", [9.0] * 20, depth=DEPTH, first=9000)
    assert "of 5 hidden layers" in said([*planted("relu", 1.4), *deep, *shallow[0], *shallow[1], *shallow[2]])


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (StableRange("range", 9, 0.5, 0.912, 1.55), "from 0.91 to 1.6"),
        (StableRange("range", 9, 0.5, 0.25, 1.55, open_low=True), "from the smallest tried to 1.6"),
        (StableRange("range", 9, 0.5, 7.2, 16, open_high=True), "from 7.2 to the largest tried"),
        (StableRange("range", 9, 0.5, 1.41, 1.42), "around 1.4"),
    ],
)
def test_ranges_are_written_in_words(found: StableRange, text: str) -> None:
    assert range_words(found) == text
