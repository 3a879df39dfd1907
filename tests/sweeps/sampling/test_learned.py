"""One suite over all samplers, and what is special about each."""

from __future__ import annotations

import functools
import itertools
import math
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.stats import qmc

from gradatlas.study.experiment import results
from gradatlas.sweeps.errors import SpecError
from gradatlas.sweeps.planning.packing import trial_of_row
from gradatlas.sweeps.running.learning import Learner
from gradatlas.sweeps.running.runs import create_run, sweep_of
from gradatlas.sweeps.sampling.domains import Range
from gradatlas.sweeps.sampling.learned import Proposer
from gradatlas.sweeps.sampling.learned import sampler_class as learned_class
from gradatlas.sweeps.sampling.objectives import OBJECTIVES, values
from gradatlas.sweeps.sampling.pure import (
    GridSampler,
    RandomSampler,
    SobolSampler,
    pure_sampler,
    pure_sampler_class,
)
from gradatlas.sweeps.sampling.samplers import LEARNING, PURE
from gradatlas.sweeps.spec.sweep import Sweep, parse_sweep
from gradatlas.sweeps.store.ledger import Ledger

SPACE = {
    "depth": IntDistribution(2, 64, log=True),
    "width": IntDistribution(1, 4),
    "gain": FloatDistribution(0.25, 16.0, log=True),
    "momentum": FloatDistribution(0.0, 0.9),
    "activation": CategoricalDistribution(("relu", "tanh", "sigmoid")),
}

optuna.logging.set_verbosity(optuna.logging.WARNING)


LEVELS = {"depth": 6, "width": 4, "gain": 7, "momentum": 5}


@pytest.fixture(params=PURE)
def sampler_class(request):
    """A sampler's constructor; a grid's with as many levels as its axes need."""
    return _constructor(request.param)


def _constructor(name):
    return functools.partial(GridSampler, levels=LEVELS) if name == "grid" else pure_sampler_class(name)


@pytest.fixture(params=["qmc", "random"])
def spreading_class(request):
    """A sampler's constructor whose points spread over the whole space."""
    return pure_sampler_class(request.param)


def test_proposals_keep_to_the_space_and_reach_all_of_it(sampler_class):
    proposals = sampler_class(SPACE, seed=1).proposals(0, 6 * 4 * 7 * 5 * 3)
    for name, distribution in SPACE.items():
        values = [proposal[name] for proposal in proposals]
        assert all(distribution._contains(distribution.to_internal_repr(value)) for value in values)
        if isinstance(distribution, IntDistribution):
            assert {min(values), max(values)} == {distribution.low, distribution.high}
            assert all(type(value) is int for value in values)
    assert {proposal["activation"] for proposal in proposals} == {"relu", "tanh", "sigmoid"}


def test_log_ranges_are_even_in_the_logarithm(spreading_class):
    gains = [proposal["gain"] for proposal in spreading_class(SPACE, seed=1).proposals(0, 2048)]
    logs = np.log(np.array(gains) / 0.25) / math.log(64)
    # Uniform on [0, 1]: mean 1/2 with standard error √(1/12/2048) = 0.0064.
    assert np.mean(logs) == pytest.approx(0.5, abs=4 * 0.0064)
    assert np.mean(logs < 0.25) == pytest.approx(0.25, abs=0.04)


def test_any_stretch_equals_the_whole(sampler_class):
    whole = sampler_class(SPACE, seed=5).proposals(0, 100)
    assert sampler_class(SPACE, seed=5).proposals(37, 21) == whole[37:58]


def test_seeds_and_parts_have_sequences_of_their_own(spreading_class):
    whole = spreading_class(SPACE, seed=5).proposals(0, 100)
    assert spreading_class(SPACE, seed=6).proposals(0, 100) != whole
    assert spreading_class(SPACE, seed=5, name="other part").proposals(0, 100) != whole


def test_an_optuna_study_gets_the_plans_proposals(sampler_class):
    sampler = sampler_class(SPACE, seed=3, nuisance=("momentum",), draws=3)
    study = optuna.create_study(sampler=sampler)
    for expected in sampler.proposals(0, 30):
        trial = study.ask(SPACE)
        assert trial.params == expected
        if trial.number % 3:
            study.tell(trial, 1.0)
        else:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)


def test_optimize_with_suggest_calls_works_in_plain_optuna(sampler_class):
    def objective(trial: optuna.Trial) -> float:
        return trial.suggest_float("gain", 0.25, 16.0, log=True) + trial.suggest_float("unplanned", 0, 1)

    def values() -> list[dict]:
        study = optuna.create_study(sampler=sampler_class(SPACE, seed=3))
        study.optimize(objective, n_trials=5)
        return [trial.params for trial in study.trials]

    assert values() == values()
    assert len({params["unplanned"] for params in values()}) == 5


def test_draws_keep_the_point_and_move_the_nuisance_parameters(sampler_class):
    proposals = sampler_class(SPACE, seed=2, nuisance=("gain", "momentum"), draws=4).proposals(0, 80)
    for at in range(0, 80, 4):
        point = proposals[at : at + 4]
        for name in ("depth", "width", "activation"):
            assert len({proposal[name] for proposal in point}) == 1
        assert len({proposal["gain"] for proposal in point}) == 4
    first = sampler_class(SPACE, seed=2, nuisance=("gain", "momentum")).proposals(0, 20)
    assert proposals[::4] == first


def test_a_fresh_process_proposes_the_same():
    program = (
        "from gradatlas.sweeps.sampling.domains import Range;"
        "from gradatlas.sweeps.sampling.pure import PURE, pure_sampler;"
        "space = {'x': Range(0, 1, False, False, 3), 'y': Range(1, 9, True, False, 4)};"
        "print({name: pure_sampler(name, space, seed=11).proposals(5, 3) for name in PURE})"
    )
    space = {"x": Range(0, 1, False, False, 3), "y": Range(1, 9, True, False, 4)}
    here = {name: pure_sampler(name, space, seed=11).proposals(5, 3) for name in PURE}
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == str(here)


def test_a_grid_is_the_product_of_its_levels_with_both_ends():
    axes = {name: SPACE[name] for name in ("depth", "gain", "activation")}
    grid = GridSampler(axes, levels={"depth": 6, "gain": 3})
    assert grid.size == 6 * 3 * 3
    found = grid.proposals(0, grid.size)
    depths = [2, 4, 8, 16, 32, 64]
    expected = list(itertools.product(depths, [0.25, 2.0, 16.0], ("relu", "tanh", "sigmoid")))
    for proposal, (depth, gain, activation) in zip(found, expected, strict=True):
        assert (proposal["depth"], proposal["activation"]) == (depth, activation)
        assert proposal["gain"] == pytest.approx(gain, rel=1e-12)
    assert grid.proposals(grid.size, 5) == found[:5]
    assert {proposal["gain"] for proposal in found} >= {0.25, 16.0}


def test_levels_of_whole_numbers_that_coincide_count_once():
    grid = GridSampler({"width": IntDistribution(1, 4)}, levels={"width": 20})
    assert [proposal["width"] for proposal in grid.proposals(0, grid.size)] == [1, 2, 3, 4]


def test_sobol_points_are_scipys_and_fill_the_cube_more_evenly_than_random_ones():
    units = SobolSampler(SPACE, seed=1).unit_points(0, 256)
    assert qmc.discrepancy(units) < 0.5 * qmc.discrepancy(RandomSampler(SPACE, seed=1).unit_points(0, 256))
    # Every 2^k-th part of each axis holds the same number of 2^m points: a digital net.
    for axis in units.T:
        assert (np.histogram(axis, bins=64, range=(0, 1))[0] == 4).all()


TEXT = """
[scientific]
depth = { low = 2, high = 4 }
weight_gain = { low = 0.5, high = 2.0, log = true }
activation = ["relu", "tanh"]
clip_norm = ["off", 1.0]
[nuisance]
learning_rate = { low = 1e-3, high = 1e6, log = true }
[fixed]
width = 4
steps = 2
batch_size = 4
[search]
sampler = "SAMPLER"
objective = "OBJECTIVE"
options = OPTIONS
points = 30
nuisance_draws = DRAWS
seeds = 2
"""
# Starts that are over soon, so that 30 trials show what a sampler learns.
OPTIONS = {
    "tpe": "{ n_startup_trials = 5 }",
    "gp": "{ n_startup_trials = 5 }",
    "cmaes": "{ popsize = 5 }",
    "nsgaii": "{ population_size = 6 }",
    "optuna.samplers.NSGAIIISampler": "{ population_size = 6 }",
}


def _sweep(
    sampler: str, *, objective: str = "final_loss", draws: int = 1, points: int = 30, more: str = ""
) -> Sweep:
    text = TEXT.replace("SAMPLER", sampler).replace("OBJECTIVE", objective).replace("DRAWS", str(draws))
    text = text.replace("OPTIONS", OPTIONS[sampler]).replace("points = 30", f"points = {points}")
    return parse_sweep(tomllib.loads(text + more), "study.toml")


def _learn(ledger: Ledger, batches: int, *, late: int = 1) -> list[list[str]]:
    """Runs a run's batches in this process; a batch's results come `late` batches later."""
    learner = Learner(ledger, sweep_of(ledger), 1)
    asked = [ledger.pending_packs()]
    for _ in range(batches):
        if len(asked) > late:
            for pack in asked[-1 - late]:
                if pack in ledger.pending_packs():
                    ledger.write_result(pack, results(ledger.pack_trials(pack)))
                learner.finished(pack)
        asked.append(learner.next_packs())
    return asked


def _plan(ledger: Ledger) -> list[dict]:
    return ledger.plan().sort("trial").drop("pack").collect().to_dicts()


@pytest.fixture(params=OPTIONS)
def learning(request):
    """The name of a sampler that learns."""
    return request.param


def test_learning_samplers_are_all_of_the_suite():
    assert set(LEARNING) < set(OPTIONS)


@pytest.mark.thorough
def test_a_learning_sampler_keeps_to_the_space_and_plans_every_trial_once(learning, tmp_path):
    points = 10 if learning == "gp" else 30  # its proposals take their time
    sweep = _sweep(learning, draws=2, points=points)
    ledger = create_run(tmp_path / "run", sweep, "study.toml", cpus=1)
    _learn(ledger, 40)
    plan = _plan(ledger)
    assert [row["trial"] for row in plan] == list(range(points * 2 * 2))
    assert len({row["seed"] for row in plan}) == len(plan)
    assert {(row["point"], row["draw"], row["repetition"]) for row in plan} == set(
        itertools.product(range(points), range(2), range(2))
    )
    for row in plan:
        assert row["depth"] in (2, 3, 4)
        assert 0.5 <= row["weight_gain"] <= 2.0
        assert 1e-3 <= row["learning_rate"] <= 1e6
        assert (row["activation"], row["clip_norm"]) in itertools.product(("relu", "tanh"), (None, 1.0))
        trial_of_row(row)
    whole_points = [[row[name] for name in ("depth", "weight_gain", "activation")] for row in plan]
    assert all(whole_points[at] == whole_points[at - at % 4] for at in range(len(plan)))


@pytest.mark.thorough
def test_the_same_history_gives_the_same_proposals_in_another_process(learning, tmp_path):
    """A driver that dies after every batch plans what one does that lives; their histories are the same."""
    lives, dies = (create_run(tmp_path / name, _sweep(learning), "", cpus=1) for name in ("lives", "dies"))
    batches = 4 if learning == "gp" else 8
    _learn(lives, batches)
    asked = [dies.pending_packs()]
    for _ in range(batches):
        learner = Learner(dies, sweep_of(dies), 1)
        if len(asked) > 1:
            for pack in asked[-2]:
                dies.write_result(pack, results(dies.pack_trials(pack)))
                learner.finished(pack)
        asked.append(learner.next_packs())
    assert len(_plan(lives)) == (batches + 1) * 3 * 2
    assert _plan(dies) == _plan(lives)


@pytest.mark.thorough
def test_other_results_give_other_proposals(tmp_path):
    """What a sampler proposes after its start follows from results, or it would not learn."""
    plans = []
    for goal in ("final_loss", "gradient"):
        ledger = create_run(tmp_path / goal, _sweep("tpe", objective=goal), "", cpus=1)
        _learn(ledger, 12, late=0)
        plans.append(_plan(ledger))
    assert plans[0][:6] == plans[1][:6]
    assert plans[0] != plans[1]


def test_tpe_and_cmaes_find_the_minimum_of_a_parabola():
    space = {"learning_rate": Range(1e-4, 1.0, True, False), "weight_gain": Range(0.25, 4.0, True, False)}
    for sampler in ("tpe", "cmaes"):
        proposer = Proposer(sampler, {}, space, seed=1, part="main", objectives=1)
        distances = []
        for batch in range(20):
            proposer.begin(batch)
            for number, asked in [(8 * batch + place, proposer.ask()) for place in range(8)]:
                logs = math.log10(asked["learning_rate"]) + 2, math.log2(asked["weight_gain"])
                distances.append(math.hypot(*logs))
                proposer.tell(number, [distances[-1] ** 2])
        # Random points are at a median distance of 1.4 at any time.
        assert np.median(distances[-40:]) < 0.5 < np.median(distances[:8]), sampler


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_objectives_are_finite_and_no_worse_than_divergence(objective):
    def row(loss: float | None, g: float | None, outcome: str = "learned") -> dict:
        return {"final_loss": loss, "gradient_decades": g, "outcome": outcome}

    bounds = [goal.bound for goal in OBJECTIVES[objective]]
    for bad in (
        row(None, None, "diverged"),
        row(math.nan, math.nan),
        row(math.inf, -math.inf),
        row(1e9, -700.0),
    ):
        assert values(objective, [bad]) == bounds
    good = values(objective, [row(0.5, -2.0)])
    assert good is not None
    assert all(value < bound for value, bound in zip(good, bounds, strict=True))
    assert values(objective, [row(0.5, -2.0), row(None, None, "diverged"), row(0.5, -2.0)]) == good
    assert values(objective, [row(None, 1.0, "failed")]) is None


@pytest.mark.thorough
def test_failed_and_diverged_trials_are_told_and_the_search_goes_on(learning, tmp_path):
    points = 10 if learning == "gp" else 30
    ledger = create_run(tmp_path / "run", _sweep(learning, points=points), "", cpus=1)
    learner = Learner(ledger, sweep_of(ledger), 1)
    packs = ledger.pending_packs()
    while packs:
        for pack in packs:
            rows = results(ledger.pack_trials(pack))
            for row in rows:
                row["final_loss"] = (None, math.nan, math.inf)[row["seed"] % 3]
                row["outcome"] = ("diverged", "failed")[row["seed"] % 2]
            ledger.write_result(pack, rows)
            learner.finished(pack)
        packs = learner.next_packs()
    assert len(_plan(ledger)) == 2 * points


def test_both_objectives_and_parts_are_searched_side_by_side(tmp_path):
    more = '[[part]]\nname = "a"\n[[part]]\nname = "b"\nsearch = { points = 10 }\nfixed = { width = 5 }'
    ledger = create_run(tmp_path / "run", _sweep("nsgaii", objective="both", more=more), "", cpus=1)
    _learn(ledger, 40)
    plan = _plan(ledger)
    assert [row["trial"] for row in plan] == list(range(80))
    assert {part: sum(row["part"] == part for row in plan) for part in "ab"} == {"a": 60, "b": 20}
    assert {row["part"] for row in plan[:16]} == {"a", "b"}
    assert len({(row["part"], row["point"]) for row in plan}) == len({row["point"] for row in plan}) == 40


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ('sampler = "grid"', r"scientific\.depth: must have levels with sampler grid"),
        ('sampler = "tpee"', r"search\.sampler: must be one of qmc.*import path.*did you mean 'tpe'"),
        ('sampler = "tpe"\noptions = { n_startup = 1 }', r"unknown option 'n_startup'; did you mean 'n_sta"),
        ('sampler = "tpe"\noptions = { seed = 1 }', r"options: seed must not be among them"),
        ('sampler = "tpe"\noptions = { n_startup_trials = "x" }', r"search\.options: tpe cannot propose"),
        ('sampler = "nsgaii"\noptions = { population_size = 1 }', r"search\.options: nsgaii refuses them"),
        ('sampler = "qmc"\noptions = { a = 1 }', r"options: must be empty with sampler qmc"),
        ('sampler = "cmaes"\nobjective = "both"', r"objective: must be one number with sampler cmaes"),
        ('sampler = "tpe"\nobjective = "loss"', r"objective: must be one of final_loss, gradient, both"),
        ('sampler = "no.such.Sampler"', r"must be importable, but 'no\.such\.Sampler' is not; put"),
        ('sampler = "optuna.create_study"', r"must be a class of Optuna samplers"),
        ('sampler = "tpe"\npoints = 10001', r"must be <= 10000 with sampler tpe.*or sampler qmc"),
        ('sampler = "gp"\npoints = 501\nnuisance_draws = 2', r"must be <= 1000 with sampler gp"),
        ('sampler = "tpe"\n[fixed]\nsteps = 0', r"objective: must be 'gradient' where steps is 0"),
    ],
)
def test_what_a_sampler_cannot_do_is_told_in_one_line(search, message):
    text = "[scientific]\ndepth = { low = 2, high = 4 }\n[search]\n" + search
    with pytest.raises(SpecError, match=message) as told:
        parse_sweep(tomllib.loads(text), "study.toml")
    assert "\n" not in str(told.value)


GRID = """
[scientific]
depth = { low = 2, high = 8, log = true, levels = 3 }
activation = ["relu", "tanh"]
[search]
sampler = "grid"
"""


def test_a_grid_has_its_own_number_of_points_and_no_other():
    assert parse_sweep(tomllib.loads(GRID), "s").trials == 6
    assert parse_sweep(tomllib.loads(GRID + "points = 6"), "s").trials == 6
    with pytest.raises(
        SpecError, match=r"search\.points: must be the 6 points of the grid \(3 × 2\) or left"
    ):
        parse_sweep(tomllib.loads(GRID + "points = 7"), "s")


def test_parts_have_grids_of_their_own(tmp_path: Path):
    parts = '[[part]]\nname = "a"\n[[part]]\nname = "b"\nfixed = { activation = "relu", width = 8 }'
    ledger = create_run(tmp_path / "run", parse_sweep(tomllib.loads(GRID + parts), "s"), "s", cpus=1)
    assert sweep_of(ledger).trials == 6 + 3
    depths = [(row["part"], row["depth"], row["activation"]) for row in _plan(ledger)]
    assert depths == [
        *(("a", *pair) for pair in itertools.product((2, 4, 8), ("relu", "tanh"))),
        *(("b", depth, "relu") for depth in (2, 4, 8)),
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ends", "raise SystemExit(0)"),
        ("breaks", "def"),
        ("fails", "1 / 0"),
        ("..a", ""),
        ("a..b", ""),
        ("", ""),
    ],
)
def test_a_module_that_cannot_be_imported_is_told_whatever_it_does(name, text, tmp_path, monkeypatch):
    if text:
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(
        ValueError, match=r"must be importable, but .* is not; put its folder into PYTHONPATH"
    ):
        learned_class(f"{name}.Sampler")
