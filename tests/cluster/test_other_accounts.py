"""A run's own Ray on a machine that is shared: what another account can do, and what is written down."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.cluster.faults import Command, started, states, sweep_text, wait_until

pytestmark = pytest.mark.cluster

# Twelve kinds of secrets under the names that they usually have.
SECRETS = {
    name: f"planted-{number:02}-secret"
    for number, name in enumerate(
        (
            "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN",
            "AZURE_STORAGE_KEY", "GOOGLE_API_KEY", "GITHUB_TOKEN", "HF_TOKEN", "WANDB_API_KEY",
            "OPENAI_API_KEY", "DATABASE_URL", "SLURM_JWT",
        )
    )
}  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another account")
def test_another_account_can_neither_connect_nor_read_nor_list_nor_replace():
    import ray

    from gradatlas.sweeps.workers.cluster import own_ray

    with own_ray(1):
        assert ray.get(ray.remote(lambda: os.getpid()).remote()) != os.getpid()  # a worker is there
        context = ray.get_runtime_context()
        folder = Path(context.get_temp_dir()).parent
        attacker = [sys.executable, str(Path(__file__).parent / "other_account.py")]
        ended = subprocess.run(
            [*attacker, context.gcs_address, str(folder)],
            cwd="/", capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1]) == [], ended.stderr


def _holding(secret: bytes, folder: Path) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [path for path in files if secret in path.read_bytes()]


def test_no_file_that_a_run_makes_anywhere_holds_a_secret_of_its_environment(tmp_path):
    """Looked at while it goes on, since at its end Ray's folder is gone."""
    with tempfile.TemporaryDirectory(prefix="p", dir="/tmp") as scratch:
        with started(
            sweep_text(points=64), tmp_path, **SECRETS, TMPDIR=scratch, HOME=str(tmp_path / "home")
        ) as command:
            wait_until(lambda: len(list((tmp_path / "run" / "results").glob("*.parquet"))) > 1, "two packs")
            assert list(Path(scratch).rglob("runtime_env_agent.log"))
            for folder in (Path(scratch), tmp_path):
                assert _holding(b"planted-", folder) == []
            assert command.process.poll() is None
        assert _holding(b"planted-", tmp_path) == []


def test_a_run_starts_in_a_long_tmpdir_and_leaves_nothing_there(tmp_path):
    deep = tmp_path.joinpath(*(f"slurm_jobdir_{number}" for number in range(7)))
    deep.mkdir(parents=True)
    (tmp_path / "sweep.toml").write_text(sweep_text(points=8, steps=10))
    named = ("run", tmp_path / "sweep.toml", "--runs", tmp_path, "--name", "run", "--no-report")
    code, _, err = Command(*named, TMPDIR=str(deep)).ended()
    assert code == 0, err
    assert list(deep.iterdir()) == []


def test_what_a_killed_driver_left_goes_with_the_next_start(tmp_path):
    with tempfile.TemporaryDirectory(prefix="p", dir="/tmp") as scratch:
        with started(sweep_text(points=24), tmp_path, TMPDIR=scratch) as command:
            wait_until(lambda: bool(states(tmp_path / "run")), "a pack in hand")
            command.process.kill()
            command.ended()
        assert list(Path(scratch).glob("gradatlas-ray-*"))
        code, _, err = Command("resume", tmp_path / "run", "--no-report", TMPDIR=scratch).ended()
        assert code == 0, err
        assert list(Path(scratch).iterdir()) == []
