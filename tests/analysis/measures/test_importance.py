"""Importance on planted studies in which one parameter decides."""

from __future__ import annotations

import numpy as np
import optuna
import polars as pl
import pytest

from gradatlas.analysis.measures.importance import importances
from tests.analysis.conftest import row, study_rows, trials


def study(points: int = 400, *, by: str) -> list[dict]:
    """Trials whose G and loss depend on one of learning rate and σ_w alone."""
    rng = np.random.default_rng(0)
    rows = []
    for trial, (u, v) in enumerate(rng.random((points, 2))):
        gain, rate = 0.25 * 64**u, 1e-3 * 1000**v
        decides = u if by == "weight_gain" else v
        rows.append(
            row(
                trial, weight_gain=gain, learning_rate=rate, gradient_decades=10 * (u - 0.5),
                final_loss=abs(decides - 0.3) + 0.1,
            )
        )  # fmt: skip
    return rows


def first(found: pl.DataFrame, target: str) -> str:
    return found.filter(target=target).sort("importance", descending=True)["parameter"][0]


@pytest.mark.parametrize("by", ["weight_gain", "learning_rate"])
def test_the_parameter_that_decides_comes_first(by: str) -> None:
    found = importances(trials(study(by=by)))
    assert first(found, "outcome") == by
    assert first(found, "gradient") == "weight_gain"
    share = found.filter(target="outcome", parameter=by)["importance"].item()
    assert share > 0.8
    assert found["method"].unique().to_list() == ["PED-ANOVA"]


def test_importances_of_a_target_add_up_to_one() -> None:
    found = importances(trials(study_rows(points=300)))
    sums = found.group_by("target").agg(pl.col("importance").sum())
    assert sums["importance"].to_list() == pytest.approx([1.0, 1.0])
    assert found.filter(target="gradient").sort("importance")["parameter"][-1] == "norm"


def test_diverged_trials_are_the_worst_and_not_left_out() -> None:
    rows = [
        dict(entry, outcome="diverged", final_loss=None) if entry["learning_rate"] > 0.1 else entry
        for entry in study(by="weight_gain")
    ]
    before = importances(trials(study(by="weight_gain")))
    after = importances(trials(rows))
    shares = [
        found.filter(target="outcome", parameter="learning_rate")["importance"].item()
        for found in (before, after)
    ]
    assert shares[1] > shares[0] + 0.05


def test_a_sample_stands_for_all_and_is_the_same_whatever_the_order() -> None:
    rows = study(by="weight_gain", points=600)
    sample = importances(trials(rows), most=200)
    assert sample.equals(importances(trials(rows[::-1]), most=200))
    assert first(sample, "outcome") == "weight_gain"


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [row(0)],
        [row(n) for n in range(50)],
        [
            row(n, weight_gain=1.0 + n, gradient_decades=None, final_loss=None, outcome=None)
            for n in range(50)
        ],
        [row(n, weight_gain=1.0 + n, outcome="diverged", final_loss=None) for n in range(50)],
    ],
    ids=["empty", "one", "nothing varies", "nothing measured", "all diverged"],
)
def test_too_little_has_no_importance(rows: list) -> None:
    assert importances(trials(rows)).filter(target="outcome").is_empty()


def test_infinite_gradients_and_thresholds_that_are_off_are_values() -> None:
    rows = [
        dict(entry, gradient_decades=-float("inf") if n % 3 == 0 else entry["gradient_decades"])
        for n, entry in enumerate(study_rows(points=200))
    ]
    found = importances(trials(rows))
    assert set(found["parameter"]) >= {"clip_norm", "activation", "depth"}


def test_optuna_stays_as_loud_as_it_was() -> None:
    before = optuna.logging.get_verbosity()
    importances(trials(study_rows(points=60)))
    assert optuna.logging.get_verbosity() == before


def test_a_target_has_the_same_importances_beside_another_and_alone() -> None:
    rows = study_rows(points=200)
    alone = importances(trials([dict(entry, final_loss=None, outcome=None) for entry in rows]))
    assert importances(trials(rows)).filter(target="gradient").equals(alone)
