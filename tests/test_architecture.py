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
    "study/training/kernels.py": {"numba", "scipy", "threadpoolctl"},  # which no other module needs
    "sweeps/sampling/pure.py": {"optuna"},
    "sweeps/sampling/learned.py": {"optuna"},
    "sweeps/running/optuna_export.py": {"optuna", "sqlalchemy"},
    "sweeps/workers/runner.py": {"ray"},
    "sweeps/workers/searchers.py": {"ray"},
    "sweeps/workers/cluster.py": {"ray"},
    "sweeps/workers/private_ray.py": {"ray"},
    "sweeps/workers/submit.py": {"ray"},
    "sweeps/workers/trainable.py": {"ray", "threadpoolctl"},
    "sweeps/jobs/__init__.py": {"jinja2"},
    "sweeps/planning/forecast.py": {"threadpoolctl"},
    "sweeps/command/reading.py": {"analysis"},
    "analysis/measures/importance.py": {"optuna"},
    "analysis/report.py": {"threadpoolctl"},
}
# The rooms of each package, files and folders, in the order in which work flows: a room imports those above
# it in its list, never one below.
ORDER = {
    "study": [
        "shapes", "lazy_torch", "input_files", "randomness", "state", "regimes", "choices", "trial",
        "networks", "profiles", "families", "records", "result_files", "theory", "training", "experiment",
        "single", "one_network", "chain",
    ],
    "sweeps": [
        "errors", "sampling", "spec", "planning", "store", "running", "workers", "jobs", "command", "cli",
    ],
    "analysis": [
        "words", "colours", "reading", "measures", "claims", "figures", "page", "comparing", "table_files",
        "opened", "report",
    ],
}  # fmt: skip


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
                place = ROOT / inner.replace(".", "/")
                is_module = place.is_dir() or place.with_suffix(".py").exists()
                found.add(inner if is_module else inner.rpartition(".")[0])
    return found


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_what_its_package_may(path):
    name = str(path.relative_to(ROOT))
    allowed = ALLOWED[name.split("/")[0]] | EXCEPTIONS.get(name, set()) | set(sys.stdlib_module_names)
    assert {module.split(".")[0] for module in _imports(path)} <= allowed | {"gradatlas"}


def _room(module: str) -> tuple[str, str]:
    """(Package, room) of a module's dotted name or of a file's path."""
    package, _, rest = module.replace("/", ".").partition(".")
    return package, rest.split(".")[0]


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_from_rooms_before_its_own(path):
    package, room = _room(str(path.relative_to(ROOT)))
    if room == "__init__":
        return
    order = ORDER[package]
    imported = [_room(module) for module in _imports(path)]
    later = [other for of, other in imported if of == package and order.index(other) > order.index(room)]
    assert later == []


def test_the_order_names_every_room():
    for package, order in ORDER.items():
        rooms = {_room(str(path.relative_to(ROOT)))[1] for path in sorted((ROOT / package).rglob("*.py"))} - {
            "__init__"
        }
        assert rooms == set(order)


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


def test_only_the_storage_asks_of_what_kind_a_location_is():
    kinds = {"Path", "PosixPath", "PurePath", "Local", "Remote"}
    asking = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "sweeps").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "isinstance"
        and {name.id for name in ast.walk(node.args[1]) if isinstance(name, ast.Name)} & kinds
    }
    assert asking == {"sweeps/store/storage.py"}


# Tests of what no one module does.
ACROSS = {
    "tests/analysis/test_calibration.py",
    "tests/study/test_pitfalls.py",
    "tests/study/training/test_windows.py",
    "tests/sweeps/test_safety.py",
    "tests/sweeps/running/test_extend.py",
    "tests/sweeps/running/test_first_version.py",
    "tests/analysis/test_claims_preset.py",
    "tests/analysis/test_more_figures.py",
    "tests/analysis/test_report_in_browser.py",
}


def test_tests_stand_where_what_they_test_does():
    found = [
        path.relative_to(ROOT)
        for package in PACKAGES
        for path in (ROOT / "tests" / package).rglob("test_*.py")
    ]
    mirrored = {path: ROOT.joinpath(*path.parts[1:-1], path.stem.removeprefix("test_")) for path in found}
    lost = {
        str(path)
        for path, module in mirrored.items()
        if not module.with_suffix(".py").exists() and not module.is_dir()
    }
    assert lost == ACROSS


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
