"""Sweep files: what is read, and what each mistake is told."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from gradatlas.sweeps.errors import SpecError
from gradatlas.sweeps.sampling.domains import Choices, Range
from gradatlas.sweeps.spec.presets import preset_files
from gradatlas.sweeps.spec.reference import reference
from gradatlas.sweeps.spec.sweep import dump_sweep, load_sweep, parse_sweep

GOOD = """
question = "Q?"
[scientific]
depth = { low = 2, high = 64, log = true }
clip_norm = ["off", 0.1]
[nuisance]
learning_rate = { low = 1e-4, high = 1.0, log = true }
[fixed]
width = 16
[search]
points = 10
nuisance_draws = 3
seeds = 2
"""


def _parsed(text: str):
    return parse_sweep(tomllib.loads(text), "study.toml")


def test_a_sweep_file_is_read_with_its_roles_and_defaults():
    sweep = _parsed(GOOD)
    (part,) = sweep.parts
    assert part.name == "main"
    assert part.scientific == {"depth": Range(2, 64, True, True), "clip_norm": Choices(("off", 0.1))}
    assert part.nuisance == {"learning_rate": Range(1e-4, 1.0, True, False)}
    assert part.fixed == {"width": 16}
    assert sweep.trials == 10 * 3 * 2
    assert (sweep.search.sampler, sweep.schedule.pack_size, sweep.limits.stable_decades) == (
        "qmc",
        "auto",
        1.3,
    )


def test_parts_take_from_the_file_what_they_do_not_name():
    sweep = _parsed(
        GOOD
        + """
[[part]]
name = "shallow"
scientific = { depth = [2, 3] }
search = { points = 4 }
[[part]]
name = "wide"
fixed = { width = 128, clip_norm = 1.0 }
"""
    )
    shallow, wide = sweep.parts
    assert shallow.scientific["depth"] == Choices((2, 3))
    assert (shallow.points, shallow.fixed["width"]) == (4, 16)
    assert wide.fixed == {"width": 128, "clip_norm": 1.0}
    assert set(wide.scientific) == {"depth"}  # clip_norm is fixed in this part
    assert sweep.trials == (4 + 10) * 3 * 2


@pytest.mark.parametrize(
    "text", [GOOD, GOOD + '[[part]]\nname = "a"\n[[part]]\nname = "b"\nsearch = { points = 3 }']
)
def test_a_resolved_sweep_file_gives_the_same_sweep(text):
    sweep = _parsed(text)
    again = _parsed(dump_sweep(sweep, "run"))
    assert (again.parts, again.search, again.schedule, again.limits) == (
        sweep.parts,
        sweep.search,
        sweep.schedule,
        sweep.limits,
    )


def test_every_table_and_domain_in_one_file():
    sweep = _parsed(
        """
question = "Where do gradients vanish or explode, by depth, weight scale and activation?"
[scientific]
depth = { low = 2, high = 64, log = true }
weight_gain = { low = 0.25, high = 16.0, log = true, levels = 8 }
activation = ["sigmoid", "tanh", "relu"]
norm = ["none", "batch"]
skip = ["none", "residual"]
clip_norm = ["off", 0.1, 1.0, 10.0]
[nuisance]
learning_rate = { low = 1e-4, high = 1.0, log = true }
[fixed]
width = 64
init = "lecun"
task = "digits"
steps = 100
[search]
sampler = "qmc"
points = 2000
nuisance_draws = 1
seeds = 1
seed = 0
[schedule]
pack_size = "auto"
cpus_per_pack = 1
gpus_per_pack = 0
max_failures = 2
[storage]
runs = "runs"
"""
    )
    assert sweep.trials == 2000
    assert sweep.schedule.gpus_per_pack == 0.0


@pytest.mark.parametrize("name", preset_files())
def test_every_preset_is_a_valid_sweep(name):
    assert load_sweep(preset_files()[name]).trials > 0


BAD = {
    "unknown table": ("[nuisanse]\na = 1", r"unknown table 'nuisanse'; did you mean 'nuisance'\?"),
    "unknown parameter": (
        "[scientific]\ndeph = [2]",
        r"scientific: unknown parameter 'deph'; did you mean 'depth'\?",
    ),
    "unknown key": ("[search]\npoint = 2", r"search: unknown key 'point'; did you mean 'points'\?"),
    "low above high": (
        "[scientific]\ndepth = { low = 64, high = 8 }",
        r"scientific\.depth: low < high must hold, but 64 >= 8",
    ),
    "low equals high": ("[scientific]\ndepth = { low = 8, high = 8 }", r"low < high must hold, but 8 >= 8"),
    "log of zero": (
        "[scientific]\nbias_std = { low = 0, high = 1, log = true }",
        r"low > 0 must hold with log = true, but low is 0",
    ),
    "no high": ("[scientific]\ndepth = { low = 8 }", r"must have low and high, but high is missing"),
    "misspelt range": (
        "[scientific]\ndepth = { lo = 8, high = 9 }",
        r"unknown key 'lo'; a range has low, high",
    ),
    "empty choice": ("[scientific]\ndepth = []", r"scientific\.depth: must list at least one value"),
    "double choice": ("[scientific]\ndepth = [2, 2]", r"values must differ"),
    "scalar axis": ("[scientific]\ndepth = 3", r"scientific\.depth: must be a list .* belongs in \[fixed\]"),
    "range of names": ("[scientific]\nactivation = { low = 1, high = 2 }", r"must be a list of names"),
    "unknown activation": (
        '[scientific]\nactivation = ["relu", "rel"]',
        r"scientific\.activation: must be one of .*, but got 'rel'; did you mean 'relu'\?",
    ),
    "negative steps": ("[fixed]\nsteps = -1", r"fixed\.steps: must be a whole number >= 0, but got -1"),
    "wrong type": ('[fixed]\nwidth = "wide"', r"fixed\.width: must be a whole number >= 1, but got 'wide'"),
    "boolean number": ("[fixed]\nwidth = true", r"fixed\.width: must be a whole number"),
    "fractional depth": ("[fixed]\ndepth = 2.5", r"fixed\.depth: must be a whole number"),
    "not finite": ("[fixed]\nweight_gain = nan", r"fixed\.weight_gain: must be a finite number"),
    "list in fixed": ("[fixed]\nwidth = [1, 2]", r"fixed\.width: must be one value"),
    "clip of zero": ("[fixed]\nclip_norm = 0", r'fixed\.clip_norm: must be a positive number or "off"'),
    "range with off": ('[scientific]\nclip_norm = { low = "off", high = 1 }', r'list "off" among values'),
    "two roles": ("[fixed]\ndepth = 3\n[scientific]\ndepth = [2, 3]", r"depth: must have one role"),
    "points of zero": ("[search]\npoints = 0", r"search\.points: must be >= 1, but got 0"),
    "points in words": (
        '[search]\npoints = "many"',
        r"search\.points: must be a whole number, but got 'many'",
    ),
    "points as float": ("[search]\npoints = 2.0", r"search\.points: must be a whole number, but got 2\.0"),
    "unknown sampler": ('[search]\nsampler = "qcm"', r"search\.sampler: .* got 'qcm'; did you mean 'qmc'\?"),
    "pack size": (
        '[schedule]\npack_size = "big"',
        r'schedule\.pack_size: must be "auto" or a whole number >= 1',
    ),
    "pack of zero": (
        "[schedule]\npack_size = 0",
        r'schedule\.pack_size: must be "auto" or a whole number >= 1',
    ),
    "limits": (
        "[limits]\nstable_decades = 4.0",
        r"limits\.severe_decades: must be >= stable_decades, but 3 < 4",
    ),
    "batch of one with batch norm": (
        '[scientific]\nnorm = ["none", "batch"]\n[fixed]\nbatch_size = 1',
        r"batch_size: must be >= 2 with norm 'batch'",
    ),
    "batch above the data": ("[fixed]\nbatch_size = 5000", r"batch_size: must be <= 1437"),
    "table as value": ("search = 3", r"search: must be a table, but got 3"),
    "question": ("question = 3", r"question: must be a string"),
    "part without name": ("[[part]]\nfixed = { width = 3 }", r"part 1: name: must be a non-empty string"),
    "parts of one name": ('[[part]]\nname = "a"\n[[part]]\nname = "a"', r"part: names must differ"),
    "unknown part key": ('[[part]]\nname = "a"\nseeds = 3', r"part 1: unknown key 'seeds'"),
}


@pytest.mark.parametrize("mistake", BAD)
def test_a_mistake_is_told_in_one_line_with_rule_and_value(mistake):
    text, message = BAD[mistake]
    with pytest.raises(SpecError, match=message) as caught:
        _parsed(text)
    assert str(caught.value).startswith("study.toml: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_toml_is_told_with_its_place(tmp_path):
    (tmp_path / "study.toml").write_text("depth = = 3")
    with pytest.raises(SpecError, match=r"study\.toml: not TOML: .*line 1, column 9"):
        load_sweep(tmp_path / "study.toml")


def test_a_missing_file_and_a_folder_are_told(tmp_path):
    with pytest.raises(SpecError, match="there is no such file; `gradatlas presets` lists"):
        load_sweep(tmp_path / "none.toml")
    with pytest.raises(SpecError, match="must be a regular file, but is a folder"):
        load_sweep(tmp_path)


def test_set_overrides_keys_with_toml_values(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(GOOD)
    sweep = load_sweep(path, ("search.points=7", "scientific.depth=[3, 4]", "fixed.activation=tanh"))
    assert sweep.parts[0].points == 7
    assert sweep.parts[0].scientific["depth"] == Choices((3, 4))
    assert sweep.parts[0].fixed["activation"] == "tanh"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.points", "must read table.key=VALUE"),
        ("=3", "must read table.key=VALUE"),
        ("search.points.x=3", "'points' is not a table"),
        ("search.points=[1,", "the value is not TOML"),
        ("search.pints=3", "unknown key 'pints'; did you mean 'points'"),
        ("search.points=many", "must be a whole number, but got 'many'"),
    ],
)
def test_a_bad_set_is_told(tmp_path, override, message):
    path = tmp_path / "study.toml"
    path.write_text(GOOD)
    with pytest.raises(SpecError, match=message):
        load_sweep(path, (override,))


def test_the_page_of_the_sweep_file_holds_the_reference():
    page = (Path(__file__).parents[3] / "docs" / "sweep-file.md").read_text(encoding="utf-8")
    assert reference() in page, (
        "run `python -m gradatlas.sweeps.spec.reference` and put its two tables into docs/sweep-file.md"
    )
