"""What only a disk needs: names that outlive a power cut, and a lock that cannot be led astray."""

from __future__ import annotations

import os

import pytest

from gradatlas.sweeps.store import local
from gradatlas.sweeps.store.storage import location_of


@pytest.fixture
def synced(monkeypatch) -> list[str]:
    """The paths that were brought to the disk, in their order."""
    found: list[str] = []
    sync = os.fsync

    def seen(file: int) -> None:
        found.append(os.readlink(f"/proc/self/fd/{file}"))
        sync(file)

    monkeypatch.setattr(local.os, "fsync", seen)
    return found


def test_a_power_cut_undoes_neither_a_lasting_file_nor_its_name(tmp_path, synced):
    (location_of(tmp_path) / "x").write_whole(b"1")
    draft, folder = synced
    assert draft.startswith(str(tmp_path / ".x."))
    assert folder == str(tmp_path)
    synced.clear()
    (location_of(tmp_path) / "x").write_whole(b"2", lasting=False)
    assert synced == []


def test_a_power_cut_undoes_no_folder_of_a_new_run(tmp_path, synced):
    with location_of(tmp_path / "a" / "b" / "run").held(take_over=False, make=True):
        assert set(synced) == {str(tmp_path / "a" / "b"), str(tmp_path / "a"), str(tmp_path)}


def test_a_file_system_that_syncs_no_folders_still_takes_files(tmp_path, monkeypatch):
    sync = os.fsync

    def no_folders(file: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{file}"):
            raise OSError(22, "Invalid argument")
        sync(file)

    monkeypatch.setattr(local.os, "fsync", no_folders)
    (location_of(tmp_path) / "x").write_whole(b"1")
    assert (tmp_path / "x").read_bytes() == b"1"


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    victim, run = tmp_path / "victim", tmp_path / "run"
    victim.write_text("mine")
    run.mkdir()
    (run / ".lock").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"), location_of(run).held(take_over=False):
        pass
    assert victim.read_text() == "mine"
