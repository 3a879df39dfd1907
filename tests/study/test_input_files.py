"""Only regular files of a bounded size are opened, whatever a name leads to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gradatlas.study.input_files import opened_file, reject_bad_path


def test_a_regular_file_is_read_by_whatever_name(tmp_path):
    (tmp_path / "größe [1].txt").write_bytes(b"four")
    (tmp_path / "link").symlink_to(tmp_path / "größe [1].txt")
    for name in ("größe [1].txt", "link"):
        with opened_file(tmp_path / name, largest=4) as file:
            assert file.read() == b"four"


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name, kind in {"fifo": "a FIFO", "zero": "a device", ".": "a folder"}.items():
        with pytest.raises(ValueError, match=f"must be a regular file, but is {kind}"):
            opened_file(tmp_path / name, largest=4)


def test_a_file_beyond_the_size_is_refused_before_it_is_read(tmp_path):
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**42)
    with pytest.raises(ValueError, match="must have at most 1048576 bytes, but has 4398046511104"):
        opened_file(tmp_path / "sparse", largest=2**20)


def test_a_missing_file_is_the_callers_to_tell(tmp_path):
    with pytest.raises(FileNotFoundError):
        opened_file(tmp_path / "none", largest=4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must not be empty"),
        ("a\0b", "printable characters alone, but has '.x00'"),
        ("a\nb", "printable"),
        ("a\x1b[2J", "printable"),
        ("\udcff", "printable"),
        ("~nosuchuser/x", "there is no user of that name"),
        ("a" * 256, "255 in a name"),
        ("ä" * 128, "255 in a name"),
        ("a/" * 2048, "at most 4095 bytes"),
    ],
)
def test_what_is_no_path_is_told(text, message):
    with pytest.raises(ValueError, match=message):
        reject_bad_path(text)


@pytest.mark.parametrize("text", ["a b", "~", "[1]*?", "…/ü", "a" * 255, str(Path.home())])
def test_paths_may_be_unusual(text):
    reject_bad_path(text)
