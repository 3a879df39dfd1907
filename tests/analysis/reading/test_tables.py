"""Tables against the most naive dataframe code, on planted ledgers."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

import polars as pl
import pytest

from gradatlas.analysis.reading import tables
from gradatlas.analysis.reading.tables import NoResultsError
from gradatlas.study.records import COLUMNS
from gradatlas.study.regimes import Limits
from tests.analysis.conftest import SCHEMA, Plant, plant_run, row, study_rows, trials


def test_all_rows_and_columns_of_all_files_are_there(plant: Plant) -> None:
    found, unreadable = tables.scan_results(plant(study_rows(points=20), files=3))
    frame = found.collect()
    assert sorted(frame["trial"]) == list(range(20))
    assert frame.columns == list(COLUMNS)
    assert frame.schema == pl.Schema(SCHEMA)
    assert unreadable == []


@pytest.mark.parametrize(
    ("g", "regime", "severe"),
    [
        (1.3, "stable", False),
        (-1.3, "stable", False),
        (1.31, "exploding", False),
        (-3.1, "vanishing", True),
        (-math.inf, "vanishing", True),
        (math.inf, "exploding", True),
        (math.nan, None, False),
        (None, None, False),
    ],
)
def test_labels_follow_from_g(g: float | None, regime: str | None, severe: bool) -> None:
    label = trials([row(0, gradient_decades=g)]).select("regime", "severe").collect().row(0)
    assert label == (regime, severe)


def test_other_limits_give_other_labels() -> None:
    frame = trials([row(0, gradient_decades=2.0)])
    assert tables.labelled(frame, Limits(stable_decades=2.5)).collect()["regime"].to_list() == ["stable"]


def test_limits_come_from_the_sweep_file(plant: Plant) -> None:
    run = plant([row(0)], sweep="[limits]\nstable_decades = 0.5\n")
    assert tables.sweep_limits(tables.read_sweep(run)) == Limits(stable_decades=0.5)


@pytest.mark.parametrize("sweep", [None, "not toml ["])
def test_default_limits_without_a_readable_sweep_file(plant: Plant, sweep: str | None) -> None:
    assert tables.sweep_limits(tables.read_sweep(plant([row(0)], sweep=sweep))) == Limits()


def test_a_cell_has_the_median_over_its_draws_and_repetitions() -> None:
    values = [-5.0, -math.inf, 0.5, 1.0, math.nan]
    rows = [row(n, point=7, draw=n, gradient_decades=g) for n, g in enumerate(values)]
    cell = tables.cells(trials([*rows, row(9, point=8, part="other", gradient_decades=9.0)])).collect()
    first = cell.filter(pl.col("point") == 7).row(0, named=True)
    assert first["gradient_decades"] == statistics.median(values[:4])
    assert (first["regime"], first["rows"]) == ("vanishing", 5)
    assert cell.filter(pl.col("point") == 8)["regime"].to_list() == ["exploding"]


def test_layers_are_long_and_relative_to_the_last() -> None:
    profiles = [[-3.0, -1.0, 2.0], None, [], [4.0], [-math.inf, -math.inf], [-math.inf, 1.0], [None, 0.0]]
    rows = [row(n, gradient_profile=profile) for n, profile in enumerate(profiles)]
    found = tables.layers(trials(rows)).sort("trial", "layer").collect()
    naive = [
        (trial, layer, len(profile) - layer, value, _difference(value, profile[-1]))
        for trial, profile in enumerate(profiles)
        for layer, value in enumerate(profile or [], start=1)
    ]
    assert found.select("trial", "layer", "back", "value", "relative").rows() == naive


def _difference(value: float | None, last: float | None) -> float | None:
    if value is None or last is None or (math.isinf(value) and math.isinf(last)):
        return None
    return value - last


def test_counts_tell_planned_finished_missing_failed_and_diverged(plant: Plant) -> None:
    rows = [
        row(0, outcome="diverged"),
        row(1, outcome="failed", gradient_decades=None),
        row(2),
    ]
    run = plant(rows, planned=[row(n) for n in range(5)])
    found = tables.counts(tables.scan_results(run)[0], tables.scan_plans(run)[0])
    assert found == tables.Counts(planned=5, finished=3, missing=2, failed=1, diverged=1, unmeasured=1)


def test_counts_without_a_plan_do_not_guess(plant: Plant) -> None:
    run = plant([row(0)])
    (run / "plans" / "plan-0.parquet").unlink()
    found = tables.counts(tables.scan_results(run)[0], tables.scan_plans(run)[0])
    assert (found.planned, found.missing, found.finished) == (None, None, 1)


def truncate(file: Path) -> None:
    """Cut a file in half."""
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def test_a_truncated_file_is_named_and_the_others_are_read(plant: Plant) -> None:
    run = plant([row(0), row(1)])
    truncate(run / "results" / "pack-1.parquet")
    found, unreadable = tables.scan_results(run)
    assert found.collect()["trial"].to_list() == [0]
    assert [fault.file.name for fault in unreadable] == ["pack-1.parquet"]
    assert str(unreadable[0]).startswith("results/pack-1.parquet: not a whole Parquet file")
    assert "\n" not in str(unreadable[0])


def damage(file: Path) -> None:
    """Overwrite the data of a file and leave its footer."""
    content = bytearray(file.read_bytes())
    footer = int.from_bytes(content[-8:-4], "little") + 8
    content[4:-footer] = b"\xff" * (len(content) - footer - 4)
    file.write_bytes(bytes(content))


def test_a_thorough_scan_finds_damage_behind_a_sound_footer(plant: Plant) -> None:
    run = plant([row(n) for n in range(50)])
    damage(run / "results" / "pack-0.parquet")
    _, unreadable = tables.scan_results(run, thorough=True)
    assert [fault.file.name for fault in unreadable] == ["pack-0.parquet"]


def test_a_file_that_holds_something_else_is_named(plant: Plant) -> None:
    run = plant([row(0)], files=1)
    pl.DataFrame({"x": [1]}).write_parquet(run / "results" / "other.parquet")
    pl.DataFrame({"trial": [1], "depth": ["deep"]}).write_parquet(run / "results" / "typed.parquet")
    found, unreadable = tables.scan_results(run)
    assert found.collect().height == 1
    assert [fault.reason for fault in unreadable] == [
        "has no column 'trial'",
        "column 'depth' must be Int64, but is String",
    ]


def test_columns_that_a_file_lacks_are_null(plant: Plant) -> None:
    run = plant([row(0)], files=1)
    old = pl.DataFrame([row(1)], schema=SCHEMA).drop("forward_profile", "theory_sd")
    old.write_parquet(run / "results" / "old.parquet")
    frame = tables.scan_results(run)[0].sort("trial").collect()
    assert frame["forward_profile"].to_list() == [None, None]
    assert frame.height == 2


def test_hidden_files_are_no_results(plant: Plant) -> None:
    run = plant([row(0)], files=1)
    (run / "results" / ".pack-9.parquet").write_bytes(b"half written")
    assert tables.scan_results(run)[1] == []


def test_a_star_in_a_runs_name_is_a_star(tmp_path: Path) -> None:
    run = plant_run(tmp_path / "g[1]*", [row(0)])
    found, unreadable = tables.scan_results(run)
    assert found.collect().height == 1
    assert unreadable == []


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoResultsError, match=r"nowhere: must be a run folder.*`gradatlas list`"):
        tables.scan_results(tmp_path / "nowhere")


def test_a_run_without_results_is_refused_with_the_remedy(plant: Plant) -> None:
    run = plant([], files=0)
    with pytest.raises(NoResultsError, match=r"planted: has no results yet; `gradatlas resume .*planted`"):
        tables.scan_results(run)


def test_a_run_with_nothing_but_broken_files_is_refused_and_names_one(plant: Plant) -> None:
    run = plant([row(0)], files=1)
    truncate(run / "results" / "pack-0.parquet")
    with pytest.raises(
        NoResultsError, match=r"none of its 1 result files can be read \(first results/pack-0"
    ):
        tables.scan_results(run)


def test_reasons_of_failure_come_most_frequent_first() -> None:
    reasons = ["memory", "memory", None]
    rows = [row(n, outcome="failed", failure=reason) for n, reason in enumerate(reasons)]
    found = tables.failures(trials([*rows, row(9)]))
    assert found == [("memory", 2), ("no reason recorded", 1)]
