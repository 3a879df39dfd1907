"""A head node with its job server, in a process of its own on the loopback, by any Python."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.cluster.faults import LOOPBACK, wait_until

# Of the head and of whoever joins it.
VARIABLES = {
    **LOOPBACK, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "test" * 16, "RAY_USAGE_STATS_ENABLED": "0",
}  # fmt: skip


class Head(NamedTuple):
    """Where drivers join it, and the URL of its job server."""

    address: str
    jobs: str


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def head_of(python: Path) -> Iterator[Head]:
    """A head with two CPUs; jobs find the commands that are beside this Python."""
    port, jobs = _free_port(), _free_port()
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as folder:
        program = f"import sys; from ray.scripts.scripts import main; sys.argv[0] = {str(python)!r}; main()"
        head = subprocess.Popen(
            [
                *(str(python), "-c", program, "start", "--head", "--block", "--num-cpus=2"),
                *(
                    "--node-ip-address=127.0.0.1",
                    f"--port={20000 + port % 10000}",
                    "--include-dashboard=true",
                ),
                *("--dashboard-host=127.0.0.1", f"--dashboard-port={jobs}", f"--temp-dir={folder}"),
                # Its default port is taken where another Ray runs, and then no job is.
                f"--dashboard-agent-listen-port={_free_port()}",
                "--object-store-memory=100000000",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | VARIABLES | {"PATH": f"{python.parent}:{os.environ['PATH']}"},
        )
        url = f"http://127.0.0.1:{jobs}"
        try:
            wait_until(lambda: head.poll() is not None or _answers(f"{url}/api/jobs/"), "the job server")
            assert head.poll() is None, "the head ended"
            yield Head(f"127.0.0.1:{20000 + port % 10000}", url)
        finally:
            head.terminate()
            head.wait()


def _answers(url: str) -> bool:
    shown = {"Authorization": f"Bearer {VARIABLES['RAY_AUTH_TOKEN']}"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=shown), timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False
