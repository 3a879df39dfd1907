"""`make mutants`: how many of a random sample of small changes of the source the tests notice.

Each change is made in a copy of the checkout under `.mutants`, never in the working tree; the tests that run
the changed line are run until one fails. A change whose tests hang or crash is noticed as well. What no test
can notice is set aside by `equivalent.toml`, entry by entry with a reason.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from tests.mutants.children import ROOT, copied_checkout, import_libraries, run_child, run_pytest
from tests.mutants.covering import PACKAGES, CoverageMap
from tests.mutants.sites import Mutant, changed_lines, mutants

_FOLDER = ROOT / ".mutants"
Site = tuple[Mutant, Callable[[], str]]  # and what gives the changed source
_EQUIVALENT = Path(__file__).with_name("equivalent.toml")


def sites(root: Path) -> Iterator[Site]:
    """All mutants of the three packages."""
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            yield from mutants(root, str(path.relative_to(root)))


class _Chosen:
    """A pytest plugin that runs the chosen tests in their order, and tells which one failed."""

    def __init__(self, names: list[str], target: Path) -> None:
        self.order = {name: place for place, name in enumerate(names)}
        self.target = target

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        chosen = [item for item in items if item.nodeid in self.order]
        items[:] = sorted(chosen, key=lambda item: self.order[item.nodeid])

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.target.write_text(report.nodeid)


@dataclass(frozen=True)
class Result:
    """How the tests took a mutant; `by` names the test that failed, or what else happened."""

    mutant: Mutant
    noticed: bool
    by: str
    reason: str = ""  # why it is set aside


Tests = dict[str, dict[str, float]]  # by file, in the order to run them, with the seconds that each takes


def tried(mutant: Mutant, rewritten: str, copy: Path, tests: Tests, budget: float) -> Result:
    """The result of running the tests, in their order up to a budget of their usual seconds, on a mutant."""
    names, seconds = _affordable(tests, budget)
    failed, log = copy.with_suffix(".failed"), copy.with_suffix(".log")
    failed.unlink(missing_ok=True)
    slowest = max(taken for file in tests.values() for taken in file.values())
    files = dict.fromkeys(name.split("::")[0] for name in names)
    arguments = ["-x", f"--timeout={60 + 5 * slowest:.0f}", *files]

    def work() -> int:
        # What is compiled from the change is not kept, neither by Python nor by Numba.
        sys.dont_write_bytecode = True
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        if "numba" in rewritten:
            os.environ["NUMBA_CACHE_DIR"] = os.environ["TMPDIR"]
        return run_pytest(arguments, _Chosen(names, failed))

    with _changed(copy / mutant.path, rewritten):
        code = run_child(copy, work, seconds=120 + 5 * seconds, log=log)
    if failed.exists():
        return Result(mutant, True, failed.read_text())
    if code in (0, 5):  # 5: none of them is there any more
        return Result(mutant, False, f"{len(names)} of {sum(map(len, tests.values()))} tests passed")
    ends = {None: "no end within the time", 1: "no import", 2: "no import", 4: "no import"}
    return Result(mutant, True, ends.get(code, f"the tests' process ended with {code}"))


def _affordable(tests: Tests, budget: float) -> tuple[list[str], float]:
    """The tests to run and how long they take; in each file the quickest first, and at least one."""
    names, spent = [], 0.0
    for file in tests.values():
        for name, seconds in sorted(file.items(), key=lambda item: item[1]):
            if spent + seconds <= budget or not names:
                names.append(name)
                spent += seconds
    return names, spent


@contextmanager
def _changed(path: Path, text: str) -> Iterator[None]:
    """The file with another text; then as it was, its time too, by which what is compiled of it is known."""
    before, source = path.stat(), path.read_text(encoding="utf-8")
    try:
        path.write_text(text, encoding="utf-8")
        yield
    finally:
        path.write_text(source, encoding="utf-8")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def reason_to_set_aside(mutant: Mutant, known: dict[str, list[dict[str, Any]]]) -> str:
    """Why no test can notice it, by an entry for this very change or by a rule for its option; or ""."""
    for entry in known["equivalent"]:
        if (entry["file"], entry["removed"], entry["added"]) == (mutant.path, mutant.removed, mutant.added):
            return str(entry["reason"])
    for rule in known["rule"]:
        if mutant.option in rule["options"] and any(fnmatch(mutant.path, files) for files in rule["files"]):
            return f"{rule['name']}: {rule['reason']}"
    return ""


def said(result: Result) -> str:
    """A result in two or three lines: where, what changed, and how to run it again."""
    mutant = result.mutant
    lines = [f"{mutant.path}:{mutant.line}: {result.by}", f"    - {mutant.removed}", f"    + {mutant.added}"]
    again = f"    again: make mutants ONLY={mutant.name}"
    return "\n".join([*lines, f"    {result.reason}" if result.reason else again])


def report(results: list[Result]) -> str:
    """The share noticed, what is set aside with its reasons, and every survivor."""
    aside = [result for result in results if result.reason]
    counted = [result for result in results if not result.reason]
    if not counted:
        return "nothing was tried that counts"
    noticed = sum(result.noticed for result in counted)
    share = f"{noticed} of {len(counted)} noticed, {noticed / len(counted):.1%}; {len(aside)} set aside"
    other_ends = Counter(result.by for result in counted if result.noticed and "::" not in result.by)
    lines = [f"set aside: {said(result)}" for result in aside]
    lines += [f"survived: {said(result)}" for result in counted if not result.noticed]
    lines += [f"noticed without a failed test: {number} times {end}" for end, number in other_ends.items()]
    return "\n".join([*lines, share])


class Trials:
    """The sample, tried by some processes at a time, each of which has a copy of the checkout."""

    def __init__(self, sample: list[Site], covering: CoverageMap, budget: float) -> None:
        self.sample, self.covering, self.budget = sample, covering, budget
        self.known = tomllib.loads(_EQUIVALENT.read_text(encoding="utf-8"))
        self.copy = covering.copy

    def results(self, jobs: int) -> Iterator[Result]:
        """Those of the sample, in its order."""
        context = multiprocessing.get_context("fork")
        copies = context.Queue()
        for job in range(jobs):
            copies.put(copied_checkout(_FOLDER / (f"copy-{job}" if job else "copy")))
        # What a site's function holds cannot be sent, but forks have it.
        with context.Pool(jobs, initializer=self._take_copy, initargs=(copies,)) as pool:
            yield from pool.imap(_attempt, range(len(self.sample)))

    def _take_copy(self, copies: Any) -> None:
        global _TRIALS
        _TRIALS, self.copy = self, copies.get()

    def attempt(self, number: int) -> Result:
        """The result of one."""
        site, rewrite = self.sample[number]
        rewritten = rewrite()
        removed, added = changed_lines((self.copy / site.path).read_text(encoding="utf-8"), rewritten)
        mutant = replace(site, removed=removed, added=added)
        tests = self.covering.tests(site.path, site.line)
        result = tried(mutant, rewritten, self.copy, tests, self.budget)
        return result if result.noticed else replace(result, reason=reason_to_set_aside(mutant, self.known))


_TRIALS: Trials | None = None


def _attempt(number: int) -> Result:
    assert _TRIALS is not None
    return _TRIALS.attempt(number)


def main() -> None:
    """Tries a sample, or what is named."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--sample", type=int, default=150, help="how many")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--files", default="*", help="of which files, as a pattern")
    parser.add_argument("--only", default="", help="those with these names")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--budget", type=float, default=600.0, help="seconds of tests for one of them")
    chosen = parser.parse_args()
    import_libraries()
    copy = copied_checkout(_FOLDER / "copy")
    found = [site for site in sites(copy) if fnmatch(site[0].path, chosen.files)]
    sample = random.Random(chosen.seed).sample(found, min(chosen.sample, len(found)))
    if chosen.only:
        sample = [site for site in found if site[0].name in chosen.only.split()]
    if not sample:
        parser.error(f"there is no such mutant: {chosen.only or chosen.files}")
    covering = CoverageMap(_FOLDER / "coverage", copy)
    covering.update()
    print(f"{len(sample)} of {len(found)} mutants, seed {chosen.seed}", flush=True)
    results = []
    for result in Trials(sample, covering, chosen.budget).results(chosen.jobs):
        results.append(result)
        state = "noticed" if result.noticed else "set aside" if result.reason else "survived"
        print(f"{len(results)} {state} {said(result)}", flush=True)
    print(report(results))


if __name__ == "__main__":
    main()
