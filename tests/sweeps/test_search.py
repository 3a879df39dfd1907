"""One suite over all samplers, and what is special about each."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.stats import qmc

from sweeps.search import SAMPLERS, SobolSampler

SPACE = {
    "depth": IntDistribution(2, 64, log=True),
    "width": IntDistribution(1, 4),
    "gain": FloatDistribution(0.25, 16.0, log=True),
    "momentum": FloatDistribution(0.0, 0.9),
    "activation": CategoricalDistribution(("relu", "tanh", "sigmoid")),
}

optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture(params=SAMPLERS)
def sampler_class(request):
    return SAMPLERS[request.param]


def test_proposals_keep_to_the_space_and_reach_all_of_it(sampler_class):
    proposals = sampler_class(SPACE, seed=1).proposals(0, 600)
    for name, distribution in SPACE.items():
        values = [proposal[name] for proposal in proposals]
        assert all(distribution._contains(distribution.to_internal_repr(value)) for value in values)
        if isinstance(distribution, IntDistribution):
            assert {min(values), max(values)} == {distribution.low, distribution.high}
            assert all(type(value) is int for value in values)
    assert {proposal["activation"] for proposal in proposals} == {"relu", "tanh", "sigmoid"}


def test_log_ranges_are_even_in_the_logarithm(sampler_class):
    gains = [proposal["gain"] for proposal in sampler_class(SPACE, seed=1).proposals(0, 2048)]
    logs = np.log(np.array(gains) / 0.25) / math.log(64)
    # Uniform on [0, 1]: mean 1/2 with standard error √(1/12/2048) = 0.0064.
    assert np.mean(logs) == pytest.approx(0.5, abs=4 * 0.0064)
    assert np.mean(logs < 0.25) == pytest.approx(0.25, abs=0.04)


def test_any_stretch_equals_the_whole(sampler_class):
    whole = sampler_class(SPACE, seed=5).proposals(0, 100)
    assert sampler_class(SPACE, seed=5).proposals(37, 21) == whole[37:58]
    assert sampler_class(SPACE, seed=6).proposals(0, 100) != whole
    assert sampler_class(SPACE, seed=5, name="other part").proposals(0, 100) != whole


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
    first = sampler_class(SPACE, seed=2).proposals(0, 20)
    assert proposals[::4] == first


def test_a_fresh_process_proposes_the_same(sampler_class):
    program = (
        "from optuna.distributions import FloatDistribution as F; from sweeps.search import SAMPLERS;"
        f"print({sampler_class.__name__!r}, "
        f"[s for s in SAMPLERS.values() if s.__name__ == {sampler_class.__name__!r}][0]"
        "({'x': F(0, 1), 'y': F(1, 9, log=True)}, seed=11).proposals(5, 3))"
    )
    here = sampler_class({"x": FloatDistribution(0, 1), "y": FloatDistribution(1, 9, log=True)}, seed=11)
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == f"{sampler_class.__name__} {here.proposals(5, 3)}"


def test_sobol_points_are_scipys_and_fill_the_cube_more_evenly_than_random_ones():
    units = SobolSampler(SPACE, seed=1).unit_points(0, 256)
    assert qmc.discrepancy(units) < 0.5 * qmc.discrepancy(
        SAMPLERS["random"](SPACE, seed=1).unit_points(0, 256)
    )
    # Every 2^k-th part of each axis holds the same number of 2^m points: a digital net.
    for axis in units.T:
        assert (np.histogram(axis, bins=64, range=(0, 1))[0] == 4).all()
