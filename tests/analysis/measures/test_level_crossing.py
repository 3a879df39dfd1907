"""Crossings against planted curves, brute force, and the coverage that an interval promises."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import isotonic_regression

from gradatlas.analysis.measures.level_crossing import _near, crossing, prefix_losses
from tests.analysis.calibration import scattered_slopes, slope_curve

CURVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "line": lambda x: x,
    "kink": lambda x: np.where(x < 0, x, x / 2),
    "curve": lambda x: np.expm1(1.2 * x) / 1.2,
    "saturating": lambda x: np.tanh(2 * x) / 2,
}
TRUTH = 0.15


def scattered(
    curve: Callable, n: int, rng: np.random.Generator, noise: float = 1.0
) -> tuple[np.ndarray, ...]:
    """x in 1.8 decades, y with the spread that networks of depth 8 to 15 and width 64 have, its variance."""
    x, layers = rng.uniform(-0.6, 1.2, n), rng.integers(8, 16, n)
    variance = 0.217**2 * 5 / 64 / layers
    return x, curve(x - TRUTH) + rng.normal(size=n) * np.sqrt(variance) * noise, variance


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize(("n", "noise"), [(16, 1.0), (100, 1.0), (100, 5.0)])
def test_the_interval_holds_the_truth_in_95_of_100_cases(curve: str, n: int, noise: float) -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(200):
        x, y, variance = scattered(CURVES[curve], n, rng, noise)
        at = crossing(x, y, variance=variance)
        if at.low is not None and at.high is not None:
            found.append(at.low <= TRUTH <= at.high)
    # Three standard errors of a share of 0.95 in 200.
    assert len(found) > 190
    assert np.mean(found) >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / 200)


def test_the_interval_shrinks_with_the_number_of_cells() -> None:
    rng = np.random.default_rng(1)

    def width(n: int) -> float:
        x, y, variance = scattered(CURVES["line"], n, rng)
        at = crossing(x, y, variance=variance)
        assert at.low is not None
        assert at.high is not None
        return at.high - at.low

    wide, narrow = (np.median([width(n) for _ in range(25)]) for n in (30, 3000))
    # A rising curve's crossing is known to n^(-1/3) once noise rules, to the gap 1/n before.
    assert narrow < wide * 100 ** (-1 / 3)


def test_a_level_moves_the_crossing_along_the_line() -> None:
    x = np.linspace(-1, 1, 41)
    for level in (-0.32, 0.48):
        assert crossing(x, x, level=level).x == pytest.approx(level, abs=1e-9)


@pytest.mark.parametrize(
    ("y", "note"),
    [
        (lambda x: 0 * x + 0.02, "0 of 60 cells lie below and 60 above"),
        (lambda x: np.where(x < 0.58, x - 5, x), "1 above: 3 each"),
        (lambda x: 0.05 - x, "does not part the cells"),
        (lambda x: np.abs(x) - 0.3, "does not part the cells"),
    ],
)
def test_no_crossing_where_the_cells_support_none(y: Callable, note: str) -> None:
    x = np.linspace(-0.6, 0.6, 60)
    found = crossing(x, y(x))
    assert (found.x, found.low, found.high) == (None, None, None)
    assert note in found.note


@pytest.mark.parametrize("n", [10, 16, 30, 100])
def test_noise_alone_has_hardly_ever_a_crossing(n: int) -> None:
    rng = np.random.default_rng(2)
    found = [crossing(rng.uniform(-1, 1, n), rng.normal(size=n)).x for _ in range(300)]
    # The rise is tested at 1 %: at most that, and three standard errors.
    assert sum(x is not None for x in found) <= 300 * 0.01 + 3 * math.sqrt(3)


def test_too_few_cells_have_no_crossing() -> None:
    assert "at least 10" in crossing(np.arange(9.0), np.arange(9.0) - 4).note


def test_zero_gradients_and_missing_ones_do_not_move_the_crossing() -> None:
    x = np.linspace(-1, 1, 40)
    y = x - 0.1
    y[0], y[1] = -np.inf, np.nan
    assert crossing(x, y).x == pytest.approx(0.1, abs=1e-9)


def test_the_order_of_the_cells_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    x, y, variance = scattered(CURVES["kink"], 80, rng)
    order = rng.permutation(80)
    assert crossing(x[order], y[order], variance=variance[order]) == crossing(x, y, variance=variance)


def test_prefix_losses_are_those_of_scipys_isotonic_regression() -> None:
    rng = np.random.default_rng(4)
    y, weight = rng.normal(size=40) + np.linspace(-1, 1, 40), rng.uniform(0.5, 2, 40)
    found = prefix_losses(y, weight)
    for n in range(1, 41):
        # The best rising curve that stays ≤ 0 is the best rising curve, cut at 0.
        fitted = np.minimum(isotonic_regression(y[:n], weights=weight[:n]).x, 0)
        assert found[n] == pytest.approx((weight[:n] * (y[:n] - fitted) ** 2).sum(), rel=1e-9)


@pytest.mark.parametrize("place", [700, 3000, 5300])
def test_of_very_many_cells_those_around_the_crossing_decide(place: int) -> None:
    x = np.linspace(-1, 1, 6000)
    y = np.clip(x - (x[place - 1] + x[place]) / 2, -0.2, 0.2)
    found = crossing(x, y)
    assert (found.low, found.high) == (x[place - 1], x[place])
    far = np.abs(np.arange(6000) - place + 0.5) > 1500
    y[far] *= np.random.default_rng(5).uniform(0.5, 2, far.sum())
    assert crossing(x, y) == found


@pytest.mark.parametrize(
    ("cells", "place", "window"),
    [
        (6000, 3000, (2250, 3750)),
        (6000, 751, (1, 1501)),
        (6000, 700, (0, 1500)),
        (6000, 5300, (4500, 6000)),
        (6000, 5249, (4499, 5999)),
        (1500, 40, (0, 1500)),
        (900, 450, (0, 900)),
    ],
)
def test_the_window_is_of_1500_cells_around_the_crossing(
    cells: int, place: int, window: tuple[int, int]
) -> None:
    assert _near(cells, place).indices(cells)[:2] == window


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("cells", [30, 100])
def test_a_bend_at_the_crossing_does_not_draw_it_aside(activation: str, cells: int) -> None:
    """Tanh's slope rises steeply below its critical σ_w and slowly above: lines put it 3 % too high."""
    rng = np.random.default_rng(11)
    x, y, truth = slope_curve(activation)
    found = [scattered_slopes(x, y, cells, rng) for _ in range(300)]
    lines = [crossing(at, slope, variance=variance).x for at, slope, variance in found]
    assert 10 ** (np.median([line for line in lines if line is not None]) - truth) == pytest.approx(
        1, abs=0.02
    )
