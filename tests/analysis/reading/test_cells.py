"""Cells against numpy, and their labels where a limit is near."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from gradatlas.analysis.reading.cells import cells
from gradatlas.study.regimes import Limits
from tests.analysis.conftest import row, trials


def one(rows: list, limits: Limits | None = None) -> dict:
    return cells(trials(rows), limits or Limits()).collect().row(0, named=True)


def test_a_cells_statistics_are_numpys() -> None:
    g = np.random.default_rng(0).normal(size=40)
    found = one([row(n, point=1, gradient_decades=value) for n, value in enumerate(g)])
    assert found["gradient_decades"] == pytest.approx(np.median(g))
    assert found["low"] == np.quantile(g, 0.1, method="nearest")
    assert found["high"] == np.quantile(g, 0.9, method="nearest")
    assert found["error"] == pytest.approx(np.std(g, ddof=1) / math.sqrt(40))
    assert found["rows"] == 40


@pytest.mark.parametrize(
    ("values", "predicted", "error"),
    [
        ([1.0], None, None),
        ([1.0], 0.2, 0.2),
        ([1.0, 5.0, 1.0, 5.0], 0.2, 0.1),  # four rows say nothing of their spread
        ([1.0, 1.0, 1.0, 1.0, 1.0], 0.5, 0.5 / math.sqrt(5)),  # the larger of the two
        ([0.0, 2.0, 0.0, 2.0, 1.0], 0.5, 1.0 / math.sqrt(5)),
        ([-math.inf, 1.0, 1.0, 1.0, 1.0], None, None),
    ],
)
def test_the_error_is_the_larger_of_the_predicted_and_the_sample_spread(
    values: list[float], predicted: float | None, error: float | None
) -> None:
    rows = [row(n, point=1, gradient_decades=g, theory_sd=predicted) for n, g in enumerate(values)]
    found = one(rows)["error"]
    assert found is None if error is None else found == pytest.approx(error)


@pytest.mark.parametrize(
    ("g", "sd", "label", "determined"),
    [
        (1.2, 0.04, "stable", True),
        (1.2, 0.06, "undetermined", False),
        (-1.4, 0.06, "undetermined", False),
        (-1.4, 0.04, "vanishing", True),
        (1.2, None, "stable", None),
    ],
)
def test_a_label_within_two_errors_of_a_limit_is_undetermined(
    g: float, sd: float | None, label: str, determined: bool | None
) -> None:
    found = one([row(0, gradient_decades=g, theory_sd=sd)])
    assert (found["label"], found["determined"]) == (label, determined)
    assert found["regime"] == ("vanishing" if g < -1.3 else "stable")


def test_the_phase_follows_the_slope_and_its_error() -> None:
    for slope, error, phase in (
        (0.1, 0.02, "exploding"),
        (0.03, 0.02, "critical"),
        (-0.1, 0.02, "vanishing"),
    ):
        found = one([row(0, gradient_slope=slope, gradient_slope_stderr=error)])
        assert (found["phase"], found["slope_error"]) == (phase, error)
    many = one([row(n, point=1, gradient_slope=0.03, gradient_slope_stderr=0.02) for n in range(4)])
    assert many["slope_error"] == pytest.approx(0.01)
    assert many["phase"] == "exploding"


def test_outcomes_are_shares_of_what_was_trained() -> None:
    outcomes = ["learned", "learned", "diverged", None]
    found = one([row(n, point=1, outcome=outcome) for n, outcome in enumerate(outcomes)])
    assert found["trained"] == 3
    assert (found["learned"], found["diverged"]) == (pytest.approx(2 / 3), pytest.approx(1 / 3))


def test_cells_never_cross_parts_and_carry_what_is_asked_for() -> None:
    rows = [row(n, point=1, part=part, seconds=float(n)) for n, part in enumerate("aab")]
    found = cells(trials(rows), Limits(), pl.col("seconds").sum().alias("cost")).collect().sort("part")
    assert found.select("part", "rows", "cost").rows() == [("a", 2, 1.0), ("b", 1, 2.0)]
