"""What every location does, on a disk and in a store: one suite over both."""

from __future__ import annotations

import os
import tempfile
import time
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest

from gradatlas.sweeps.errors import UserError
from gradatlas.sweeps.store.location import Location, upload
from gradatlas.sweeps.store.storage import location_of


@pytest.fixture(params=["disk", "store"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Location:
    """A folder for one test, with nothing in it, and nothing of it on this machine."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if request.param == "disk":
        return location_of(tmp_path / "folder")
    request.getfixturevalue("store")
    return location_of(f"s3://bucket/{request.node.originalname}")


def _filled(folder: Location) -> Location:
    """The folder with a.txt, b.txt, sub/c.txt and sub/deep/d.txt."""
    for path in ("a.txt", "b.txt", "sub/c.txt", "sub/deep/d.txt"):
        file = folder
        for part in path.split("/"):
            file.mkdir(parents=True, exist_ok=True)
            file = file / part
        file.write_whole(path.encode())
    return folder


def _table(*outcomes: str | None) -> bytes:
    content = BytesIO()
    columns = {"trial": range(len(outcomes)), "outcome": outcomes}
    pl.DataFrame(columns, schema_overrides={"outcome": pl.String}).write_parquet(content)
    return content.getvalue()


def test_what_is_written_whole_is_read_and_replaced(folder):
    folder.mkdir(parents=True)
    (folder / "x").write_whole(b"1")
    (folder / "x").write_whole("σ".encode(), lasting=False)
    assert (folder / "x").read_bytes() == "σ".encode()
    assert (folder / "x").read_text("utf-8") == "σ"
    assert folder.names() == {"x"}


def test_what_is_missing_is_told_apart_from_what_is_there(folder):
    assert not folder.exists()
    assert folder.names() == set()
    assert folder.files() == {}
    _filled(folder)
    assert folder.exists()
    assert not folder.is_file()
    assert (folder / "a.txt").is_file()
    with pytest.raises(FileNotFoundError):
        (folder / "nothing").read_bytes()
    with pytest.raises(FileNotFoundError):
        (folder / "nothing").read_text("utf-8")
    (folder / "nothing").unlink(missing_ok=True)


def test_a_folder_that_exists_is_not_made_anew(folder):
    _filled(folder)
    folder.mkdir(exist_ok=True)
    with pytest.raises(FileExistsError):
        folder.mkdir(parents=True)


def test_files_are_listed_in_their_order_with_their_size(folder):
    found = _filled(folder).files()
    assert list(found) == [folder / "a.txt", folder / "b.txt"]
    assert [size for size, _ in found.values()] == [5, 5]
    assert {file.name for file in folder.files(below=True)} == {"a.txt", "b.txt", "c.txt", "d.txt"}
    assert folder.names() == {"a.txt", "b.txt", "sub"}
    assert [file.stem for file in sorted(folder.glob("[ab].txt"))] == ["a", "b"]
    assert [file.parent.name for file in folder.glob("*/c.*")] == ["sub"]


def test_the_stamp_of_a_file_has_its_bytes_and_the_ns_of_writing(folder):
    folder.mkdir(parents=True)
    begun = time.time()
    (folder / "x").write_whole(b"12345")
    size, written = folder.files()[folder / "x"]
    assert size == 5
    assert abs(written / 1e9 - begun) < 60


def test_a_removed_tree_leaves_nothing_and_its_neighbours_alone(folder):
    _filled(folder)
    (folder / "sub").remove_tree()
    assert folder.names() == {"a.txt", "b.txt"}
    folder.remove_tree()
    folder.remove_tree()
    assert not folder.exists()
    assert folder.files(below=True) == {}
    _filled(folder)  # whoever comes next finds room


def test_only_an_empty_folder_is_removed_if_it_is_empty(folder):
    _filled(folder).remove_if_empty()
    assert (folder / "a.txt").is_file()
    (folder / "a.txt").unlink()
    (folder / "b.txt").unlink()
    (folder / "sub").remove_tree()
    folder.remove_if_empty()
    assert folder.names() == set()


def test_a_second_holder_is_refused_and_a_later_one_is_not(folder):
    _filled(folder)
    again = location_of(str(folder))
    with folder.held(take_over=False) as hold:
        assert not hold.is_lost
        for _ in range(2):
            with pytest.raises(UserError, match="wait for it or stop it"), again.held(take_over=False):
                pass
    with again.held(take_over=False):
        pass


def test_a_local_copy_has_the_folders_name_and_files(folder):
    with _filled(folder).local_copy() as copy:
        assert copy.name == folder.name
        assert (copy / "b.txt").read_bytes() == b"b.txt"
    (folder / "results").mkdir()
    (folder / "results" / "r").write_whole(b"row")
    with folder.local_copy("results") as copy:
        assert (copy / "results" / "r").read_bytes() == b"row"


def test_a_cached_folder_follows_the_one_it_is_of(folder):
    plans = folder / "plans"
    plans.mkdir(parents=True)
    (plans / "one").write_whole(b"1")
    (plans / "two").write_whole(b"2")
    assert (folder.cached("plans") / "plans" / "two").read_bytes() == b"2"
    (plans / "one").write_whole(b"changed")
    (plans / "two").unlink()
    found = folder.cached("plans") / "plans"
    assert {path.name: path.read_bytes() for path in found.iterdir()} == {"one": b"changed"}


def test_what_is_written_locally_is_there_afterwards(folder):
    with (folder / "state").written_locally() as local:
        (local / "part").write_bytes(b"1")
    assert (folder / "state" / "part").read_bytes() == b"1"


def test_an_upload_keeps_the_folders_in_it(folder, tmp_path):
    source, _ = _filled(location_of(tmp_path / "source")), _filled(folder)
    (source / "sub" / "deep" / "d.txt").write_whole(b"new")
    upload(Path(str(source)), folder)
    assert (folder / "sub" / "deep" / "d.txt").read_bytes() == b"new"
    assert (folder / "a.txt").read_bytes() == b"a.txt"


def test_values_of_a_column_are_counted_over_the_tables_that_are_named(folder):
    folder.mkdir(parents=True)
    (folder / "one.parquet").write_whole(_table("learned", "stalled", None))
    (folder / "two.parquet").write_whole(_table("learned"))
    (folder / "three.parquet").write_whole(_table("diverged"))
    found = folder.value_counts("outcome", ["one.parquet", "two.parquet"])
    assert found == {"learned": 2, "stalled": 1}
    assert folder.value_counts("outcome", []) == {}


def test_its_text_names_it_again(folder):
    assert location_of(str(folder / "a")) == folder / "a"
    assert str(folder / "a" / "b") == f"{folder}/a/b"
    assert folder.resolve() == folder
    assert folder.expanduser() == folder


def test_a_files_stamp_is_its_size_and_when_it_was_written_in_nanoseconds(folder):
    folder.mkdir(parents=True)
    before = time.time_ns()
    (folder / "x").write_whole(b"four")
    ((size, written),) = folder.files().values()
    assert size == 4
    # A store keeps whole seconds, and a disk the kernel's ticks.
    assert before - 2 * 10**9 <= written <= time.time_ns() + 10**9


def test_what_must_last_is_on_the_disk_with_all_its_content_before_it_has_its_name(tmp_path, monkeypatch):
    synced = []

    def fsync(number: int) -> None:
        synced.append((os.fstat(number).st_size, (tmp_path / "x").exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    location_of(tmp_path / "x").write_whole(b"four")
    assert synced[0] == (4, False)
    synced.clear()
    location_of(tmp_path / "y").write_whole(b"four", lasting=False)
    assert synced == []
