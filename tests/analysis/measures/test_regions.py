"""Shares, intervals and stable ranges against oracles and planted truths."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from gradatlas.analysis.measures import regions
from gradatlas.analysis.measures.regions import StableRange
from gradatlas.analysis.reading import tables
from tests.analysis.conftest import row, study_rows, trials


@pytest.mark.parametrize(("successes", "n"), [(0, 7), (3, 7), (7, 7), (40, 1000)])
def test_wilson_agrees_with_scipy(successes: int, n: int) -> None:
    interval = binomtest(successes, n).proportion_ci(method="wilson")
    # 1.96 for the normal quantile 1.959964: a relative 2e-5 of the half width.
    assert regions.wilson(successes, n) == pytest.approx((interval.low, interval.high), abs=2e-5)


def test_wilson_of_nothing_is_everything() -> None:
    assert regions.wilson(0, 0) == (0.0, 1.0)


def test_regime_shares_are_those_of_the_measured_cells() -> None:
    values = [-9.0, -math.inf, 0.0, 2.0, None]
    cells = tables.cells(trials([row(n, gradient_decades=g) for n, g in enumerate(values)]))
    found = regions.regime_shares(cells, ["activation"]).collect().row(0, named=True)
    assert (found["cells"], found["unmeasured"]) == (5, 1)
    assert (found["vanishing"], found["stable"], found["exploding"]) == (0.5, 0.25, 0.25)
    assert found["severe"] == 0.5


def test_outcome_shares_count_every_trained_trial() -> None:
    outcomes = ["learned", "stalled", "diverged", "failed", None]
    frame = trials([row(n, outcome=outcome) for n, outcome in enumerate(outcomes)])
    found = regions.outcome_shares(frame, ["activation"]).collect().row(0, named=True)
    assert found == {"activation": "relu", "trials": 4, "learned": 0.25, "stalled": 0.25, "diverged": 0.25,
                     "failed": 0.25}  # fmt: skip


@pytest.mark.parametrize(
    ("depths", "bands"),
    [
        ([10], [(10, 10)]),
        ([64, 2, 8, 8], [(2, 2), (8, 8), (64, 64)]),
        (range(2, 65), [(2, 3), (4, 7), (8, 15), (16, 31), (32, 64)]),
        (range(3, 60), [(3, 3), (4, 7), (8, 15), (16, 31), (32, 59)]),
        (range(1, 1001), [(1, 3), (4, 15), (16, 63), (64, 255), (256, 1000)]),
    ],
)
def test_depth_bands_cover_all_depths_once(depths: range, bands: list) -> None:
    assert regions.depth_bands(depths) == bands
    assert all(sum(low <= depth <= high for low, high in bands) == 1 for depth in set(depths))


def test_a_stable_range_is_found_and_open_where_the_sweep_ends() -> None:
    sigma = np.geomspace(0.25, 16, 20)
    inside = (sigma > 0.9) & (sigma < 3)
    found = regions.stable_range(sigma, inside)
    assert (found.kind, found.low, found.high) == ("range", sigma[inside][0], sigma[inside][-1])
    assert (found.open_low, found.open_high) == (False, False)
    assert regions.stable_range(sigma, sigma < 3).open_low
    assert regions.stable_range(sigma, sigma > 3).open_high


@pytest.mark.parametrize(
    ("stable", "kind"),
    [
        ([True] * 5, "few"),
        ([True] * 10, "all"),
        ([False] * 10, "none"),
        ([True, False] * 10, "mixed"),
        ([False] * 9 + [True], "mixed"),
        ([True] * 8 + [False] + [True], "most"),
    ],
)
def test_no_range_is_stated_where_the_cells_support_none(stable: list[bool], kind: str) -> None:
    found = regions.stable_range(np.arange(1.0, len(stable) + 1), np.array(stable))
    assert (found.kind, found.low) == (kind, None)
    assert found.stable_share == pytest.approx(np.mean(stable))


def test_the_order_of_the_cells_does_not_matter() -> None:
    generator = np.random.default_rng(1)
    sigma = np.geomspace(0.25, 16, 30)
    order = generator.permutation(30)
    stable = (sigma > 1) & (sigma < 4)
    assert regions.stable_range(sigma[order], stable[order]) == regions.stable_range(sigma, stable)


def test_the_best_run_is_the_one_that_trying_all_finds() -> None:
    generator = np.random.default_rng(2)
    for _ in range(50):
        scores = generator.choice([-1, 1], size=12)
        first, last = regions._best_run(scores)
        sums = [scores[a : b + 1].sum() for a in range(12) for b in range(a, 12)]
        assert scores[first : last + 1].sum() == max(sums)


def test_the_planted_range_comes_back_from_scattered_trials() -> None:
    cells = tables.cells(trials(study_rows(points=1200)))
    rows = regions.stable_ranges(cells, ["activation", "norm"])
    found: dict[tuple, StableRange] = {
        (row["activation"], row["norm"], row["depth_low"]): row["range"] for row in rows
    }
    # |log10(σ_w / 2)| · (L − 1) ≤ 1.3 holds for every L in 8 … 15 within 2 · 10^±(1.3/14), for none beyond
    # 2 · 10^±(1.3/7).
    plain = found["tanh", "none", 8]
    assert plain.kind == "range"
    assert 2 * 10 ** -(1.3 / 7) <= plain.low <= 2 * 10 ** -(1.3 / 14) * 1.1
    assert 2 * 10 ** (1.3 / 14) / 1.1 <= plain.high <= 2 * 10 ** (1.3 / 7)
    assert found["tanh", "batch", 32].kind == "all"
