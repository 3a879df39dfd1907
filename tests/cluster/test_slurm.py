"""The SLURM script, really run: two nodes on this machine, a warning before the time limit, queued again."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gradatlas.sweeps.jobs import rendered
from tests.cluster.faults import (
    DEADLINE,
    ROOT,
    assert_undisturbed,
    descendants,
    expected_rows,
    states,
    sweep_text,
    wait_until,
)

pytestmark = pytest.mark.cluster

FAKES = Path(__file__).parent / "slurm"
# A network of the job's own, whose card leads nowhere: so Ray has an address that nobody else reaches.
NETWORK = (
    "ip link set lo up && ip link add card type veth peer name end && ip addr add 10.77.0.1/24 dev card"
    " && ip link set card up && ip link set end up && ip route add default dev card"
)


def _script(folder: Path) -> Path:
    """The script as `gradatlas job slurm` prints it, for the command of this working tree."""
    command = folder / "bin" / "gradatlas"
    command.parent.mkdir()
    command.write_text(f'#!/bin/bash\nexec {sys.executable} -m gradatlas "$@"\n')
    command.chmod(0o755)
    values = {
        "spec": str(folder / "sweep.toml"),
        "runs": str(folder),
        "name": "run",
        "nodes": 2,
        "cpus": 1,
        "gpus": 0,
        "time": "00:10:00",
        "setup": f"export PATH={folder / 'bin'}:{FAKES}:{Path(sys.executable).parent}:$PATH",
    }
    script = folder / "job.sh"
    script.write_text(rendered("slurm", values))
    return script


def _alone_in_network() -> list[str]:
    """What a command begins with to have a network of its own; nothing where that is not allowed."""
    begins = ["unshare", "--net", "bash", "-c", f'{NETWORK} && exec "$@"', "bash"]
    try:
        allowed = subprocess.run([*begins, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        allowed = False
    return begins if allowed else []


@contextmanager
def _job(script: Path, log: Path) -> Iterator[subprocess.Popen]:
    """A batch job; what it started ends with it."""
    variables = {"FAKE_JOB_ID": str(os.getpid()), "FAKE_SLURM_LOG": str(log), "OMP_NUM_THREADS": "1"}
    job = subprocess.Popen(
        [*_alone_in_network(), FAKES / "sbatch", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
        start_new_session=True,
    )
    try:
        yield job
    finally:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
            job.communicate()


def _folders_of_ray(job: subprocess.Popen) -> set[Path]:
    """The temporary folders that a job's Ray processes were told to use, of those in /tmp."""
    told = set()
    for pid in descendants(job.pid):
        variables = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
        told |= {Path(one.partition("=")[2]) for one in variables if one.startswith("RAY_TMPDIR=")}
    return {folder.parent for folder in told}


def test_a_job_that_is_warned_saves_is_queued_again_and_goes_on(tmp_path):
    text = sweep_text()
    (tmp_path / "sweep.toml").write_text(text)
    script, run, log = _script(tmp_path), tmp_path / "run", tmp_path / "slurm.log"
    with _job(script, log) as job:
        wait_until(lambda: job.poll() is not None or states(run), "packs in hand")
        assert job.poll() is None, job.communicate()
        (folder,) = _folders_of_ray(job)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        os.kill(job.pid, signal.SIGUSR1)  # as --signal=B:USR1@120 does
        out, _ = job.communicate(timeout=DEADLINE)
    assert job.returncode == 75, out
    assert not folder.exists()
    assert "preempted: " in out
    assert log.read_text() == f"requeue {os.getpid()}\n"
    assert len(list((run / "results").glob("*.parquet"))) < 8
    with _job(script, log) as job:
        out, _ = job.communicate(timeout=DEADLINE)
    assert job.returncode == 0, out
    assert (run / "report" / "report.html").is_file()
    (run / "report").rename(tmp_path / "report")
    assert_undisturbed(run, expected_rows(text, tmp_path / "expected"))
