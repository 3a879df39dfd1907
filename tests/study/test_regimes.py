from __future__ import annotations

import numpy as np
import pytest

from gradatlas.study.regimes import (
    Limits,
    cell_regime,
    is_determined,
    is_severe,
    outcome,
    phase,
    regime,
    standard_error,
)

INF, NAN = np.inf, np.nan


def test_labels_change_at_the_limits_and_the_limits_are_data():
    g = np.array([-INF, -1.31, -1.3, 0.0, 1.3, 1.31, INF, NAN])
    expected = ["vanishing", "vanishing", "stable", "stable", "stable", "exploding", "exploding", None]
    assert regime(g).tolist() == expected
    assert regime(g, Limits(stable_decades=2.0)).tolist()[1:6] == ["stable"] * 5
    assert is_severe(np.array([-3.1, -3.0, 3.0, INF])).tolist() == [True, False, False, True]


def test_a_samples_deviation_counts_from_five_rows_on():
    rows, sample, predicted = np.array([4, 5, 5, 5, 4]), np.full(5, 2.0), np.array([0.5, 0.5, 3.0, NAN, NAN])
    expected = [0.5 / 2, 2.0 / 5**0.5, 3.0 / 5**0.5, 2.0 / 5**0.5, NAN]
    np.testing.assert_allclose(standard_error(rows, sample, predicted), expected)
    # A gradient that is exactly zero has G = −∞: the spread of such rows says nothing.
    found = standard_error(np.array([9, 9]), np.array([INF, NAN]), np.array([0.6, 0.6]))
    np.testing.assert_allclose(found, [0.2, 0.2])


def test_a_cell_within_two_standard_errors_of_a_limit_is_undetermined():
    median = np.array([1.3 + 0.21, 1.3 + 0.19, -1.3 - 0.19, -1.3 + 0.21, 1.2, -INF, NAN])
    error = np.array([0.1, 0.1, 0.1, 0.1, NAN, 0.1, 0.1])
    assert is_determined(median, error).tolist() == [True, False, False, True, None, True, None]
    expected = ["exploding", "undetermined", "undetermined", "stable", "stable", "vanishing", None]
    assert cell_regime(median, error).tolist() == expected


def test_the_phase_goes_by_the_slope_and_its_error():
    slope, error = np.array([0.21, 0.19, -0.19, -0.21, 0.0, 0.1]), np.array([0.1, 0.1, 0.1, 0.1, 0.0, NAN])
    expected = ["exploding", "critical", "critical", "vanishing", "critical", None]
    assert phase(slope, error).tolist() == expected


def test_labels_of_the_gradient():
    g = np.array([-np.inf, -3.1, -1.31, -1.3, 0.0, 1.3, 1.31, 3.1, np.inf, np.nan])
    assert regime(g).tolist() == [*["vanishing"] * 3, *["stable"] * 3, *["exploding"] * 3, None]
    assert is_severe(g).tolist() == [True, True, *[False] * 5, True, True, False]
    assert regime(g, Limits(stable_decades=0.5, severe_decades=1.0))[3] == "vanishing"


def test_labels_of_training():
    labels = outcome(
        first_loss=np.array([2.3, 2.3, 5.0, 2.3, 1.0]),
        final_loss=np.array([0.5, 2.2, 2.2, np.inf, 1.5]),
        constant_loss=2.3,
        diverged=np.array([False, False, False, True, False]),
    )
    # The third fell from 5.0 to the constant predictor's loss: it learned its output bias and no more.
    assert labels.tolist() == ["learned", "stalled", "stalled", "diverged", "stalled"]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"stable_decades": 0.0}, "stable_decades: must be a finite number > 0"),
        ({"stable_decades": 9.0}, "severe_decades: must be >= stable_decades, but 3 < 9"),
    ],
)
def test_limits_out_of_order_are_refused(limits, message):
    with pytest.raises(ValueError, match=message):
        Limits(**limits)
