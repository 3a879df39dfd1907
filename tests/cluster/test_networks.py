"""Two nodes in network namespaces of their own: they talk over addresses that are not 127.0.0.1."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from gradatlas.sweeps.running.runs import create_run
from gradatlas.sweeps.spec.sweep import parse_sweep
from tests.cluster.faults import Command, assert_undisturbed, expected_rows, sweep_text, wait_until

pytestmark = pytest.mark.cluster

HEAD, WORKER, PORT = "10.77.0.1", "10.77.0.2", 6379


def _ip(*arguments: str) -> None:
    """Runs iproute2's command; skips the test where it is not there or not allowed."""
    try:
        ended = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("network namespaces need the command ip, of iproute2")
    if ended.returncode:
        pytest.skip(f"network namespaces cannot be made here: ip {shlex.join(arguments)}: {ended.stderr}")


@contextmanager
def _namespace(name: str) -> Iterator[str]:
    _ip("netns", "add", name)
    try:
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)  # its end of the cable goes with it


@pytest.fixture
def networks() -> Iterator[tuple[str, str]]:
    """Two namespaces with a cable between them; nothing else reaches them."""
    mark = f"ga{os.getpid()}"
    with _namespace(f"{mark}h") as head, _namespace(f"{mark}w") as worker:
        _ip("-n", head, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", worker)
        for name, address in ((head, HEAD), (worker, WORKER)):
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", "cable")
            for device in ("lo", "cable"):
                _ip("-n", name, "link", "set", device, "up")
        yield head, worker


class Cluster(NamedTuple):
    """A head without CPUs, and a node with one that does not see the folder `hidden`."""

    inside: tuple[str, ...]  # what a command on the head's machine begins with
    hidden: Path


@contextmanager
def _node(namespace: str, log: Path, arguments: str, *, before: str = "true") -> Iterator[None]:
    """A Ray node in a namespace, once it has started, after a command of its shell."""
    program = f"{before} && exec {Path(sys.executable).parent / 'ray'} start --block {arguments}"
    with log.open("w") as file:
        # Each namespace has mounts of its own too.
        process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, "bash", "-c", program], stdout=file, stderr=file
        )
    try:
        wait_until(lambda: process.poll() is not None or "Ray runtime started" in log.read_text(), "a node")
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def cluster(networks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Its two nodes, in processes of their own."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "test" * 16)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    head, worker = networks
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    store = "--object-store-memory=80000000"
    with ExitStack() as nodes:
        scratch = nodes.enter_context(
            tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True)
        )
        first = f"--head --port={PORT} --node-ip-address={HEAD} --num-cpus=0 --include-dashboard=false"
        nodes.enter_context(_node(head, tmp_path / "head.log", f"{first} --temp-dir={scratch} {store}"))
        second = f"--address={HEAD}:{PORT} --node-ip-address={WORKER} --num-cpus=1 {store}"
        blind = f"mount -t tmpfs tmpfs {shlex.quote(str(hidden))}"
        nodes.enter_context(_node(worker, tmp_path / "worker.log", second, before=blind))
        yield Cluster(("ip", "netns", "exec", head), hidden)


@pytest.fixture
def driven(cluster: Cluster) -> Callable[..., tuple[int, str, str]]:
    """Runs the command on the head's machine."""

    def ended(*arguments: object) -> tuple[int, str, str]:
        given = (*arguments, "--no-report", "--address", f"{HEAD}:{PORT}")
        return Command(*given, through=cluster.inside).ended()

    return ended


def test_a_folder_that_a_node_does_not_see_is_refused_and_one_that_all_see_is_filled(
    tmp_path, cluster, driven
):
    spec = tmp_path / "sweep.toml"
    spec.write_text(sweep_text(points=24, steps=20))
    code, _, err = driven("run", spec, "--runs", cluster.hidden, "--name", "run")
    assert code == 2
    assert f"must be a folder that all nodes share, but {socket.gethostname()} does not see it" in err
    assert list(cluster.hidden.iterdir()) == []

    text = sweep_text(points=16, steps=20)
    ledger = create_run(
        tmp_path / "run", parse_sweep(tomllib.loads(text), "sweep.toml"), "sweep.toml", cpus=1
    )
    code, out, err = driven("extend", ledger.folder, "--points", 8)
    assert code == 0, err
    assert f"{ledger.folder}: 24 trials now" in out
    assert_undisturbed(ledger.folder, expected_rows(spec.read_text(), tmp_path / "expected"))
