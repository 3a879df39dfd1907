"""Oscillation of a loss: planted swings are seen, noise and smooth descents are not."""

from __future__ import annotations

import numpy as np
import pytest

from gradatlas.analysis.measures.oscillation import ALTERNATES, alternation, peak, swings

STEPS = np.arange(101)
DESCENT = 2.3 * np.exp(-STEPS / 30)


def _alternation(losses: list[float | None]) -> float:
    return alternation(losses, range(len(losses)))


def _swings(losses: list[float | None]) -> bool | None:
    return swings(losses, range(len(losses)))


def test_a_loss_of_period_two_alternates() -> None:
    assert _alternation((2.0 + 0.1 * (-1.0) ** STEPS).tolist()) == pytest.approx(1.0)
    on_the_way_down = DESCENT + 0.2 * (-1.0) ** STEPS
    assert _alternation(on_the_way_down.tolist()) > 0.95
    assert _swings(on_the_way_down.tolist())


def test_a_smooth_descent_does_not() -> None:
    assert _alternation(DESCENT.tolist()) < -0.9
    assert _swings(DESCENT.tolist()) is False


@pytest.mark.parametrize(("kind", "expected"), [("level", 0.5), ("walk", 0.0)])
def test_noise_has_the_alternation_of_its_closed_form_and_hardly__swings(kind: str, expected: float) -> None:
    noise = 0.01 * np.random.default_rng(3).normal(size=(2000, 101))
    paths = 2.3 + (noise if kind == "level" else np.cumsum(noise, axis=1))
    found = np.array([_alternation(path.tolist()) for path in paths])
    # The correlogram of 100 differences spreads by about 1/√100 a record.
    assert found.mean() == pytest.approx(expected, abs=4 * 0.1 / np.sqrt(2000) + 0.01)
    assert (found >= ALTERNATES).mean() < 0.05


def test_a_loss_that_passes_twice_its_first_value__swings() -> None:
    jump = DESCENT.copy()
    jump[3] = 2 * jump[0]
    assert peak(jump.tolist()) == pytest.approx(2.0)
    assert _swings(jump.tolist())
    assert peak(DESCENT.tolist()) == 1.0


@pytest.mark.parametrize("bad", [np.inf, np.nan, None])
def test_losses_that_are_not_finite_count_as_a_peak_and_end_the_record(bad: float | None) -> None:
    losses = [*DESCENT[:50].tolist(), bad, *[0.0, 9.0] * 20]
    assert peak(losses) == np.inf
    assert _alternation(losses) == pytest.approx(_alternation(DESCENT[:50].tolist()))
    assert _swings(losses)


def test_scales_beyond_float64s_squares_do_not_matter() -> None:
    losses = 2.0 + 0.1 * (-1.0) ** STEPS
    for scale in (1e-200, 1e200):
        assert _alternation((scale * losses).tolist()) == pytest.approx(1.0)


def test_nothing_is_said_of_too_few_losses_or_none_that_change() -> None:
    assert np.isnan(_alternation([1.0, 2.0] * 4))
    assert np.isnan(_alternation([1.0] * 50))
    assert np.isnan(_alternation([0.0] * 50))
    assert _swings([]) is None
    assert np.isnan(peak([0.0, 1.0]))


def test_no_difference_is_taken_across_a_gap() -> None:
    """A smooth descent of which the middle is not written down stays smooth, and alternation is seen on."""
    kept = [*range(50), *range(400, 450)]
    descent = 2.3 * np.exp(-np.arange(450) / 100)
    assert alternation(descent[kept].tolist(), kept) < -0.9
    swinging = descent + 0.1 * (-1.0) ** np.arange(450)
    assert alternation(swinging[kept].tolist(), kept) > 0.9
    assert alternation(swinging[kept].tolist(), range(100)) < 0.7
