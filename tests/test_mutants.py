"""The small changes of `make mutants`: which are made, which are not, and whether the tests see them."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.mutants.__main__ import Result, reason_to_set_aside, report
from tests.mutants.covering import function_at, functions
from tests.mutants.sites import Mutant, changed_lines, mutants

SOURCE = '''"""Doc 1 + 1."""
from __future__ import annotations
from functools import lru_cache

@lru_cache(maxsize=3)
def first(x: tuple[int, 1], *, flag: bool = True) -> int:
    """Says 2 + 2."""
    if flag and x[1:] < (5,):
        print(x, sep=" ", flush=bool(x))
    return max(x)


class Thing:
    def __repr__(self) -> str:
        return "thing" * 2
'''


def _changes(tmp_path: Path, source: str) -> dict[str, set[str]]:
    (tmp_path / "module.py").write_text(source)
    found: dict[str, set[str]] = {}
    for _, rewritten in mutants(tmp_path, "module.py"):
        removed, added = changed_lines(source, rewritten())
        assert removed != added
        found.setdefault(removed, set()).add(added)
    return found


def test_a_source_offers_its_small_changes_and_no_others(tmp_path):
    assert _changes(tmp_path, SOURCE) == {
        "def first(x: tuple[int, 1], *, flag: bool = True) -> int:": {
            "def first(x: tuple[int, 1], *, flag: bool = False) -> int:"
        },
        "if flag and x[1:] < (5,):": {
            "if flag or x[1:] < (5,):",
            "if flag and x[2:] < (5,):",
            "if flag and x[0:] < (5,):",
            "if flag and x[:] < (5,):",
            "if flag and x[1:] <= (5,):",
            "if flag and x[1:] < (6,):",
            "if flag and x[1:] < (4,):",
        },
        'print(x, sep=" ", flush=bool(x))': {'print(x, sep=" ", )', "pass"},
        "return max(x)": {"return min(x)"},
    }


def test_a_mutant_is_named_by_where_it_is_and_knows_its_function_and_option(tmp_path):
    (tmp_path / "module.py").write_text(SOURCE)
    found = {mutant.name: mutant for mutant, _ in mutants(tmp_path, "module.py")}
    assert len(found) == 11
    flush = found["module.py:9:8:option_left_out:0"]
    assert (flush.function, flush.option) == ("first", "flush")


def test_a_line_belongs_to_the_innermost_function():
    known = functions("def a():\n    def b():\n        return 1\n    return b\n\n\nx = 1\n")
    assert [getattr(function_at(known, line), "name", None) for line in (2, 3, 4, 7)] == [
        "a.b",
        "a.b",
        "a",
        None,
    ]


def _result(noticed: bool, reason: str = "") -> Result:
    place = ("study/x.py", 1, 2, "operator", 0)
    mutant = Mutant(*place, option="strict", removed="a", added="b", function="f")
    return Result(mutant, noticed, "9 of 9 tests passed", reason)


def test_the_share_leaves_out_what_is_set_aside_and_every_survivor_is_told():
    told = report([_result(True), _result(True), _result(False), _result(False, "no test can")])
    assert "2 of 3 noticed, 66.7%; 1 set aside" in told
    assert told.count("survived: study/x.py:1") == 1
    assert told.count("make mutants ONLY=study/x.py:1:2:operator:0") == 1
    assert "no test can" in told


def test_what_is_set_aside_has_a_reason_and_is_still_in_the_source():
    known = tomllib.loads((Path(__file__).parent / "mutants/equivalent.toml").read_text(encoding="utf-8"))
    assert set(known) == {"rule", "equivalent"}
    for entry in (*known["rule"], *known["equivalent"]):
        assert len(entry["reason"]) > 15
    for entry in known["equivalent"]:
        source = (Path(__file__).parents[1] / entry["file"]).read_text(encoding="utf-8")
        lines = {line.strip() for line in source.splitlines()}
        assert entry["removed"] in lines, f"no such line any more; remove the entry: {entry}"
        assert entry["removed"] != entry["added"]


def test_a_rule_holds_for_its_options_in_its_files_alone():
    rule = {"name": "n", "files": ["study/*"], "options": ["strict"], "reason": "r"}
    mutant = _result(False).mutant
    assert reason_to_set_aside(mutant, {"rule": [rule], "equivalent": []}) == "n: r"
    assert not reason_to_set_aside(mutant, {"rule": [rule | {"files": ["sweeps/*"]}], "equivalent": []})
    assert not reason_to_set_aside(mutant, {"rule": [rule | {"options": ["s"]}], "equivalent": []})
    entry = {"file": "study/x.py", "removed": "a", "added": "b", "reason": "same"}
    assert reason_to_set_aside(mutant, {"rule": [], "equivalent": [entry]}) == "same"
    assert not reason_to_set_aside(mutant, {"rule": [], "equivalent": [entry | {"added": "c"}]})


# In a process of its own: it forks, and what it forks runs pytest.
PROGRAM = """
import sys
from pathlib import Path
from tests.mutants import __main__ as program
from tests.mutants.sites import mutants
copy = Path(sys.argv[1])
tests = {"tests/test_module.py": {"tests/test_module.py::test_last": 0.1}}
for mutant, rewrite in mutants(copy, "module.py"):
    print(mutant.operator, program.tried(mutant, rewrite(), copy, tests, 9.0).noticed)
print((copy / "module.py").read_text() == "def last(items):\\n    return [*items][-1] if items else 0.0\\n")
"""


@pytest.mark.thorough
def test_the_tests_run_on_the_change_and_the_file_is_as_it_was_after(tmp_path):
    (tmp_path / "module.py").write_text("def last(items):\n    return [*items][-1] if items else 0.0\n")
    (tmp_path / "tests").mkdir()
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\nmarkers = ['slow', 'cluster']\n")
    (tmp_path / "tests/test_module.py").write_text(
        "from module import last\n\ndef test_last():\n    assert last([1, 2, 3]) == 3\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split("\n")[:-1] == [
        "operator_if_exp True",
        "operator_if_exp False",  # no test takes an empty list
        "operator_swap_op True",
        "operator_number True",
        "one_less True",
        "operator_number False",
        "one_less False",
        "True",
    ]
