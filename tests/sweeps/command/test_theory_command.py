import json
import re

import pytest

from gradatlas.study.choices.activations import ACTIVATIONS
from gradatlas.study.theory.meanfield import Structure
from gradatlas.study.theory.phase import PhasePoint, theory_row


def test_json_holds_what_theory_says(command):
    out = command("theory", "--activation", "tanh", "--sigma-w", "1.5", "--depth", "12", "--json")
    assert json.loads(out.out) == [theory_row(PhasePoint(Structure("tanh"), 1.5), depth=12)]


def test_without_an_activation_there_is_a_row_for_each(command):
    out = command("theory", "--sigma-b", "0.05")
    rows = re.findall(r"^(\w+) +1 ", out.out, re.MULTILINE)
    assert rows == list(ACTIVATIONS)
    assert "gelu: bistable" in out.out
    assert "nan" not in out.out


def test_the_table_says_where_the_correlation_of_two_inputs_ends_and_how_fast(command):
    out = command("theory", "--sigma-b", "0.05", "--sigma-w", "1.2").out
    assert re.search(r"^tanh .* 0\.414 +55\.1$", out, re.MULTILINE)
    assert re.search(r"^linear .* – +–$", out, re.MULTILINE)  # its variance grows without bound
    assert "…" not in out  # nothing is cut at 80 columns


def test_critical_takes_the_critical_weights(command):
    out = command("theory", "--activation", "tanh", "--sigma-b", "0.05", "--critical", "--json")
    (row,) = json.loads(out.out)
    assert row["sigma_w"] == row["critical_sigma_w"] == pytest.approx(1.1225, abs=1e-4)
    assert row["chi"] == pytest.approx(1, abs=1e-6)


def test_without_theory_every_number_is_null_and_the_note_says_why(command):
    out = command("theory", "--activation", "relu", "--family", "gru", "--depth", "5", "--json")
    (row,) = json.loads(out.out)
    assert row["note"] == "no theory of family gru"
    names = ("chi", "window", "gradient_decades", "correlation", "correlation_depth_scale")
    assert [row[name] for name in names] == [None] * 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--activation", "rellu"], "--activation: must be one of .* did you mean 'relu'?"),
        (["--sigma-w", "x"], "--sigma-w: must be a number, but got 'x'"),
        (["--sigma-w", "-1"], "--sigma-w: must be a number from 1e-100 to below 1e100, but got -1.0"),
        (["--input-std", "0"], "--input-std: must be a number from 1e-100 to below 1e100, but got 0.0"),
        (["--depth", "99999999"], "--depth: must be at most 10000"),
        (
            ["--plot", "/no/where/x.png", "--activation", "tanh"],
            "--plot: /no/where/x.png must lie in a folder that exists, but '/no/where' is none",
        ),
        (["--depth", "0"], "--depth: must be a whole number >= 1, but got 0"),
        (
            ["--critical", "--sigma-w", "1"],
            "--critical: takes the critical σ_w, but σ_w = 1.0 was given too; leave one out",
        ),
        (["--plot", "x.png"], "--plot: draws the diagram of one activation; add --activation NAME"),
        (["--plot", "x.gif", "--activation", "tanh"], "--plot: must end in one of .png, .svg, .pdf"),
        (
            ["--plot", "x.png", "--activation", "tanh", "--skip", "residual"],
            "--plot: the diagram shows χ where the variance has come to rest, but with a skip connection",
        ),
        (
            ["--plot", "x.png", "--activation", "tanh", "--measured", "nowhere"],
            "^gradatlas: --measured: nowhere: must be a run folder, but there is none",
        ),
        (["--measured", "runs/x"], "--measured: puts points on a phase diagram; add --plot FILE"),
    ],
)
def test_a_mistake_is_one_line(command, options, message):
    out = command("theory", *options)
    assert out.code == 2
    assert re.search(message.replace("?", r"\?"), out.err)
    assert out.err.count("\n") == 1


@pytest.mark.thorough
def test_the_diagram_is_drawn_with_a_runs_points(command, tmp_path, finished_run):
    file = tmp_path / "phase.svg"
    out = command(
        "theory", "--activation", "tanh", "--plot", str(file), "--measured", str(finished_run.folder)
    )
    assert out.code == 2  # that run has no biases
    assert "must have cells of tanh with biases" in out.err
    assert command("theory", "--activation", "tanh", "--plot", str(file)).code == 0
    assert file.stat().st_size > 10_000
