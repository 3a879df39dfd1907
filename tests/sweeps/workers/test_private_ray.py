"""Folders that no other account looks into, which outlive no process for long, and tokens."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gradatlas.sweeps.workers import cluster  # noqa: F401  isort: skip  (first: it sets what Ray reads)

from ray.tune.execution import class_cache

from gradatlas.sweeps.errors import UserError
from gradatlas.sweeps.workers import private_ray
from gradatlas.sweeps.workers.private_ray import own_token, private_folder


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of a short path for temporary ones (after pytest's own)."""
    with tempfile.TemporaryDirectory(prefix="p", dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_private_folder_is_closed_to_others_whatever_the_umask_and_goes_at_the_end(parent):
    before = os.umask(0)
    try:
        with private_folder() as folder:
            (folder / "below").mkdir()
            assert folder.parent == parent
            assert _mode(folder) == 0o700
    finally:
        os.umask(before)
    assert list(parent.iterdir()) == []


def test_the_path_of_rays_longest_socket_fits_whatever_tmpdir_is(parent, monkeypatch):
    deep = parent / ("slurm_jobdir_" * 7)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    socket = "r/session_2026-12-31_23-59-59_999999_4194304/sockets/plasma_store"
    with private_folder() as folder:
        assert len(os.fsencode(folder / socket)) <= 107
        assert not folder.is_relative_to(deep)
    fits = parent / ("x" * (18 - len(f"{parent}/")))
    fits.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(fits))
    with private_folder() as folder:
        assert folder.parent == fits


def test_a_folder_that_cannot_be_made_is_told_with_the_reason(parent, monkeypatch):
    def full(*arguments: object, **options: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    with pytest.raises(UserError, match=r"No space left on device.*set TMPDIR to a folder"), private_folder():
        pass


@contextmanager
def _another_process(parent: Path) -> Iterator[subprocess.Popen[str]]:
    """One with a private folder of its own."""
    program = (
        "from gradatlas.sweeps.workers.private_ray import private_folder\n"
        "import time\n"
        "with private_folder() as folder:\n"
        "    (folder / 'content').touch()\n"
        "    print(folder, flush=True)\n"
        "    time.sleep(600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | {"TMPDIR": str(parent)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.thorough
def test_what_a_killed_process_left_goes_when_the_next_begins_and_what_a_living_one_holds_stays(parent):
    with _another_process(parent) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        with private_folder():
            assert (folder / "content").exists()
        process.kill()
        process.wait()
        assert (folder / "content").exists()
        with private_folder() as own:
            assert list(parent.iterdir()) == [own]


def test_only_folders_of_that_name_and_this_account_are_taken_for_abandoned(parent, tmp_path, monkeypatch):
    (tmp_path / "thesis.txt").touch()
    (parent / f"{private_ray.PREFIX}linklink").symlink_to(tmp_path)
    (parent / f"{private_ray.PREFIX}filefile").touch()
    (parent / f"{private_ray.PREFIX}longer-than-that").mkdir()
    (parent / "gradatlas-12345678").mkdir()  # what an account of that number keeps of its stores
    kept = set(parent.iterdir())
    (parent / f"{private_ray.PREFIX}deadbeef").mkdir()
    with private_folder() as own:
        assert set(parent.iterdir()) == {*kept, own}
    assert (tmp_path / "thesis.txt").exists()

    other = parent / f"{private_ray.PREFIX}deadbeef"
    other.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with private_folder():
        assert other.exists()


def test_a_folder_that_was_taken_for_abandoned_before_it_was_locked_is_made_again(parent, monkeypatch):
    lock, seen = fcntl.flock, []

    def late(descriptor: int, how: int) -> None:
        if not seen:
            seen.extend(parent.glob(f"{private_ray.PREFIX}*"))
            seen[0].rmdir()
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with private_folder() as folder:
        assert folder.is_dir()
        assert folder != seen[0]


def test_a_token_is_new_unreadable_to_others_and_goes_before_the_users(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "the users")
    tokens = []
    for name in ("first", "second"):
        with own_token(tmp_path / name):
            assert _mode(tmp_path / name) == 0o600
            assert os.environ["RAY_AUTH_MODE"] == "token"
            assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(tmp_path / name)
            assert "RAY_AUTH_TOKEN" not in os.environ
            tokens.append((tmp_path / name).read_text())
    assert len(set(tokens)) == 2
    assert {len(token) for token in tokens} == {64}
    assert os.environ["RAY_AUTH_MODE"] == "disabled"
    assert os.environ["RAY_AUTH_TOKEN"] == "the users"
    assert "RAY_AUTH_TOKEN_PATH" not in os.environ


def test_tune_copies_nothing_of_the_environment_into_its_actors_settings(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted")
    assert set() == class_cache.ENV_VARS_TO_PROPAGATE
