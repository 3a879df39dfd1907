"""The score of theory's G against naive code and planted offsets."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest

from gradatlas.analysis.measures.prediction_error import predicted_cells, prediction_score
from gradatlas.analysis.reading.cells import cells
from gradatlas.study.regimes import Limits
from tests.analysis.conftest import row, trials

LIMITS = Limits()


def scored(rows: list):
    return prediction_score(predicted_cells(cells(trials(rows)), LIMITS))


def pair(trial: int, measured: float | None, predicted: float | None, sd: float | None = None, **more):
    return row(trial, gradient_decades=measured, theory_gradient_decades=predicted, theory_sd=sd, **more)


def test_the_score_is_what_naive_code_counts() -> None:
    pairs = [(-9.0, -8.0), (0.2, 0.5), (1.2, 1.4), (4.0, 4.1), (0.0, -0.05)]
    found = scored([pair(n, *values) for n, values in enumerate(pairs)])
    assert found.off == pytest.approx(statistics.median([1.0, 0.3, 0.2, 0.1, 0.05]))
    assert (found.cells, found.agreeing) == (5, 0.8)  # 1.2 is stable, 1.4 explodes
    assert (found.with_spread, found.within) == (0, None)


@pytest.mark.parametrize(("offset", "within"), [(0.0, 0.9545), (0.4, 0.5), (1.5, 0.0)])
def test_a_planted_offset_is_seen_in_decades_and_in_deviations(offset: float, within: float) -> None:
    noise = np.random.default_rng(5).normal(scale=0.2, size=2000)
    found = scored([pair(n, offset + error, 0.0, 0.2) for n, error in enumerate(noise)])
    # Of a normal distribution of deviation 0.2: 95.4 % are within two, 50 % where the centre is two away.
    assert found.within == pytest.approx(within, abs=5 * 0.5 / math.sqrt(2000))
    assert found.off == pytest.approx(np.median(np.abs(offset + noise)))


def test_a_cell_of_many_seeds_is_held_to_the_spread_of_its_median() -> None:
    def cell(point: int, measured: float) -> list:
        return [pair(100 * point + n, measured, 0.0, 1.0, point=point) for n in range(25)]

    # The median of 25 values of deviation 1 has one of 0.2 to 0.25: 0.3 is within two of it, 0.6 is not.
    assert scored([*cell(0, 0.3), *cell(1, 0.6)]).within == 0.5


def test_only_what_is_measured_and_predicted_counts() -> None:
    rows = [pair(0, 1.0, None), pair(1, None, 1.0), pair(2, math.nan, 1.0), pair(3, 1.0, 1.0)]
    found = predicted_cells(cells(trials(rows)), LIMITS)
    assert found["point"].to_list() == [3]


def test_a_gradient_of_zero_is_infinitely_far_from_a_finite_prediction_and_none_from_its_own() -> None:
    found = predicted_cells(
        cells(trials([pair(0, -math.inf, -3.0, 0.1), pair(1, -math.inf, -math.inf)])), LIMITS
    )
    assert found.sort("point")["off"].to_list() == [math.inf, 0.0]
    assert found.sort("point")["within"].to_list() == [False, None]
