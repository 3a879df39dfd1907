"""A job through a real cluster's job server: code, sweep and the user's own data travel, rows come back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.cluster.faults import Command
from tests.cluster.head import VARIABLES, head_of
from tests.wheel import environment

pytestmark = pytest.mark.cluster


@pytest.fixture
def job_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The address of the job server of a cluster that lacks gradatlas, on the loopback."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    with head_of(environment(tmp_path / "bare") / "python") as head:
        yield head.jobs


def test_a_submitted_run_takes_its_sweep_and_data_along(tmp_path, job_server):
    chance = np.random.Generator(np.random.Philox(0))
    np.savez(tmp_path / "own.npz", features=chance.normal(size=(40, 3)), labels=np.arange(40) % 2)
    spec = tmp_path / "own.toml"
    # With a norm nothing is trained in machine code, which a job would first have to compile.
    fixed = '[fixed]\ntask = "own.npz"\nbatch_size = 16\nsteps = 2\nwidth = 8\nnorm = "layer"\n'
    spec.write_text(f'question = "Does it arrive?"\n{fixed}[search]\npoints = 6\n')
    submitted = ("--address", job_server, "--runs", tmp_path / "runs", "--name", "run", "--follow")
    code, out, err = Command("submit", spec, *submitted).ended()
    assert code == 0, out + err
    assert "6/6 trials" in out
    assert "report: " in out
    assert out.strip().splitlines()[-1].endswith("succeeded")
    rows = pl.read_parquet(tmp_path / "runs" / "run" / "results" / "*.parquet")
    assert sorted(rows["trial"]) == list(range(6))
    assert rows["task"].unique().to_list() == ["data/own.npz"]
    assert (tmp_path / "runs" / "run" / "report" / "report.html").is_file()
