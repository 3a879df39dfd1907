"""Two runs side by side: equal worlds differ in nothing, changed ones in what was changed."""

from __future__ import annotations

import pytest
from scipy.stats import binom

from gradatlas.analysis.comparing import compare
from tests.analysis.conftest import Plant, row
from tests.analysis.worlds import CRITICAL, World, planted

PLAIN = {"activation": ["tanh", "relu"], "depth": [10, 20]}


def test_equal_worlds_have_no_difference_and_the_same_answers(plant: Plant) -> None:
    runs = [plant(planted(World(), points=600, seed=n, **PLAIN), name=f"run-{n}") for n in (0, 1)]
    found = compare(*runs)
    assert found.names == ("run-0", "run-1")
    assert found.notes == []
    assert len(found.boundaries) == 4
    assert not found.boundaries["apart"].any()
    both = found.claims.select("verdict", "verdict_second").rows()
    assert all(one == two for one, two in both)


def test_one_in_twenty_differences_between_equal_worlds_misses_zero(plant: Plant) -> None:
    found = []
    for n in range(0, 6, 2):
        runs = [plant(planted(World(), points=600, seed=m, **PLAIN), name=f"run-{m}") for m in (n, n + 1)]
        found += compare(*runs).shares.rows(named=True)
    missed = sum(not entry["low"] <= 0 <= entry["high"] for entry in found)
    assert len(found) == 18
    assert missed <= binom.ppf(0.99, len(found), 0.05)


def test_a_changed_activation_is_found(plant: Plant) -> None:
    changed = World(critical=CRITICAL | {"relu": 3.0})
    runs = [
        plant(planted(world, points=600, seed=n, **PLAIN), name=f"run-{n}")
        for n, world in enumerate((World(), changed))
    ]
    found = compare(*runs)
    exploding = {
        entry["activation"]: entry for entry in found.shares.rows(named=True) if entry["what"] == "exploding"
    }
    assert exploding["relu"]["high"] < 0
    assert exploding["tanh"]["low"] <= 0 <= exploding["tanh"]["high"]
    apart = dict(found.boundaries.select("activation", "apart").unique().rows())
    assert apart == {"relu": True, "tanh": False}


def test_different_limits_are_told_and_the_first_runs_hold(plant: Plant) -> None:
    rows = [row(n, gradient_decades=1.7) for n in range(20)]
    one = plant(rows, name="one", sweep="[limits]\nstable_decades = 2.0\n")
    two = plant(rows, name="two")
    found = compare(one, two)
    assert found.notes == [
        "stable_decades: 2 in the first, 1.3 in the second; both are labelled with the first's"
    ]
    stable = found.shares.filter(what="stable").row(0, named=True)
    assert (stable["first"], stable["second"]) == (1.0, 1.0)


def test_runs_with_nothing_in_common_say_so(plant: Plant) -> None:
    one = plant([row(0, activation="tanh")], name="one", files=1)
    two = plant([row(0, activation="relu")], name="two", files=1)
    found = compare(one, two)
    assert found.shares.is_empty()
    assert any("no activation in common" in note for note in found.notes)


@pytest.mark.parametrize(
    ("mild", "severe"),
    [({"weight_gain": 1.0}, {"weight_gain": 1.5}), ({"depth": 4}, {"depth": 8}), ({}, {"family": "rnn"})],
    ids=str,
)
def test_runs_with_other_shares_of_the_same_networks_do_not_differ(plant: Plant, mild, severe) -> None:
    runs = []
    for name, counts in (("one", (30, 10)), ("two", (10, 30))):
        settings = [(mild, 0.0)] * counts[0] + [(severe, 5.0)] * counts[1]
        common = {"activation": "tanh", "depth": 10, "weight_gain": 1.0}
        rows = [
            row(n, **(common | setting), gradient_decades=g + n % 4 / 100)
            for n, (setting, g) in enumerate(settings)
        ]
        runs.append(plant(rows, name=name))
    exploding = compare(*runs).shares.filter(what="exploding").row(0, named=True)
    assert (exploding["first"], exploding["second"]) == (0.25, 0.75)
    assert exploding["difference"] == 0.0
