"""`import gradatlas`: what it offers is what the commands say, and importing it costs nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import polars as pl
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from polars.testing import assert_frame_equal

import gradatlas
from gradatlas.analysis.opened import TABLES
from gradatlas.analysis.table_files import write_tables
from gradatlas.study.experiment import results
from gradatlas.sweeps import cli
from gradatlas.sweeps.running.runs import create_run
from gradatlas.sweeps.spec.sweep import load_sweep
from tests.analysis.conftest import plant_run, row, study_rows

SMALL: dict[str, Any] = {"depth": 4, "width": 8, "batch_size": 8}
Said = Callable[..., str]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """What the command prints, on standard output or as its error."""

    def call(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["gradatlas", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit):
            cli.main()
        captured = capsys.readouterr()
        return captured.out or captured.err

    return call


def _options(settings: dict[str, Any]) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]


def _json(text: str) -> Any:
    """Strict JSON: NaN and Infinity are refused."""
    return json.loads(text, parse_constant=pytest.fail)


def test_importing_it_imports_no_heavy_library():
    program = "import sys, gradatlas; dir(gradatlas); print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy = {"torch", "numpy", "polars", "ray", "optuna", "scipy", "pandas", "pydantic", "typer"}
    assert "gradatlas" in ended.stdout.split()
    assert heavy & set(ended.stdout.split()) == set()


def test_its_names_are_listed_and_there():
    assert set(gradatlas.__all__) <= set(dir(gradatlas))
    for name in gradatlas.__all__:
        assert getattr(gradatlas, name)
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    assert gradatlas.__version__ == project["project"]["version"]
    with pytest.raises(AttributeError, match="module 'gradatlas' has no attribute 'opne'"):
        gradatlas.opne  # noqa: B018


def test_an_opened_run_has_the_tables_that_the_command_writes(tmp_path):
    path = plant_run(tmp_path / "run", study_rows(points=400))
    write_tables(path, tmp_path / "out")
    run = gradatlas.open(path)
    for name in TABLES:
        found = getattr(run, name)
        assert isinstance(found, pl.LazyFrame)
        written = pl.read_parquet(tmp_path / "out" / f"{name}.parquet")
        assert len(written) > 0
        by = [column for column in ("trial", "layer", "part", "point") if column in written.columns]
        plain = found.select(~pl.selectors.list()).collect()
        if by:  # the order of groups is chance
            plain, written = plain.sort(by), written.sort(by)
        assert_frame_equal(plain, written)
        assert getattr(run, name) is found


def test_trials_have_their_regime_outcome_and_lists(tmp_path):
    rows = study_rows(points=20)
    run = gradatlas.open(plant_run(tmp_path / "run", rows, sweep="[limits]\nstable_decades = 0.5\n"))
    assert run.limits.stable_decades == 0.5

    def label(g: float) -> str:
        return "stable" if abs(g) <= 0.5 else "vanishing" if g < 0 else "exploding"

    naive = [
        (entry["gradient_profile"], label(entry["gradient_decades"]), entry["outcome"]) for entry in rows
    ]
    found = run.trials.sort("trial").select("gradient_profile", "regime", "outcome").collect()
    assert found.rows() == naive


def test_a_run_tells_its_path_sweep_and_what_it_left_out(tmp_path):
    path = plant_run(tmp_path / "run", study_rows(points=20), sweep='question = "Where <b>?"\n')
    (path / "results" / "pack-9.parquet").write_bytes(b"PAR1")
    run = gradatlas.open(str(path))
    assert (run.path, run.sweep) == (path, {"question": "Where <b>?"})
    assert run.unreadable == ("results/pack-9.parquet",)
    shown = "20 trials, 5 vanishing, 12 stable, 3 exploding, unreadable files: 1"
    assert repr(run) == f"<gradatlas.Run {path}: Where <b>? {shown}>"
    assert shown in run._repr_html_()
    assert "<b>Where &lt;b&gt;?</b>" in run._repr_html_()
    with pytest.raises(FrozenInstanceError):
        run.path = path


def test_home_and_file_urls_are_understood(tmp_path, monkeypatch):
    path = plant_run(tmp_path / "a run", [row(0)])
    monkeypatch.setenv("HOME", str(tmp_path))
    assert gradatlas.open("~/a run").path == path
    assert gradatlas.open(f"file://{tmp_path}/a%20run").path == path


def test_a_run_that_goes_on_is_opened_as_far_as_it_is(tmp_path):
    spec = tmp_path / "small.toml"
    spec.write_text(
        'question = "A small one?"\n[fixed]\nwidth = 8\ndepth = 3\nsteps = 1\n'
        "[search]\npoints = 12\n[schedule]\npack_size = 4\n"
    )
    ledger = create_run(tmp_path / "run", load_sweep(spec), "small.toml", cpus=2)
    with ledger.locked():
        with pytest.raises(ValueError, match="has no results yet"):
            gradatlas.open(ledger.folder)
        first, *_ = ledger.pending_packs()
        ledger.write_result(first, results(ledger.pack_trials(first)))
        early = gradatlas.open(ledger.folder)
        for pack in ledger.pending_packs():
            ledger.write_result(pack, results(ledger.pack_trials(pack)))
        late = gradatlas.open(ledger.folder)
    counts = [run.trials.select(pl.len()).collect().item() for run in (early, late)]
    assert counts == [4, 12]
    assert early.sweep["fixed"]["width"] == 8


@pytest.mark.parametrize("wrong", ["nowhere", "limits"])
def test_what_is_no_run_is_refused_in_the_commands_words(tmp_path, said, wrong):
    run = tmp_path / wrong
    if wrong == "limits":
        plant_run(run, [row(0)], sweep="[limits]\nstable_decades = -1.0\n")
    with pytest.raises(ValueError, match=str(run)) as refused:
        gradatlas.open(run)
    assert said("tables", run, "--out", tmp_path / "out") == f"gradatlas: {refused.value}\n"


def test_a_url_of_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="must be a folder or a URL of file, s3"):
        gradatlas.open("http://example.org/run")


@pytest.mark.parametrize(
    "settings",
    [
        SMALL | {"activation": "tanh", "weight_gain": 1.5, "norm": "layer", "seeds": 3, "input_std": 0.5},
        SMALL | {"task": "digits"},
        SMALL | {"family": "rnn", "activation": "tanh", "seeds": 2},
        {"depth": 60, "width": 1},  # a gradient of zero, which is −∞ decades
    ],
)
def test_a_profile_is_the_commands(said, settings):
    assert gradatlas.profile(**settings) == _json(said("profile", *_options(settings), "--json"))


@pytest.mark.parametrize(
    "settings",
    [
        {"activation": "tanh", "sigma_w": 1.5, "sigma_b": 0.1, "depth": 12},
        {"depth": 5, "norm": "batch", "batch_size": 16},
        {"activation": "relu", "family": "rnn"},
        {"activation": "gelu", "critical": True, "depth": 8},
    ],
)
def test_theory_is_the_commands(said, settings):
    critical = ["--critical"] if settings.get("critical") else []
    options = _options({name: value for name, value in settings.items() if name != "critical"})
    assert gradatlas.theory(**settings) == _json(said("theory", *options, *critical, "--json"))


def test_numbers_may_be_those_of_numpy():
    settings = {"depth": np.int64(4), "width": np.int32(8), "weight_gain": np.float32(1.5)}
    found = gradatlas.profile(**settings, batch_size=8, seeds=np.int64(2))
    assert found == gradatlas.profile(depth=4, width=8, weight_gain=1.5, batch_size=8, seeds=2)
    assert gradatlas.theory("tanh", sigma_w=np.float64(2), depth=np.int64(3)) == gradatlas.theory(
        "tanh", sigma_w=2.0, depth=3
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depth": 0}, "depth: must be a whole number >= 1, but got 0"),
        ({"depth": True}, "depth: must be a whole number >= 1, but got True"),
        ({"dept": 3}, "dept: must be one of the parameters family, depth, .*; did you mean 'depth'?"),
        ({"learning_rate": 0.1}, "learning_rate: must be one of the parameters family, depth"),
        ({"activation": "rellu"}, "activation: must be one of .*, but got 'rellu'; did you mean 'relu'?"),
        ({"seeds": 0}, "seeds: must be a whole number >= 1 and < .*, but got 0"),
        ({"seeds": 1.5}, "seeds: must be a whole number >= 1 and < .*, but got 1.5"),
        ({"input_std": float("nan")}, "input_std: must be a finite number > 0, but got nan"),
        ({"input_std": "2"}, "input_std: must be a finite number > 0, but got '2'"),
        ({"input_std": 2.0, "task": "digits"}, "input_std: is of Gaussian inputs, but task 'digits' gives"),
    ],
)
def test_a_profile_that_breaks_a_rule_is_refused(settings, message):
    with pytest.raises(ValueError, match=f"^{message}".replace("?", r"\?")):
        gradatlas.profile(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sigma_w": "1"}, "sigma_w: must be a number, but got '1'"),
        ({"sigma_w": -1}, "sigma_w: must be a number from 1e-100 to below 1e100, but got -1.0"),
        ({"depth": 2.5}, "depth: must be a whole number >= 1, but got 2.5"),
        ({"width": "64"}, "width: must be a whole number >= 1, but got '64'"),
        ({"norm": "bach"}, "norm: must be one of none, batch, layer, but got 'bach'; did you mean 'batch'?"),
        ({"critical": True, "sigma_w": 2}, "critical: takes the critical σ_w, but σ_w = 2 was given too"),
    ],
)
def test_theory_that_breaks_a_rule_is_refused(settings, message):
    with pytest.raises(ValueError, match=f"^{message}".replace("?", r"\?")):
        gradatlas.theory("tanh", **settings)


def _searched(sampler: optuna.samplers.BaseSampler, trials: int) -> list[tuple[float, float]]:
    def objective(trial: optuna.Trial) -> float:
        x, y = (trial.suggest_float(name, 0.0, 1.0) for name in "xy")
        return x + y

    search = optuna.create_study(sampler=sampler)
    search.optimize(objective, n_trials=trials)
    return [(trial.params["x"], trial.params["y"]) for trial in search.trials]


SQUARE = {"x": FloatDistribution(0.0, 1.0), "y": FloatDistribution(0.0, 1.0)}


@pytest.mark.parametrize("name", ["SobolSampler", "RandomSampler"])
def test_a_plain_optuna_study_gets_the_same_trials_from_the_same_seed(name):
    made = getattr(gradatlas, name)
    first, again, other = (_searched(made(SQUARE, seed=seed), 8) for seed in (3, 3, 4))
    assert first == again
    assert len(set(first) | set(other)) == 16


def test_sobol_points_of_a_plain_optuna_study_fill_the_square():
    """A (0, 2)-sequence in base 2: 16 points have one in each cell of every grid of 16 equal boxes."""
    points = np.array(_searched(gradatlas.SobolSampler(SQUARE), 16))
    for columns in (1, 2, 4, 8, 16):
        boxes = np.floor(points * [columns, 16 // columns]).astype(int)
        assert len(set(map(tuple, boxes))) == 16


def test_a_grid_runs_through_its_combinations_in_a_plain_optuna_study():
    space = {"kind": CategoricalDistribution(("a", "b")), "x": FloatDistribution(0.0, 1.0)}
    search = optuna.create_study(sampler=gradatlas.GridSampler(space, levels={"x": 3}))
    found = [search.ask(space).params for _ in range(6)]
    assert found == [{"kind": kind, "x": x} for kind in "ab" for x in (0.0, 0.5, 1.0)]
