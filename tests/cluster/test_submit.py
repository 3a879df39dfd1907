"""A job through a real cluster's job server: code, sweep and the user's own data travel, rows come back."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.cluster.faults import LOOPBACK, Command, wait_until

pytestmark = pytest.mark.cluster


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def job_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a cluster's job server, on the loopback."""
    for name, value in LOOPBACK.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as folder:
        head = subprocess.Popen(
            [
                *(str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--num-cpus=2"),
                *(
                    "--node-ip-address=127.0.0.1",
                    f"--port={20000 + port % 10000}",
                    "--include-dashboard=true",
                ),
                *("--dashboard-host=127.0.0.1", f"--dashboard-port={port}", f"--temp-dir={folder}"),
                # Its default port is taken where another Ray runs, and then no job is.
                f"--dashboard-agent-listen-port={_free_port()}",
                "--object-store-memory=100000000",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        )
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until(lambda: head.poll() is not None or _answers(f"{url}/api/jobs/"), "the job server")
            assert head.poll() is None, "the head ended"
            yield url
        finally:
            head.terminate()
            head.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False


def test_a_submitted_run_takes_its_sweep_and_data_along(tmp_path, job_server):
    chance = np.random.Generator(np.random.Philox(0))
    np.savez(tmp_path / "own.npz", features=chance.normal(size=(40, 3)), labels=np.arange(40) % 2)
    spec = tmp_path / "own.toml"
    fixed = '[fixed]\ntask = "own.npz"\nbatch_size = 16\nsteps = 2\nwidth = 8\n'
    spec.write_text(f'question = "Does it arrive?"\n{fixed}[search]\npoints = 6\n')
    submitted = ("--address", job_server, "--runs", tmp_path / "runs", "--name", "run", "--follow")
    code, out, err = Command("submit", spec, *submitted, PYTHONPATH=str(Path(__file__).parents[2])).ended()
    assert code == 0, out + err
    assert "6/6 trials" in out
    assert "report: " in out
    assert out.strip().splitlines()[-1].endswith("succeeded")
    rows = pl.read_parquet(tmp_path / "runs" / "run" / "results" / "*.parquet")
    assert sorted(rows["trial"]) == list(range(6))
    assert rows["task"].unique().to_list() == ["data/own.npz"]
    assert (tmp_path / "runs" / "run" / "report" / "report.html").is_file()
