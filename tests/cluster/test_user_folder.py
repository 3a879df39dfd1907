"""The installed command in a folder of the user's, whose files may bear any name, also that of a library."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest

from tests.cluster.faults import DEADLINE
from tests.cluster.head import VARIABLES, head_of
from tests.wheel import ROOT, built, environment

pytestmark = pytest.mark.cluster

# With a norm nothing is trained in machine code, which each new place of the code would compile for seconds.
SWEEP = """
question = "Whose files are these?"
[scientific]
depth = [2, 4]
weight_gain = { low = 0.5, high = 2.0, log = true }
[fixed]
norm = "layer"
width = 8
steps = 1
batch_size = 16
[search]
points = 12
[schedule]
cpus = 2
pack_size = 6
"""
NAMED_AS_WE_ARE = ("study.py", "analysis/__init__.py", "sweeps/__init__.py", "tests/__init__.py")
NAMED_AS_LIBRARIES = ("random.py", "torch.py", "numpy.py", "json.py", "polars.py", "ray.py")


class Environments(NamedTuple):
    """Commands' folders: with the wheel installed, and with all that it needs but not itself."""

    installed: Path
    bare: Path


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Environments:
    """Two environments besides this one, in which gradatlas is an editable install."""
    folder = tmp_path_factory.mktemp("environments")
    wheel = built(ROOT, folder / "wheel", "wheel")
    return Environments(environment(folder / "installed", wheel), environment(folder / "bare"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder with a sweep and modules that bear the names of ours."""
    own = tmp_path / "own"
    for name in NAMED_AS_WE_ARE:
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_text("WHOSE = 'the user'\n")
    (own / "sweep.toml").write_text(SWEEP)
    return own


def _add_libraries(folder: Path) -> None:
    for name in NAMED_AS_LIBRARIES:
        (folder / name).write_text(f"raise RuntimeError('the user has a {name}')\n")


def _said(folder: Path, *command: object, **variables: str) -> str:
    """What a command says that ends well in a folder."""
    ended = subprocess.run(
        [*map(str, command)], cwd=folder, capture_output=True, text=True, timeout=DEADLINE,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""} | variables,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def _trials(run: Path) -> list[int]:
    return sorted(pl.read_parquet(run / "results" / "*.parquet")["trial"])


def test_the_command_runs_and_reports_among_files_named_as_libraries(environments, folder):
    _add_libraries(folder)
    gradatlas = environments.installed / "gradatlas"
    _said(folder, gradatlas, "run", "sweep.toml", "--name", "run", "--no-report")
    assert _trials(folder / "runs" / "run") == list(range(12))
    assert "report: runs/run/report/report.html" in _said(folder, gradatlas, "report", "runs/run")
    assert (folder / "runs" / "run" / "report" / "figures" / "regime_map.png").is_file()


def test_a_module_run_and_a_notebook_leave_the_users_modules_their_names(environments, folder):
    python = environments.installed / "python"
    _said(folder, python, "-m", "gradatlas", "run", "sweep.toml", "--name", "run", "--no-report")
    notebook = """
import analysis, study, sweeps, tests
import gradatlas
run = gradatlas.open("runs/run")
print(gradatlas.__file__)
print(*(module.WHOSE for module in (analysis, study, sweeps, tests)), sep=", ")
print(run.trials.collect().height, run.cells.collect().height)
"""
    file, whose, counts = _said(folder, python, "-c", notebook).splitlines()
    assert Path(file).is_relative_to(environments.installed.parent)
    assert whose == "the user, the user, the user, the user"
    assert counts == "12 12"


def test_a_cluster_that_lacks_gradatlas_gets_it_from_such_a_folder(environments, folder):
    """By `py_modules` for a driver on the head's machine, in the working directory for a job."""
    _add_libraries(folder)
    gradatlas = environments.installed / "gradatlas"
    with head_of(environments.bare / "python") as head:
        named = ("run", "sweep.toml", "--name", "joined", "--address", head.address, "--no-report")
        _said(folder, gradatlas, *named, **VARIABLES)
        assert _trials(folder / "runs" / "joined") == list(range(12))
        sent = ("submit", "sweep.toml", "--name", "job", "--address", head.jobs, "--follow")
        said = _said(folder, gradatlas, *sent, "--runs", folder / "runs", **VARIABLES)
        assert said.strip().endswith("succeeded")
        assert _trials(folder / "runs" / "job") == list(range(12))
