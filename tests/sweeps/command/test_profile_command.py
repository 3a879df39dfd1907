"""`gradatlas profile`: options that follow the parameters, tables, JSON, pictures, refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gradatlas.study.choices.families import FAMILIES
from gradatlas.study.records import COLUMNS
from gradatlas.study.single import median_row, profile_rows
from gradatlas.study.trial import DEFAULTS, PARAMETERS, RECURRENT, Parameter, Trial
from gradatlas.sweeps.command.profile_tables import shown_layers

SMALL = ("--depth", 4, "--width", 8, "--batch-size", 8)
START = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


def _json(ended):
    assert ended.code == 0, ended.err

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(ended.out, parse_constant=refuse)


def test_every_parameter_that_changes_the_profile_is_an_option(command, monkeypatch):
    new = Parameter("number", "something not thought of yet", low=0.0)
    monkeypatch.setitem(PARAMETERS, "new_thing", new)
    monkeypatch.setitem(DEFAULTS, "new_thing", 7.5)
    text = command("profile", "--help").out
    for name, parameter in PARAMETERS.items():
        assert (f"--{name.replace('_', '-')} " in text) is not parameter.training, name
    assert "something not thought of yet. Default: 7.5." in text


def test_every_kind_of_option_reaches_the_trial(command):
    given = (
        "--weight-gain",
        1.5,
        "--norm",
        "layer",
        "--norm-position",
        "after",
        "--init",
        "he",
        "--seeds",
        3,
    )
    found = _json(command("profile", *SMALL, *given, "--input-std", 0.5, "--json"))
    trial = Trial(
        depth=4, width=8, batch_size=8, weight_gain=1.5, norm="layer", norm_position="after", init="he"
    )
    rows = profile_rows(trial, seeds=3, input_std=0.5)
    assert found == {"median": median_row(rows), "seeds": rows}
    assert set(found["seeds"][0]) - {"regime", "input_std"} <= set(COLUMNS)


def test_a_task_gives_the_inputs(command):
    found = _json(command("profile", *SMALL, "--task", "digits", "--json"))
    rows = profile_rows(Trial(depth=4, width=8, batch_size=8), input_std=None)
    assert found["seeds"] == rows
    assert found["median"]["task"] == "digits"


@pytest.mark.parametrize("family", RECURRENT)
def test_a_recurrent_family_sees_gaussian_sequences(command, family):
    found = _json(command("profile", *SMALL, "--family", family, "--seeds", 2, "--json"))
    trial = Trial(family=family, depth=4, width=8, batch_size=8, task=None)
    assert found["seeds"] == profile_rows(trial, seeds=2)
    assert command("profile", *SMALL, "--family", family).code == 0


def test_a_batch_of_gaussian_inputs_has_any_size(command):
    found = _json(command("profile", "--depth", 2, "--width", 4, "--batch-size", 2000, "--json"))
    assert found["median"]["batch_size"] == 2000
    ended = command("profile", "--batch-size", 2000, "--task", "digits")
    assert ended.code == 2
    assert "--batch-size: must be <= 1437, the training examples of task 'digits'" in ended.err


def test_a_gradient_of_zero_is_null_in_json_and_vanishing(command):
    found = _json(command("profile", "--depth", 60, "--width", 1, "--json"))
    assert found["median"]["gradient_decades"] is None
    assert found["median"]["regime"] == "vanishing"


def test_the_terminal_shows_seeds_median_and_layers(command):
    ended = command("profile", *SMALL, "--seeds", 3, "--activation", "sigmoid")
    rows = profile_rows(Trial(depth=4, width=8, batch_size=8, activation="sigmoid"), seeds=3)
    lines = [line.replace("−", "-").split() for line in ended.out.splitlines()]
    for label, row in [*((str(row["seed"]), row) for row in rows), ("median", median_row(rows))]:
        numbers = ("gradient_decades", "forward_decades", "weight_gradient_decades", "gradient_slope")
        start = [label, *(f"{row[name]:.3f}" for name in numbers), "±", f"{row['gradient_slope_stderr']:.3f}"]
        assert [*start, row["regime"], "4", "4", "4"] in lines
    first = [line for line in lines if line[:1] == ["1"]][-1]
    assert float(first[1]) == pytest.approx(median_row(rows)["gradient_profile"][0], abs=5e-4)
    assert max(map(len, ended.out.splitlines())) <= 80
    assert "norm" not in ended.out.split("layer ")[-1].splitlines()[0]


@pytest.mark.parametrize("depth", [1, 2])
def test_a_net_too_shallow_for_a_slope_shows_a_dash(command, depth):
    ended = command("profile", "--depth", depth, "--width", 8)
    assert ended.code == 0
    (line,) = [line.split() for line in ended.out.splitlines() if line.split()[-4:-3] == ["stable"]]
    assert line[4] == "–"
    assert "±" not in line


def test_the_table_of_a_deep_net_is_abridged(command):
    assert shown_layers(20) == list(range(1, 21))
    for depth in (21, 22, 100, 1000):
        shown = shown_layers(depth)
        assert len(shown) == 20
        assert shown[:4] == [1, 2, 3, 4]
        assert shown[-4:] == [depth - 3, depth - 2, depth - 1, depth]
    out = command("profile", "--depth", 100, "--width", 4, "--activation", "tanh").out
    assert "20 of 100 layers are shown" in out


@pytest.mark.parametrize("suffix", START)
def test_a_picture_has_the_format_of_its_suffix(command, tmp_path, suffix):
    file = tmp_path / f"profile.{suffix}"
    ended = command("profile", *SMALL, "--seeds", 2, "--plot", file)
    assert ended.code == 0
    assert ended.out == f"plot: {file}\n"
    assert file.read_bytes().startswith(START[suffix])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--depth", "ten"], "--depth: must be a whole number >= 1, but got 'ten'"),
        (["--depth", "0"], "--depth: must be a whole number >= 1, but got 0"),
        (["--weight-gain", "nan"], "--weight-gain: must be a finite number >= 0, but got nan"),
        (["--activation", "rel"], "--activation: must be one of"),
        (["--norm", "batch", "--batch-size", "1"], "--batch-size: must be >= 2 with norm 'batch'"),
        (["--task", "off"], "--task: must be one of digits"),
        (["--family", "rnn", "--task", "digits"], "--task: must be a sequence with family 'rnn'"),
        (["--task", "digit"], "did you mean 'digits'?"),
        (["--seeds", "0"], "--seeds: must be a whole number >= 1 and < 1e+06, but got 0"),
        (["--seeds", "-1"], "--seeds: must be a whole number >= 1 and < 1e+06, but got -1"),
        (["--input-std", "0"], "--input-std: must be a finite number > 0, but got 0.0"),
        (["--input-std", "wide"], "--input-std: must be a finite number > 0, but got 'wide'"),
        (["--input-std", "2", "--task", "digits"], "--input-std: is of Gaussian inputs"),
        (["--plot", "profile.jpg"], "--plot: must end in one of .png, .svg, .pdf, but got 'profile.jpg'"),
        (["--plot", "none/profile.png"], "must lie in a folder that exists, but 'none' is none"),
        (["--plot", "profile.png", "--json"], "--plot: cannot be combined with --json"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(command, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    ended = command("profile", *arguments)
    assert ended.code == 2
    assert ended.out == ""
    assert message in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_command_starts_without_torch():
    program = "import sys, gradatlas.sweeps.cli; print('torch' in sys.modules)"
    root = Path(__file__).parents[3]
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root)
    assert ended.stdout.strip() == "False", ended.stderr


@pytest.mark.parametrize("family", FAMILIES)
def test_the_head_names_the_parameters_that_a_family_uses(command, family):
    head = command("profile", "--family", family, "--depth", 8, "--width", 4, "--activation", "tanh").out
    assert ("tanh" in head.splitlines()[0]) == FAMILIES[family].has_activation
