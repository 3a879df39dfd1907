"""Who may import whom, and what nobody may do."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("study", "sweeps", "analysis")
ALLOWED = {
    "study": {"study", "torch", "numpy", "jaxtyping"},
    "sweeps": {
        "study",
        "sweeps",
        "torch",
        "numpy",
        "scipy",
        "polars",
        "pyarrow",
        "pydantic",
        "tomli_w",
        "typer",
        "rich",
    },
    "analysis": {
        "study",
        "analysis",
        "numpy",
        "scipy",
        "polars",
        "pyarrow",
        "seaborn",
        "matplotlib",
        "pandas",
        "jinja2",
        "markupsafe",
        "altair",
        "vl_convert",
    },
}
# One file each may know what the rest of its package does not.
EXCEPTIONS = {
    "study/compiled.py": {"numba", "scipy", "threadpoolctl"},  # which no other module needs
    "sweeps/search.py": {"optuna"},
    "sweeps/samplers.py": {"optuna"},
    "sweeps/export.py": {"optuna", "sqlalchemy"},
    "sweeps/runner.py": {"ray"},
    "sweeps/searchers.py": {"ray"},
    "sweeps/cluster.py": {"ray"},
    "sweeps/submit.py": {"ray"},
    "sweeps/jobs/__init__.py": {"jinja2"},
    "sweeps/trainable.py": {"ray", "threadpoolctl"},
    "sweeps/forecast.py": {"threadpoolctl"},
    "sweeps/reading.py": {"analysis"},
    "analysis/importance.py": {"optuna"},
    "analysis/report.py": {"threadpoolctl"},
}


def _modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def _imports(path: Path) -> set[str]:
    """What a module imports, our own by their names below `gradatlas`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("gradatlas.") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}".removeprefix("gradatlas.")
                is_module = (ROOT / inner.replace(".", "/")).with_suffix(".py").exists()
                found.add(inner if is_module else inner.rpartition(".")[0])
    return found


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_what_its_package_may(path):
    name = str(path.relative_to(ROOT))
    allowed = ALLOWED[name.split("/")[0]] | EXCEPTIONS.get(name, set()) | set(sys.stdlib_module_names)
    assert {module.split(".")[0] for module in _imports(path)} <= allowed | {"gradatlas"}


def test_no_module_imports_itself_in_a_circle():
    graph = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): {
            module for module in _imports(path) if module.split(".")[0] in PACKAGES
        }
        for path in _modules()
    }

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for module in graph.get(waiting.pop(), ()):
                if module not in seen:
                    seen.add(module)
                    waiting.append(module)
        return seen

    assert [module for module in graph if module in reachable(module)] == []


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_uses_global_randomness(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("torch.manual_seed", "hash", "torch.rand", "torch.randn", "torch.randint")
            assert not called.startswith("random.")
            if called.startswith("np.random."):
                assert called in ("np.random.Generator", "np.random.Philox")


def test_the_study_runs_where_only_torch_and_numpy_are_installed():
    program = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        absent = "jaxtyping numba ray optuna polars pandas scipy sklearn threadpoolctl"
        if name.split(".")[0] in absent.split():
            raise ImportError(name)
sys.meta_path.insert(0, Absent())
from gradatlas.study.experiment import results
from gradatlas.study.trial import Trial
print(results([Trial(depth=3, width=8, steps=2)])[0]["outcome"])
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == "stalled"
