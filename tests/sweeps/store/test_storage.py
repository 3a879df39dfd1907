"""Run folders in an object store: the same ledger, whole objects, and a lease instead of a lock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from pyarrow import fs

from gradatlas.study.experiment import results
from gradatlas.study.regimes import Limits
from gradatlas.sweeps.errors import UserError
from gradatlas.sweeps.running.runs import create_run, state, sweep_of
from gradatlas.sweeps.spec.sweep import load_sweep
from gradatlas.sweeps.store import remote
from gradatlas.sweeps.store.lease import Lease
from gradatlas.sweeps.store.ledger import Ledger
from gradatlas.sweeps.store.pack_states import PackStates
from gradatlas.sweeps.store.remote import Remote
from gradatlas.sweeps.store.storage import location_of
from gradatlas.sweeps.workers.pack_run import PackRun
from tests.store import let_fail

pytestmark = pytest.mark.usefixtures("store")


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> Remote:
    """A folder of the store for one test."""
    return location_of(f"s3://bucket/{request.node.name}")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://bucket/run", "must be a folder or a URL of file, s3, gs"),
        ("s3://key:secret@bucket/run", r"s3://…@bucket/run: must hold no keys"),
        ("s3:///run", "must name a bucket, for example s3://bucket/folder"),
    ],
)
def test_a_url_that_is_no_location_is_told(url, message):
    with pytest.raises(UserError, match=message) as refused:
        location_of(url)
    assert "secret@" not in str(refused.value)


def test_paths_and_file_urls_are_local_folders():
    assert location_of("runs/a") == Path("runs/a")
    assert location_of("file:///tmp/my%20runs") == Path("/tmp/my runs")
    assert (
        str(location_of("s3://bucket/runs?region=eu-west-1") / "a") == "s3://bucket/runs/a?region=eu-west-1"
    )


def test_objects_are_written_listed_found_and_removed(folder):
    (folder / "a.txt").write_whole(b"1")
    (folder / "sub" / "b.txt").write_whole(b"22")
    assert [file.name for file in folder.files()] == ["a.txt"]
    assert [file.key for file in folder.glob("*/b.*")] == [f"{folder.key}/sub/b.txt"]


def test_a_bucket_that_is_cleared_stays(tmp_path, monkeypatch):
    """In a store that would remove it: S3's client refuses to, others do not."""
    removes_buckets = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    monkeypatch.setattr(remote, "_filesystem", lambda *unused: (removes_buckets, "bucket"))
    (tmp_path / "bucket" / "runs").mkdir(parents=True)
    bucket = location_of("gs://bucket")
    bucket.remove_tree()
    assert (tmp_path / "bucket").is_dir()
    assert not list((tmp_path / "bucket").iterdir())


def test_a_store_that_refuses_says_so_under_the_urls_name():
    with pytest.raises(OSError, match="does not exist") as refused:
        (location_of("s3://no-such-bucket/run") / "x").write_whole(b"1")
    assert refused.value.filename == "s3://no-such-bucket/run/x"


def test_an_upload_that_is_cut_off_leaves_what_was_there(folder):
    (folder / "x").write_whole(b"before")
    cut = f"""
import os
from gradatlas.sweeps.store.remote import _filesystem
file = _filesystem({folder.root!r}, "")[0].open_output_stream({(folder / "x")._path!r})
file.write(bytes(20_000_000))
os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", cut]).returncode == 9
    assert (folder / "x").read_bytes() == b"before"


@pytest.fixture
def remote_run(folder: Remote, spec: Path) -> Ledger:
    """A run in the store with a plan and no results."""
    return create_run(folder / "small", load_sweep(spec), "small.toml", cpus=2)


def test_a_run_in_a_store_has_the_rows_of_one_on_a_disk(remote_run, finished_run, command):
    again = Ledger(location_of(str(remote_run.folder)))
    assert sweep_of(again).trials == 24
    assert again.plan().collect().equals(finished_run.plan().collect())
    for pack in again.pending_packs():
        again.write_result(pack, results(again.pack_trials(pack)))
    assert state(again) == state(finished_run)
    with again.folder.local_copy("results") as copy:
        found = pl.read_parquet(copy / "results" / "*.parquet").sort("trial").drop("seconds")
    expected = pl.read_parquet(finished_run.results / "*.parquet").sort("trial").drop("seconds")
    assert found.equals(expected, null_equal=True)
    assert "all 24 trials are done" in command("resume", again.folder).out
    assert "24 of 24 trials" in command("status", again.folder).out
    assert f"{again.folder}  24/24 trials  complete" in command("list", "--runs", again.folder.parent).out


@pytest.mark.thorough
def test_the_report_of_a_run_in_a_store_stands_beside_it(remote_run, command):
    pack = remote_run.pending_packs()[0]
    assert "has no results yet" in command("report", remote_run.folder).err
    remote_run.write_result(pack, results(remote_run.pack_trials(pack)))
    ended = command("report", remote_run.folder)
    assert ended.out.strip() == f"report: {remote_run.folder}/report/report.html"
    page = (remote_run.folder / "report" / "report.html").read_text("utf-8")
    assert f"gradatlas resume {remote_run.folder}" in page
    assert "/tmp/gradatlas-" not in page
    assert any(file.name.endswith(".png") for file in (remote_run.folder / "report" / "figures").files())


def test_a_run_that_exists_in_the_store_is_refused(remote_run, spec):
    with pytest.raises(UserError, match=f"or go on with `gradatlas resume {remote_run.folder}`"):
        create_run(remote_run.folder, load_sweep(spec), "small.toml", cpus=2)


def test_a_start_that_fails_leaves_no_folder_in_the_store(folder, spec, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(Ledger, "write_sweep", lambda *unused: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(UserError, match="cannot be written: full"):
            create_run(folder / "small", load_sweep(spec), "small.toml", cpus=2)
    assert create_run(folder / "small", load_sweep(spec), "small.toml", cpus=2).pending_packs()


def test_a_pack_goes_on_from_the_state_that_was_saved_in_the_store(remote_run):
    def run(driver: str) -> PackRun:
        options = {"save_interval": 0.0, "max_failures": 2, "limits": Limits()}
        return PackRun(remote_run, "pack-000000", driver=driver, device=torch.device("cpu"), **options)

    with torch.no_grad():
        first = run("one")
        first.advance()
        first.keep()
        saved = PackStates(remote_run.states / "pack-000000").piece_folder((0, 5))
        assert {file.name for file in saved.files()} == {"profile.npz", "training.npz"}
        second = run("two")
        while second.rows is None:
            second.advance()
            second.keep()
    expected = results(remote_run.pack_trials("pack-000000"))
    assert [row["losses"] for row in second.rows] == [row["losses"] for row in expected]
    assert not remote_run.states.files(below=True)


def test_a_users_file_travels_with_the_run(folder, tmp_path):
    chance = np.random.Generator(np.random.Philox(0))
    np.savez(tmp_path / "own.npz", features=chance.normal(size=(40, 3)), labels=np.arange(40) % 2)
    fixed = '[fixed]\ntask = "own.npz"\nbatch_size = 16\nsteps = 1\n'
    (tmp_path / "own.toml").write_text(f"{fixed}[search]\npoints = 2\n")
    ledger = create_run(folder / "own", load_sweep(tmp_path / "own.toml"), "own.toml", cpus=1)
    (tmp_path / "own.npz").unlink()
    again = Ledger(ledger.folder)
    assert sweep_of(again).trials == 2
    pack = again.pending_packs()[0]
    again.write_result(pack, results(again.pack_trials(pack)))
    rows = pl.read_parquet((again.results / f"{pack}.parquet").read_bytes())
    assert rows["task"].unique().to_list() == ["data/own.npz"]


def test_one_process_at_a_time_holds_a_run_in_a_store(remote_run):
    with (
        remote_run.locked(),
        pytest.raises(UserError, match=f"process {os.getpid()} on .* has run it since .* --take-over"),
        Ledger(remote_run.folder).locked(),
    ):
        pass
    with Ledger(remote_run.folder).locked():
        pass
    assert not (remote_run.folder / "lease").files()


def test_who_is_taken_over_finds_out_and_writes_no_more(remote_run):
    with remote_run.locked():
        remote_run.write_driver("first")
        other = Ledger(remote_run.folder)
        with other.locked(take_over=True):
            other.write_driver("second")
            remote_run._hold.renew()
            assert remote_run.is_lost
            remote_run.remove_driver()
            remote_run.clear_states()
            assert other.driver() == "second"
            other._hold.renew()
            assert not other.is_lost


def test_a_holder_that_wakes_while_its_claim_is_replaced_gives_way(folder):
    asleep, taker = Lease(folder), Lease(folder)
    with asleep.held(take_over=False), taker.held(take_over=True):
        asleep._write()  # it had looked before the other came
        asleep.renew()
        assert asleep.is_lost
        taker.renew()
        assert not taker.is_lost


def _claim(folder: Remote, name: str, **content: object) -> None:
    claim = json.dumps({"owner": "somebody", "since": "noon", **content})
    (folder / "lease" / name).write_whole(claim.encode())


def test_a_claim_that_was_not_renewed_is_dead(folder):
    _claim(folder, "old")
    with (
        pytest.raises(UserError, match="somebody has run it since noon"),
        Lease(folder).held(take_over=False),
    ):
        pass
    with Lease(folder, lives=-1.0).held(take_over=False):
        assert len((folder / "lease").files()) == 1


def test_a_claim_of_a_process_of_this_machine_that_ended_is_dead_at_once(folder):
    from gradatlas.sweeps.store.lease import _process_namespace

    ended = subprocess.Popen(["true"])
    ended.wait()
    _claim(folder, "killed", place=_process_namespace(), process=ended.pid)
    with Lease(folder).held(take_over=False):
        assert len((folder / "lease").files()) == 1
    _claim(folder, "elsewhere", place="another machine", process=ended.pid)
    with pytest.raises(UserError, match="somebody"), Lease(folder).held(take_over=False):
        pass


@pytest.fixture
def failing() -> Iterator[Callable[[int], None]]:
    """Lets requests to the store fail, until the test ends."""
    yield let_fail
    let_fail(0)


def test_a_store_that_refuses_now_and_then_is_asked_again(folder, tmp_path, failing):
    (tmp_path / "two.toml").write_text("[fixed]\nwidth = 8\nsteps = 1\n[search]\npoints = 2\n")
    failing(5)
    ledger = create_run(folder / "run", load_sweep(tmp_path / "two.toml"), "two.toml", cpus=1)
    with ledger.locked():
        for number in range(10):
            ledger.write_driver(str(number))  # shorter than the refusal: the library below gives up at once
            assert ledger.driver() == str(number)
        for pack in ledger.pending_packs():
            ledger.write_result(pack, results(ledger.pack_trials(pack)))
        ledger.clear_states()
        assert state(ledger).is_complete
    assert not (ledger.folder / "lease").files()
    assert not ledger.states.files(below=True)


@pytest.mark.parametrize("name", ["status", "resume", "report", "list"])
def test_a_store_that_refuses_everything_is_one_line(command, remote_run, failing, monkeypatch, name):
    monkeypatch.setattr(remote, "_PATIENCE", 0.3)
    monkeypatch.setattr(remote, "_answered", set())  # as in a process that has just started
    failing(1)
    runs = ("--runs", remote_run.folder.parent) if name == "list" else (remote_run.folder,)
    ended = command(name, *runs)
    assert ended.code == 1
    assert len(ended.err.strip().splitlines()) == 1
    assert "s3://bucket/" in ended.err
    assert "AWS Error" in ended.err


def test_a_run_on_a_store_that_refuses_everything_does_not_begin(
    command, folder, tmp_path, failing, monkeypatch
):
    monkeypatch.setattr(remote, "_PATIENCE", 0.3)
    monkeypatch.setattr(remote, "_answered", set())
    (tmp_path / "two.toml").write_text("[search]\npoints = 2\n")
    failing(1)
    for more in (), ("--resume",):
        ended = command("run", tmp_path / "two.toml", "--runs", folder, "--name", "x", *more)
        assert ended.code in (1, 2)
        assert len(ended.err.strip().splitlines()) == 1
        assert "AWS Error" in ended.err
    failing(0)
    assert folder.files(below=True) == {}
