"""What is decided about a cluster before anything is joined, and packs cut for several machines."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import ray

from gradatlas.sweeps.errors import UserError
from gradatlas.sweeps.planning.machine import Node, memory_of_pack
from gradatlas.sweeps.planning.packing import capacity
from gradatlas.sweeps.spec.sweep import Schedule
from gradatlas.sweeps.workers import cluster

_GIB = 2**30


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ray://head:10001", "submit the run to the cluster instead: gradatlas submit SPEC --address http"),
        ("http://head:8265", "must be auto or HOST:PORT, for example"),
        ("head", "must be auto or HOST:PORT, for example"),
        ("127.0.0.1:1", "no Ray cluster can be joined there"),
    ],
)
def test_an_address_that_cannot_be_joined_is_told_before_anything_is_written(command, spec, address, message):
    runs = spec.parent / "runs"
    ended = command("run", spec, "--runs", runs, "--address", address)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
    assert not runs.exists()


def test_extend_takes_an_address_and_refuses_a_bad_one_before_the_run_is_touched(command, finished_run):
    before = finished_run.sweep_file.read_bytes()
    ended = command("extend", finished_run.folder, "--points", 3, "--address", "ray://head:10001")
    assert (ended.code, ended.out) == (2, "")
    assert "submit the run to the cluster instead" in ended.err
    assert finished_run.sweep_file.read_bytes() == before


def test_extend_says_that_a_folders_lock_cannot_be_taken_over(command, finished_run):
    with finished_run.locked():
        ended = command("extend", finished_run.folder, "--points", 3, "--take-over")
    assert ended.code == 2
    assert "--take-over is for URLs, here the lock ends with that process" in ended.err


def test_a_cluster_without_a_token_is_joined_only_where_the_user_says_so(monkeypatch, starts):
    monkeypatch.setattr(cluster, "is_open", lambda address: True)
    with pytest.raises(UserError, match="asks for no token"), cluster.joined("127.0.0.1:1"):
        pass
    assert starts == []
    with cluster.joined("127.0.0.1:1", insecure=True):
        assert len(starts) == 1


@pytest.mark.parametrize("insecure", [False, True])
def test_auto_joins_no_cluster_of_another_account(monkeypatch, starts, insecure):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(cluster, "canonicalize_bootstrap_address", lambda address: "127.0.0.1:4")
    refusal = "found 127.0.0.1:4, which is not this account's"
    with pytest.raises(UserError, match=refusal), cluster.joined("auto", insecure=insecure):
        pass
    monkeypatch.setattr(cluster, "is_of_this_account", "127.0.0.1:4".__eq__)
    with cluster.joined("auto", insecure=insecure):
        assert len(starts) == 1


def test_insecure_is_for_clusters(command, spec):
    ended = command("run", spec, "--insecure")
    assert (ended.code, ended.err) == (
        2,
        "gradatlas: --insecure: is for a cluster; add --address, or leave it\n",
    )


def test_cpus_are_for_a_ray_of_this_machine(command, spec):
    assert "leave it or --address" in command("run", spec, "--cpus", 1, "--address", "127.0.0.1:1").err


def test_packs_fit_the_smallest_node_and_every_node_counts():
    large, small = Node(8, 0, 64 * _GIB, 0), Node(2, 0, 8 * _GIB, 0)
    workers, memory = capacity(Schedule(), [large, small])
    assert workers == 10
    assert memory == memory_of_pack(small, 2, gpus_per_pack=0.0)
    assert capacity(Schedule(concurrency=3), [large, small])[0] == 3
    assert capacity(Schedule(cpus_per_pack=4), [large, small])[0] == 2  # the small one holds none


def test_packs_for_gpus_are_cut_for_the_smallest_gpu_alone():
    nodes = [Node(8, 2, 64 * _GIB, 80 * _GIB), Node(8, 1, 64 * _GIB, 16 * _GIB), Node(64, 0, _GIB, 0)]
    workers, memory = capacity(Schedule(gpus_per_pack=0.5), nodes)
    assert workers == 6
    assert memory == memory_of_pack(nodes[1], 2, gpus_per_pack=0.5)


def test_a_run_of_a_name_is_started_once_and_then_resumed(command, spec, tmp_path, finished_run):
    assert "add --name NAME" in command("run", spec, "--resume").err
    again = command("run", spec, "--runs", finished_run.folder.parent, "--name", "small", "--resume")
    assert (again.code, again.out) == (
        0,
        f"{finished_run.folder}: all 24 trials are done; nothing to resume\n",
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_batch_systems_signals_are_preemptions_with_the_grace_that_was_given(
    planned_run, monkeypatch, number
):
    from gradatlas.sweeps.workers import stopping

    graces = []
    monkeypatch.setattr(stopping, "_leave_after", lambda seconds, run: graces.append(seconds))
    stop = stopping.Stop(planned_run, None, grace=40.0)
    with stop.on_signals():
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # as Tune takes it for itself
        stop.catch_signals()
        signal.raise_signal(number)
        signal.raise_signal(number)
    assert (stop.reason, graces) == ("preempted", [40.0])


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, list[str]]]:
    """The working directory of each start of a Ray that never starts, and what is in it."""
    seen: list[tuple[Path, list[str]]] = []
    monkeypatch.setattr(ray, "init", lambda **options: seen.append((Path.cwd(), os.listdir())))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(cluster, "_reject_silence", lambda address: None)
    monkeypatch.setattr(cluster, "is_open", lambda address: False)
    return seen


@pytest.mark.parametrize("started", [lambda: cluster.own_ray(1), lambda: cluster.joined("127.0.0.1:1")])
def test_ray_starts_in_an_empty_folder_and_knows_the_users_paths(tmp_path, monkeypatch, starts, started):
    (tmp_path / "random.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "lib::/other")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "key.json")
    with started():
        ((folder, held),) = starts
        assert held == []
        assert folder.is_dir()
        assert Path.cwd() == tmp_path
        assert os.environ["PYTHONPATH"] == f"{tmp_path}/lib::/other"
        assert os.environ["GOOGLE_APPLICATION_CREDENTIALS"] == f"{tmp_path}/key.json"
    assert not folder.exists()


def test_code_that_is_not_installed_is_found_in_the_folder_that_it_was_started_in(monkeypatch, starts):
    monkeypatch.chdir(Path(__file__).parents[3])
    with cluster.own_ray(1):
        assert [folder for folder, _ in starts] == [Path.cwd()]
