"""Effects: their intervals hold the truth as often as they promise, also for few cells and for zeros."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom, quantile_test

from gradatlas.analysis.measures.effects import (
    LEAST_CELLS,
    difference,
    matched,
    median,
    share,
)


def cells(n: int, rng: np.random.Generator, **columns: np.ndarray) -> pl.DataFrame:
    """Cells of one trial each in three strata."""
    return pl.DataFrame(
        {"rows": np.ones(n, int), "stratum": rng.integers(0, 3, n), "arm": rng.random(n) < 0.5} | columns
    )


def covers(found: list[bool]) -> bool:
    """Whether at least 95 % hold, within three standard errors."""
    return bool(np.mean(found) >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / len(found)))


@pytest.mark.parametrize(("one", "other"), [(0.0, 0.0), (0.02, 0.3), (0.5, 0.5), (1.0, 0.9)])
@pytest.mark.parametrize("n", [50, 300])
def test_the_interval_of_a_difference_holds_the_truth(one: float, other: float, n: int) -> None:
    rng, found = np.random.default_rng(0), []
    for _ in range(200):
        table = cells(n, rng)
        # A stratum shifts both arms, as depth does: only the comparison inside it is fair.
        shift = np.array([0.0, 0.05, -0.02])[table["stratum"]] * (min(one, other) > 0 and max(one, other) < 1)
        chance = np.where(table["arm"], one, other) + shift
        effect = difference(table.with_columns(so=rng.random(n) < chance), "so", "arm", ["stratum"])
        assert effect is not None
        found.append(effect.low <= one - other <= effect.high)
    assert covers(found)


def test_a_difference_that_a_stratum_explains_is_none() -> None:
    """Simpson's paradox: the arm is common where the thing is, and changes nothing inside a stratum."""
    rng = np.random.default_rng(1)
    stratum = rng.integers(0, 2, 2000)
    table = pl.DataFrame(
        {
            "rows": np.ones(2000, int),
            "stratum": stratum,
            "arm": rng.random(2000) < np.where(stratum, 0.9, 0.1),
            "so": rng.random(2000) < np.where(stratum, 0.8, 0.2),
        }
    )
    naive = table.filter("arm")["so"].mean() - table.filter(~pl.col("arm"))["so"].mean()  # type: ignore[operator]
    effect = difference(table, "so", "arm", ["stratum"])
    assert naive > 0.4
    assert effect is not None
    assert effect.low < 0 < effect.high
    assert abs(effect.value) < 0.1


def test_no_width_of_zero_where_all_cells_agree() -> None:
    rng = np.random.default_rng(2)
    table = cells(20, rng).with_columns(so=pl.lit(False))
    effect = difference(table, "so", "arm", ["stratum"])
    alone = share(table, "so")
    assert effect is not None
    assert alone is not None
    assert effect.low < -0.1 < 0.1 < effect.high
    assert alone.high > 0.1


def test_the_interval_of_a_median_holds_the_truth_and_takes_infinity() -> None:
    rng, found = np.random.default_rng(3), []
    for _ in range(300):
        values = rng.lognormal(size=21)
        effect = median(cells(21, rng, g=values), "g")
        assert effect is not None
        found.append(effect.low <= 1.0 <= effect.high)
    assert covers(found)
    values = np.where(np.arange(31) < 20, -np.inf, 1.0)
    effect = median(cells(31, rng, g=values), "g")
    assert effect is not None
    assert effect.value == -np.inf


def test_strata_that_agree_in_themselves_make_the_interval_narrow() -> None:
    """Half of the strata are all so and half not, in both arms: as sure as one stratum that agrees."""
    rng = np.random.default_rng(4)
    stratum = rng.integers(0, 20, 2000)
    table = cells(2000, rng).with_columns(stratum=pl.Series(stratum), so=pl.Series(stratum % 2 == 0))
    found = difference(table, "so", "arm", ["stratum"])
    alone = difference(table.with_columns(so=pl.lit(True)), "so", "arm", ["stratum"])
    assert found is not None
    assert alone is not None
    assert found.value == 0
    # Both arms may miss about z²/n on one side or the other.
    assert found.high - found.low < 2 * (alone.high - alone.low) < 0.03


def test_a_stratum_of_one_cell_an_arm_takes_the_others_variance() -> None:
    """Pairs alone tell no variance inside a stratum, so all of the outcome's counts."""
    rng = np.random.default_rng(8)
    n = 400
    table = pl.DataFrame(
        {
            "rows": np.ones(n, int),
            "stratum": np.arange(n) // 2,
            "arm": np.arange(n) % 2 == 0,
            "so": rng.random(n) < 0.5,
        }
    )
    found = difference(table, "so", "arm", ["stratum"])
    assert found is not None
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * math.sqrt(2 * 0.25 / 200), rel=0.05)


@pytest.mark.parametrize("n", [8, 9, 20, 61])
def test_the_interval_of_a_median_is_the_published_interpolation(n: int) -> None:
    """Against scipy's interval for the same quantile, which is never narrower, and the formula by hand."""
    values = np.sort(np.random.default_rng(n).normal(size=n))
    found = median(pl.DataFrame({"rows": np.ones(n, int), "v": values}), "v")
    whole = quantile_test(values, p=0.5).confidence_interval(0.95)
    assert found is not None
    assert whole.low <= found.low < found.value < found.high <= whole.high
    depth = int(np.searchsorted(values, whole.low)) + 1
    outer, inner = (1 - 2 * binom.cdf(k - 1, n, 0.5) for k in (depth, depth + 1))
    part = (outer - 0.95) / (outer - inner)
    step = (n - depth) * part / (depth + (n - 2 * depth) * part)
    assert found.low == pytest.approx((1 - step) * values[depth - 1] + step * values[depth])


def test_matched_cells_differ_by_what_the_arm_adds_and_not_by_their_place() -> None:
    rng = np.random.default_rng(5)
    depth, sigma = 2 * 50 ** rng.random(2000), 0.25 * 16 ** rng.random(2000)
    table = cells(2000, rng, depth=depth, sigma_w=sigma)
    slope = np.log10(sigma) + 0.2 * table["arm"].to_numpy()
    effect = matched(table.with_columns(slope=slope), "slope", "arm", ["stratum"])
    assert effect is not None
    assert effect.low <= 0.2 <= effect.high
    assert effect.high - effect.low < 0.02
    assert effect.n == 2 * effect.cells


@pytest.mark.parametrize("n", [0, LEAST_CELLS - 1])
def test_too_few_cells_have_no_effect(n: int) -> None:
    rng = np.random.default_rng(6)
    numbers = rng.random(n)
    table = cells(n, rng, v=numbers, depth=numbers + 2, sigma_w=numbers + 1).with_columns(so=pl.lit(True))
    assert share(table, "so") is None
    assert median(table, "v") is None
    assert difference(table, "so", "arm", ["stratum"]) is None
    assert matched(table, "v", "arm", ["stratum"]) is None
