"""Boundaries, windows and the score on planted studies whose lines are known."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from gradatlas.analysis.measures import boundaries as lines
from gradatlas.study.regimes import Limits
from tests.analysis.conftest import row, study_rows, trials

STUDY = trials(study_rows(points=800))


def test_the_planted_critical_line_comes_back() -> None:
    found = lines.boundaries(STUDY).filter(pl.col("norm") == "none")
    truth = {"tanh": 2.0, "relu": 4.0}
    assert len(found) == 10
    for line in found.rows(named=True):
        assert line["critical_sigma_w"] == pytest.approx(truth[line["activation"]], rel=1e-6)
        assert line["low"] <= line["critical_sigma_w"] <= line["high"]


def test_batch_norm_has_no_line() -> None:
    found = lines.boundaries(STUDY).filter(pl.col("norm") == "batch")
    assert found["critical_sigma_w"].null_count() == len(found) == 10
    assert all("lie below" in note for note in found["note"])


def test_theory_stands_beside_the_measured_line() -> None:
    found = lines.boundaries(STUDY).filter(pl.col("norm") == "none", pl.col("depth_low") == 8)
    theory = dict(found.select("activation", "theory_sigma_w").iter_rows())
    assert theory["relu"] == pytest.approx(math.sqrt(2), rel=1e-6)
    assert theory["tanh"] == pytest.approx(1.0, rel=1e-6)
    residual = dict(found.select("activation", "residual").iter_rows())
    assert residual["relu"] == pytest.approx(4 / math.sqrt(2) - 1, rel=1e-5)


def test_the_predicted_line_is_that_of_the_cells_own_predictions() -> None:
    rows = [
        dict(entry, theory_gradient_decades=(entry["depth"] - 1) * math.log10(entry["sigma_w"] / 3))
        for entry in study_rows(points=400)
        if entry["norm"] == "none"
    ]
    found = lines.boundaries(trials(rows))
    assert found["predicted_sigma_w"].to_list() == pytest.approx([3.0] * len(found), rel=1e-6)


def test_no_theory_where_the_bias_varies() -> None:
    rows = [dict(entry, sigma_b=0.01 * n) for n, entry in enumerate(study_rows(points=400))]
    found = lines.boundaries(trials(rows)).filter(pl.col("cells") >= 10)
    assert found["theory_sigma_w"].null_count() == len(found)
    assert all("sigma_b varies" in note for note in found["note"])


def test_the_window_is_where_the_limits_are_passed_and_shrinks_with_depth() -> None:
    found = lines.windows(STUDY).filter(pl.col("norm") == "none", pl.col("depth_low") >= 8)
    for window in found.rows(named=True):
        critical = {"tanh": 2.0, "relu": 4.0}[window["activation"]]
        ratio = 10 ** (1.3 / (window["depth"] - 1))
        assert window["lower"] == pytest.approx(critical / ratio, rel=1e-6)
        assert window["upper"] == pytest.approx(critical * ratio, rel=1e-6)
        assert window["lower_low"] <= window["lower"] <= window["lower_high"]
    law = lines.window_law(found)
    assert law["exponent"].to_list() == pytest.approx([-1.0, -1.0], abs=1e-6)


def test_the_window_follows_the_limits() -> None:
    wide = lines.windows(STUDY, Limits(stable_decades=2.6))
    narrow = lines.windows(STUDY)
    both = wide.join(narrow, on=["activation", "norm", "depth_low"]).drop_nulls(["decades", "decades_right"])
    assert len(both) > 3
    assert (both["decades"] / both["decades_right"]).to_list() == pytest.approx([2.0] * len(both), rel=1e-6)


def test_the_score_counts_agreement_of_the_determined_cells_alone() -> None:
    cases = [  # measured, predicted, spread
        (-5.0, -5.0, 0.1), (5.0, 5.0, 0.1), (0.0, 0.0, 0.1),  # agree
        (-5.0, 0.0, 0.1),  # does not
        (1.35, 0.0, 0.1), (-1.25, -5.0, 0.1),  # undetermined
        (-5.0, None, None),  # untold
        (None, 0.0, 0.1),  # not measured
    ]  # fmt: skip
    rows = [
        row(n, gradient_decades=g, theory_gradient_decades=theory, theory_sd=sd)
        for n, (g, theory, sd) in enumerate(cases)
    ]
    found = lines.score(trials(rows)).row(0, named=True)
    assert (found["cells"], found["untold"], found["undetermined"]) == (7, 1, 2)
    assert found["agreeing"] == 0.75
    assert found["low"] < 0.75 < found["high"]


def test_what_else_varies_makes_settings_of_its_own() -> None:
    rows = [
        dict(entry, width=[32, 64][n % 3 == 0], init=["lecun", "he"][n % 2])
        for n, entry in enumerate(study_rows(points=120))
    ]
    found = lines.boundaries(trials(rows))
    assert {"width", "init"} <= set(found.columns)
    assert found.columns.index("width") < found.columns.index("depth_low")


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [row(0)],
        [row(n, gradient_decades=None) for n in range(20)],
        [row(n, depth=1, weight_gain=1.0 + n) for n in range(20)],
        [row(n, weight_gain=0.0, gradient_decades=-math.inf) for n in range(20)],
        [row(n, gradient_decades=float(n - 10), weight_gain=1.0) for n in range(20)],
    ],
    ids=["empty", "one", "unmeasured", "one layer", "no weights", "one σ_w"],
)
def test_too_little_data_has_no_line(rows: list) -> None:
    frame = trials(rows)
    assert lines.boundaries(frame)["critical_sigma_w"].drop_nulls().is_empty()
    assert lines.windows(frame)["decades"].drop_nulls().is_empty()
    assert lines.score(frame)["agreeing"].drop_nulls().is_empty()


def test_noisy_cells_cover_the_planted_line() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for trial in range(300):
        depth, sigma = int(rng.integers(4, 32)), float(0.25 * 16 ** rng.random())
        noise = 0.217 * math.sqrt(5 * depth / 64) * rng.normal()
        g = (depth - 1) * math.log10(sigma / math.sqrt(2)) + noise
        rows.append(row(trial, depth=depth, weight_gain=sigma, gradient_decades=g))
    found = lines.boundaries(trials(rows))
    assert len(found) == 3  # 4–7, 8–15, 16–31
    for line in found.rows(named=True):
        assert line["low"] <= math.sqrt(2) <= line["high"]
        assert abs(line["residual"]) < 0.1
