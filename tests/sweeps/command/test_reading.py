"""The commands claims, tables and compare, as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from gradatlas.analysis.claims import claims
from gradatlas.analysis.reading import tables
from tests.analysis.conftest import plant_run, row
from tests.analysis.worlds import World, planted
from tests.store import store_served


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A planted run."""
    choices = {"activation": ["tanh", "relu", "sigmoid"]}
    return plant_run(tmp_path / "planted", planted(World(), points=400, **choices))


def test_claims_prints_question_verdict_and_numbers(command, run):
    ended = command("claims", str(run))
    assert ended.code == 0
    assert (
        "2c  With small weights, does ReLU's gradient shrink more slowly than tanh's?\n     no" in ended.out
    )
    assert "To run: gradatlas run claims (part training)" in ended.out


def test_claims_as_json_are_those_of_the_library(command, run):
    found = json.loads(command("claims", str(run), "--json").out)
    expected = claims(tables.labelled(tables.scan_results(run)[0]))
    assert [entry["id"] for entry in found] == [claim.id for claim in expected]
    assert [entry["verdict"] for entry in found] == [claim.verdict for claim in expected]
    keys = {"id", "question", "verdict", "depends_on", "effect", "unit", "interval", "n", "figure", "answer"}
    assert all(set(entry) == keys for entry in found)


def test_claims_follow_the_limits_of_the_run(command, run):
    before = json.loads(command("claims", str(run), "--json").out)
    (run / "sweep.toml").write_text("[limits]\nstable_decades = 50.0\nsevere_decades = 60.0\n")
    after = json.loads(command("claims", str(run), "--json").out)
    shares = [{entry["id"]: entry["effect"] for entry in found}["6c"] for found in (before, after)]
    assert shares[1] < shares[0]


def test_tables_names_each_table_with_its_rows(command, run, tmp_path):
    ended = command("tables", str(run), "--out", str(tmp_path / "out"))
    assert ended.code == 0
    assert "trials                400 rows  Parquet, CSV" in ended.out
    assert pl.read_csv(tmp_path / "out" / "claims.csv").height == 34


def test_compare_shows_both_runs(command, run, tmp_path):
    other = plant_run(tmp_path / "other", [row(n) for n in range(5)])
    ended = command("compare", str(run), str(other))
    assert ended.code == 0
    assert "planted and other" in ended.out
    assert "Answers" in ended.out


@pytest.mark.parametrize("name", ["claims", "tables", "compare"])
def test_a_run_that_is_not_there_or_empty_is_one_line_and_code_2(command, run, tmp_path, name):
    empty = plant_run(tmp_path / "empty", [], files=0)
    for bad, message in ((tmp_path / "nowhere", "must be a run folder"), (empty, "has no results yet")):
        more = ["--out", str(tmp_path / "out")] if name == "tables" else []
        arguments = [str(run), str(bad)] if name == "compare" else [str(bad), *more]
        ended = command(name, *arguments)
        assert ended.code == 2
        assert message in ended.err
        assert "Traceback" not in ended.err


def test_out_must_be_a_folder(command, run, tmp_path):
    (tmp_path / "file").write_text("")
    ended = command("tables", str(run), "--out", str(tmp_path / "file"))
    assert ended.code == 2
    assert "must be a folder, but is a file" in ended.err


def test_a_run_in_an_object_store_is_read_where_it_is(command, run, monkeypatch):
    from gradatlas.sweeps.store.location import upload
    from gradatlas.sweeps.store.storage import location_of

    with store_served() as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        url = "s3://bucket/runs/planted"
        upload(run / "results", location_of(f"{url}/results"))
        upload(run / "plans", location_of(f"{url}/plans"))
        here, there = (command("claims", named, "--json") for named in (str(run), url))
        assert there.code == 0
        assert there.out == here.out
        with pytest.raises(tables.NoResultsError, match="must be the URL of a run"):
            tables.scan_results("s3://bucket/runs/nowhere")
