"""The tables as files, against naive code; regions, areas and mitigations on planted worlds."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gradatlas.analysis.claims.evidence import evidence
from gradatlas.analysis.measures import areas
from gradatlas.analysis.measures.mitigations import mitigations
from gradatlas.analysis.measures.regions import wilson
from gradatlas.analysis.reading import tables
from gradatlas.analysis.table_files import long_layers, write_tables
from gradatlas.study.regimes import DEFAULT_LIMITS
from tests.analysis.conftest import Plant, row, study_rows, trials
from tests.analysis.worlds import World, planted

NAMES = ["trials", "layers", "cells", "regions", "boundaries", "windows", "mitigations", "claims"]


def test_every_table_is_written_as_parquet_and_csv_with_the_same_rows(plant: Plant, tmp_path: Path) -> None:
    rows = study_rows(points=60)
    files = write_tables(plant(rows), tmp_path / "out")
    assert [file.name for file in files] == [
        f"{name}.{kind}" for name in NAMES for kind in ("parquet", "csv")
    ]
    counts = {}
    for name in NAMES:
        frame = pl.read_parquet(tmp_path / "out" / f"{name}.parquet")
        csv = pl.read_csv(tmp_path / "out" / f"{name}.csv", infer_schema_length=None)
        assert csv.columns == frame.columns
        assert len(csv) == len(frame)
        counts[name] = len(frame)
    assert counts["trials"] == counts["cells"] == 60
    assert counts["layers"] == sum(entry["depth"] for entry in rows)


def test_a_table_too_long_for_csv_is_parquet_alone(plant: Plant, tmp_path: Path) -> None:
    files = write_tables(plant(study_rows(points=20)), tmp_path, csv_rows=30)
    assert tmp_path / "trials.csv" in files
    assert tmp_path / "layers.parquet" in files
    assert not (tmp_path / "layers.csv").exists()


def test_the_long_table_of_layers_is_what_a_loop_makes() -> None:
    rows = [
        row(0, depth=3, gradient_profile=[-2.0, -1.0, 0.0], weight_factor_profile=[-0.5, -0.4, None]),
        row(1, depth=2, gradient_profile=None),
        row(2, depth=2, gradient_profile=[-math.inf, 1.0], dead_profile=[0.5, 0.25]),
    ]
    found = long_layers(trials(rows)).sort("trial", "layer").collect()
    others = ("weight_factor_profile", "dead_profile")
    naive = [
        (entry["trial"], layer + 1, value, *(_at(entry[name], layer) for name in others))
        for entry in rows
        for layer, value in enumerate(entry["gradient_profile"] or [])
    ]
    assert found.select("trial", "layer", "gradient", "weight_factor", "dead").rows() == naive


def _at(profile: list | None, place: int) -> float | None:
    return profile[place] if profile else None


def test_quantiles_by_layer_are_those_of_a_loop() -> None:
    rows = [row(n, slope=0.1 * n, depth=3, activation=["tanh", "relu"][n % 2]) for n in range(9)]
    found = tables.layer_quantiles(trials(rows), ["activation"])
    slopes = sorted(0.1 * n for n in range(0, 9, 2))
    tanh = found.filter(activation="tanh", back=2).row(0, named=True)
    assert tanh["trials"] == 5
    assert tanh["median"] == pytest.approx(2 * slopes[2])
    assert (tanh["low"], tanh["high"]) == (pytest.approx(2 * slopes[0]), pytest.approx(2 * slopes[4]))


def test_regions_have_shares_with_wilsons_interval() -> None:
    values = [-9.0] * 6 + [0.0] * 3 + [2.0] + [None]
    cells = tables.cells(trials([row(n, gradient_decades=g) for n, g in enumerate(values)]))
    found = areas.region_table(cells).row(0, named=True)
    assert (found["cells"], found["unmeasured"]) == (11, 1)
    assert (found["vanishing"], found["stable"], found["exploding"]) == (0.6, 0.3, 0.1)
    assert (found["stable_low"], found["stable_high"]) == pytest.approx(wilson(3, 10))


def test_the_stable_area_is_the_planted_one_however_the_sweep_is_spread() -> None:
    """|log10(σ_w / 2)| (L − 1) ≤ 40 inside σ_w 0.25–16 and depth 16–512 (where whole numbers are dense)."""
    depths = [16 * 32 ** ((n + 0.5) / 4000) for n in range(4000)]
    half = [min(40 / (depth - 1), math.log10(8)) for depth in depths]
    truth = math.log10(32) * 2 * sum(half) / len(half)
    rng, rows = np.random.default_rng(0), []
    for trial, (u, v) in enumerate(rng.random((3000, 2))):
        depth, sigma = round(16 * 32**u), 0.25 * 64**v
        g = math.log10(sigma / 2) * (depth - 1) * 1.3 / 40
        rows.append(row(trial, depth=depth, weight_gain=sigma, gradient_decades=g, gradient_profile=None))
    dense = rows + [dict(entry, point=entry["point"] + 10**6) for entry in rows if entry["sigma_w"] > 4]
    for study in (rows, dense):
        found = areas.region_table(tables.cells(trials(study))).row(0, named=True)
        assert found["area_low"] <= truth <= found["area_high"]
        assert found["covered"] == pytest.approx(math.log10(32) * math.log10(64), rel=0.01)
    shares = [
        areas.region_table(tables.cells(trials(study)))["stable"].item() * math.log10(32) * math.log10(64)
        for study in (rows, dense)
    ]
    assert abs(shares[1] - truth) > 2 * abs(shares[0] - truth)  # a plain share follows the spread


def test_mitigations_are_compared_at_the_same_place() -> None:
    rows = planted(World(norm_slope=0.0), points=900, activation=["tanh"], norm=["none", "batch"])
    found = mitigations(evidence(trials(rows), DEFAULT_LIMITS).cells)
    change = {entry["what"]: entry for entry in found.rows(named=True)}
    assert change["stable"]["difference"] > 0.5
    assert change["vanishing"]["high"] < 0
    assert change["exploding"]["high"] < 0
    assert all(entry["setting"] == "batch" and entry["against"] == "none" for entry in change.values())
    assert all(entry["low"] <= entry["difference"] <= entry["high"] for entry in change.values())


def test_clipping_is_compared_by_outcome() -> None:
    clipped = {"activation": ["tanh"], "clip_norm": [None, 1.0], "steps": [100]}
    found = mitigations(evidence(trials(planted(World(), points=600, **clipped)), DEFAULT_LIMITS).cells)
    assert set(found["what"]) == {"learned", "diverged"}
    assert found.filter(what="diverged")["high"].item() < 0
    assert found["against"].unique().to_list() == ["off"]


HTML = "<img src=x onerror=alert(1)>"


@pytest.mark.parametrize(
    "rows",
    [
        [row(0)],
        [row(n, weight_gain=1.0 + n) for n in range(30)],
        [row(n, outcome="diverged", final_loss=None) for n in range(30)],
        [row(n, gradient_decades=None, gradient_profile=None) for n in range(30)],
        [row(n, part=HTML, task=HTML) for n in range(30)],
        [row(n, gradient_decades=-math.inf, gradient_profile=[-math.inf] * 10) for n in range(30)],
        [row(n, gradient_decades=math.nan, theory_sd=math.nan) for n in range(30)],
        [row(n, activation=None, norm=None, skip=None) for n in range(30)],
    ],
    ids=[
        "one trial",
        "one activation",
        "all diverged",
        "null profiles",
        "HTML",
        "zero gradients",
        "nan",
        "unnamed",
    ],
)
def test_bad_input_has_tables_all_the_same(rows: list, plant: Plant, tmp_path: Path) -> None:
    files = write_tables(plant(rows, files=1), tmp_path / "out")
    assert len(files) == 2 * len(NAMES)
    assert len(pl.read_parquet(tmp_path / "out" / "trials.parquet")) == len(rows)


def test_columns_of_an_older_version_and_a_truncated_file_do_not_stop_the_tables(
    plant: Plant, tmp_path: Path
) -> None:
    run = plant(study_rows(points=40), files=2)
    first, second = sorted((run / "results").glob("*.parquet"))
    pl.read_parquet(first).drop("theory_sd", "gradient_slope", "clip_adaptive").write_parquet(first)
    second.write_bytes(second.read_bytes()[:100])
    write_tables(run, tmp_path / "out")
    assert len(pl.read_parquet(tmp_path / "out" / "trials.parquet")) == 20


def test_an_empty_run_is_refused(plant: Plant, tmp_path: Path) -> None:
    with pytest.raises(tables.NoResultsError, match="has no results yet"):
        write_tables(plant([], files=0), tmp_path / "out")


def test_several_runs_are_one_table_whose_points_stay_apart(plant: Plant) -> None:
    runs = [plant([row(n) for n in range(3)], name=name) for name in ("one", "two")]
    frame, _ = tables.scan_runs(runs)
    found = frame.collect()
    assert found.height == 6
    assert found.select("part", "point").n_unique() == 6
    assert sorted(found["run"].unique()) == sorted(map(str, runs))


def test_runs_of_different_limits_are_not_mixed(plant: Plant) -> None:
    one = plant([row(0)], name="one")
    two = plant([row(0)], name="two", sweep="[limits]\nstable_decades = 2.0\n")
    with pytest.raises(ValueError, match=r"limits must be the same in all runs.*stable_decades 2"):
        tables.scan_runs([one, two])
