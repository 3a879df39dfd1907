"""A run's files are the same from a folder and from a URL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from pyarrow import fs

from gradatlas.analysis.reading.run_files import Run, RunFiles
from tests.store import store_served


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """The endpoint of a store that the environment does not name."""
    with store_served() as variables, pytest.MonkeyPatch.context() as patch:
        endpoint = variables.pop("AWS_ENDPOINT_URL")
        for name, value in variables.items():
            patch.setenv(name, value)
        yield endpoint.removeprefix("http://")


@pytest.fixture(params=["folder", "URL"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """A run with a text, two results, one of them cut off, and a hidden draft."""
    run = tmp_path / "run"
    (run / "results").mkdir(parents=True)
    (run / "sweep.toml").write_text("σ = 1", encoding="utf-8")
    pl.DataFrame({"trial": [1, 2]}).write_parquet(run / "results" / "a.parquet")
    (run / "results" / "b.parquet").write_bytes((run / "results" / "a.parquet").read_bytes()[:-20])
    (run / "results" / ".c.parquet").write_bytes(b"")
    (run / "results" / "notes.txt").write_bytes(b"")
    if request.param == "folder":
        return run
    query = f"scheme=http&endpoint_override={request.getfixturevalue('store')}"
    url = f"s3://bucket/{request.node.originalname}"
    there, folder = fs.FileSystem.from_uri(f"{url}?{query}")
    fs.copy_files(str(run), folder, fs.LocalFileSystem(), there)
    return f"{url}?{query}"


def _names(tables: list[str] | None) -> list[str]:
    return [table.rpartition("/")[2] for table in tables or []]


def test_tables_are_listed_in_order_without_hidden_files(run):
    assert _names(RunFiles(run).tables("results")) == ["a.parquet", "b.parquet"]
    assert RunFiles(run).tables("plans") == []


def test_a_run_that_is_not_there_has_no_tables_and_no_text(run):
    nowhere = str(run).replace("/test_", "/no_").replace("/run", "/no_run")
    assert RunFiles(nowhere).tables("results") is None
    assert RunFiles(nowhere).text("sweep.toml") == ""


def test_a_text_is_read(run):
    assert RunFiles(run).text("sweep.toml") == "σ = 1"
    assert RunFiles(run).text("environment.json") == ""


def test_a_table_is_read_by_its_name_and_a_cut_one_is_none(run):
    files = RunFiles(run)
    whole, cut = files.tables("results") or []
    assert files.schema(whole) == {"trial": pl.Int64}
    assert files.read(whole)["trial"].to_list() == [1, 2]
    with pytest.raises(pl.exceptions.PolarsError, match="File out of specification"):
        files.schema(cut)


def test_a_column_that_a_table_lacks_is_null(run):
    files = RunFiles(run)
    wanted = pl.Schema({"trial": pl.Int64(), "new": pl.String()})
    found = files.scan((files.tables("results") or [])[:1], wanted).collect()
    assert found.rows() == [(1, None), (2, None)]


def test_a_url_that_names_no_store_is_told():
    with pytest.raises(OSError, match="nope://x/run: cannot be reached"):
        RunFiles("nope://x/run").tables("results")
