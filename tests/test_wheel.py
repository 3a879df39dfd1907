"""The wheel: what is in it, that the sdist makes the same one, and that its types are seen by users."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.wheel import ROOT, built, environment


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this repository."""
    return built(ROOT, tmp_path_factory.mktemp("wheel"), "wheel")


def _files(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    return {name: content for name, content in found.items() if not name.endswith("/RECORD")}


def test_the_wheel_has_one_import_name_and_every_file_of_the_three_packages(wheel):
    names = set(_files(wheel))
    assert {name.split("/")[0] for name in names} == {"gradatlas", "gradatlas-0.1.0.dist-info"}
    files = [file for package in ("study", "sweeps", "analysis") for file in (ROOT / package).rglob("*.*")]
    files += [*(ROOT / "gradatlas").glob("*.py"), ROOT / "gradatlas" / "py.typed"]
    left_out = {"__pycache__", "gallery"}
    wanted = {str(file.relative_to(ROOT)) for file in files if not left_out & set(file.parts)}
    found = {name.removeprefix("gradatlas/") for name in names if name.startswith("gradatlas/")}
    assert found == {name.removeprefix("gradatlas/") for name in wanted}
    assert {"py.typed", "study/data/digits.npz", "sweeps/presets/quickstart.toml"} <= found
    assert {"analysis/page/report.html.jinja", "sweeps/jobs/slurm.sh.jinja"} <= found


def test_the_sdist_makes_the_same_wheel(wheel, tmp_path):
    with tarfile.open(built(ROOT, tmp_path, "sdist")) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    again = built(source, tmp_path / "again", "wheel")
    assert again.name == wheel.name
    assert _files(again) == _files(wheel)


PROGRAM = """
import gradatlas

run = gradatlas.open("runs/some")
reveal_type(run.trials)
reveal_type(run.limits.stable_decades)
reveal_type(gradatlas.profile(depth=3)["median"])
reveal_type(gradatlas.theory("tanh"))
reveal_type(gradatlas.SobolSampler({}, seed=1))
reveal_type(gradatlas.__version__)
"""
TYPES = ["polars.lazyframe.frame.LazyFrame", "float", "dict[str, Any]", "list[dict[str, Any]]",
         "gradatlas.sweeps.sampling.pure.SobolSampler", "str"]  # fmt: skip


@pytest.mark.thorough
def test_a_strictly_typed_program_sees_the_types_of_the_installed_wheel(wheel, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    python = environment(tmp_path / "environment", wheel) / "python"
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(python), "program.py"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert [line.split('"')[1] for line in checked.stdout.splitlines() if "note: " in line] == TYPES
