"""Which tests run which lines, from one run of all tests under coverage; kept until a test file changes.

A line is known by its function and how far below its first line it stands, and the function by its text: so
the map stays good for what was not edited. What runs at import, as machine code or in another process is not
seen by coverage: then all tests that touch the module are taken, and those of the mirrored file.
"""

from __future__ import annotations

import ast
import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mutants.children import run_child, run_pytest

PACKAGES = ("study", "sweeps", "analysis")
_LIMIT = 1800.0  # seconds for one test file


@dataclass(frozen=True)
class Function:
    """A function of a module: its lines and what its text is known by."""

    name: str
    first: int
    last: int
    digest: str


def functions(source: str) -> list[Function]:
    """All functions of a source, the inner ones after those they are in."""
    lines = source.splitlines()

    def inside(node: ast.AST, names: tuple[str, ...]) -> Iterator[Function]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                name = (*names, child.name)
                if not isinstance(child, ast.ClassDef):
                    last = child.end_lineno or child.lineno
                    yield Function(
                        ".".join(name), child.lineno, last, _digest(lines[child.lineno - 1 : last])
                    )
                yield from inside(child, name)
            else:
                yield from inside(child, names)

    return list(inside(ast.parse(source), ()))


def _digest(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def function_at(found: list[Function], line: int) -> Function | None:
    """The innermost function that a line is in."""
    return next((each for each in reversed(found) if each.first <= line <= each.last), None)


class _Contexts:
    """A pytest plugin that tells coverage which test runs, and keeps how long it took."""

    def __init__(self, coverage: Any) -> None:
        self.coverage = coverage
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.coverage.switch_context(nodeid)
        self.seconds[nodeid] = time.perf_counter()

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed or report.skipped:
            self.failed.add(report.nodeid)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.coverage.switch_context("")
        self.seconds[nodeid] = round(time.perf_counter() - self.seconds[nodeid], 4)


def covered(copy: Path, test_file: str, target: Path) -> None:
    """Runs a test file in this process, under coverage, and writes what it covers."""
    from coverage import Coverage

    coverage = Coverage(data_file=None, config_file=False, source=[str(copy / name) for name in PACKAGES])
    contexts = _Contexts(coverage)
    coverage.start()
    run_pytest([test_file], contexts)
    coverage.stop()
    data = coverage.get_data()
    passed = {name: taken for name, taken in contexts.seconds.items() if name not in contexts.failed}
    numbers = {"": -1} | {name: number for number, name in enumerate(passed)}
    found: dict[str, dict[str, list[int]]] = {}
    for file in (name for name in data.measured_files() if name.endswith(".py")):  # no templates
        path = str(Path(file).relative_to(copy.resolve()))
        known = functions((copy / path).read_text(encoding="utf-8"))
        by_place: dict[str, set[int]] = defaultdict(set)
        for line, names in data.contexts_by_lineno(file).items():
            function = function_at(known, line)
            if function is not None and line > function.first:
                place = f"{function.name} {function.digest} {line - function.first}"
                by_place[place] |= {numbers[name] for name in names if name in numbers}
        found[path] = {place: sorted(tests) for place, tests in by_place.items()}
    written = {"tests": passed, "failed": sorted(contexts.failed), "covered": found}
    target.write_text(json.dumps(written, separators=(",", ":")))


class CoverageMap:
    """What each test file covers, kept in a folder with a file for each."""

    def __init__(self, folder: Path, copy: Path) -> None:
        self.folder, self.copy = folder, copy
        folder.mkdir(parents=True, exist_ok=True)
        self.by_file: dict[str, dict[str, Any]] = {}

    def update(self) -> None:
        """Runs the test files that are new or changed since they were run."""
        names = sorted(str(path.relative_to(self.copy)) for path in (self.copy / "tests").rglob("test_*.py"))
        for name in names:
            digest = hashlib.sha256((self.copy / name).read_bytes()).hexdigest()[:12]
            kept = self.folder / f"{name.replace('/', '+')}.{digest}.json"
            if not kept.exists():
                for old in self.folder.glob(f"{name.replace('/', '+')}.*"):
                    old.unlink()
                print(f"coverage of {name}", flush=True)
                log = self.folder / "log"

                def work(name: str = name, kept: Path = kept) -> int:
                    covered(self.copy, name, kept)
                    return 0

                if run_child(self.copy, work, seconds=_LIMIT, log=log) != 0:
                    raise SystemExit(f"{name}: its coverage was not measured; see {log}")
            self.by_file[name] = json.loads(kept.read_text())

    def tests(self, path: str, line: int) -> dict[str, dict[str, float]]:
        """By test file the tests that may notice a change of a line, with their seconds, quick files first.

        Where one test of a file alone ran the line, a fixture or a cache that others share may have: then all
        tests of the file are taken, as of the file that mirrors the module.
        """
        function = function_at(functions((self.copy / path).read_text(encoding="utf-8")), line)
        name = f"{function.name} " if function else ""
        exact = f"{function.name} {function.digest} {line - function.first}" if function else "no such place"
        mirrors, chosen = _mirrors(path), {}
        for start in (exact, name, ""):
            chosen = {file: found for file in self.by_file if (found := self._covering(file, path, start))}
            if chosen:
                break
        chosen |= {file: {-1} for file in mirrors & self.by_file.keys()}
        tests = {file: self._timed(file, numbers) for file, numbers in chosen.items()}
        weight = {
            file: sum(timed.values()) * (0.2 if file in mirrors else 1) for file, timed in tests.items()
        }
        return {file: tests[file] for file in sorted(tests, key=weight.__getitem__)}

    def _covering(self, file: str, path: str, start: str) -> set[int]:
        covered = self.by_file[file]["covered"].get(path, {})
        return {number for place, tests in covered.items() if place.startswith(start) for number in tests}

    def _timed(self, file: str, numbers: set[int]) -> dict[str, float]:
        every = self.by_file[file]["tests"]
        if -1 in numbers or len(numbers) == 1:
            return every
        return {name: seconds for number, (name, seconds) in enumerate(every.items()) if number in numbers}


def _mirrors(path: str) -> set[str]:
    """The test files of a module, and of the folders that it is in."""
    places = [Path(path).with_suffix(""), *Path(path).parents]
    return {f"tests/{place.parent}/test_{place.name}.py" for place in places}
