"""The trials of `runs.py` by other means, each in a process of its own.

    python -c "from tests.bench.peers import main; main()" KIND COUNT

(not with -m: Ray pickles what it finds in __main__ by value). KIND is `function` (Ray Tune with OptunaSearch,
a function for a trainable), `class` (the same with a class and reused actors) or `optuna` (Optuna alone in
two processes). Prints, as JSON, the times at which trials were done. One torch thread to a trial, two at a
time, nothing measured but the loss.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from functools import cache
from itertools import chain
from typing import Any

import torch
from torch import nn

from gradatlas.study.choices.tasks import TASKS

DEPTH, WIDTH, BATCH, STEPS = 10, 64, 64, 100
LEARNING_RATES, GAINS = (1e-3, 1e-1), (0.7, 1.4)


@cache
def _digits() -> tuple[torch.Tensor, torch.Tensor]:
    data = TASKS["digits"].load()
    return data.inputs.float(), data.targets


def trained(learning_rate: float, gain: float) -> float:
    """The last loss of one network, as PyTorch's tutorial trains it."""
    torch.set_num_threads(1)
    inputs, targets = _digits()
    layers: list[nn.Module] = []
    for fan_in in (inputs.shape[1], *[WIDTH] * (DEPTH - 1)):
        linear = nn.Linear(fan_in, WIDTH)
        nn.init.kaiming_normal_(linear.weight)
        with torch.no_grad():
            linear.weight *= gain
        layers += [linear, nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(WIDTH, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    for _ in range(STEPS):
        chosen = torch.randint(len(inputs), (BATCH,))
        loss = nn.functional.cross_entropy(model(inputs[chosen]), targets[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def with_ray_tune(count: int, *, reused: bool) -> list[float]:
    """Ray Tune with OptunaSearch; a trial is a Ray trial."""
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    def objective(config: dict[str, float]) -> None:
        tune.report({"loss": trained(config["learning_rate"], config["gain"])})

    class Objective(tune.Trainable):
        def step(self) -> dict[str, Any]:
            return {"loss": trained(self.config["learning_rate"], self.config["gain"]), "done": True}

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.config = new_config
            return True

    times: list[float] = []

    class Clock(tune.Callback):
        def on_trial_complete(self, *unused: Any, **info: Any) -> None:
            times.append(time.time())

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    tune.Tuner(
        Objective if reused else objective,
        param_space={
            "learning_rate": tune.loguniform(*LEARNING_RATES),
            "gain": tune.loguniform(*GAINS),
        },
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(metric="loss", mode="min"), num_samples=count, reuse_actors=reused
        ),
        run_config=tune.RunConfig(
            verbose=0,
            callbacks=[Clock()],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # a class would need `save`
        ),
    ).fit()
    ray.shutdown()
    return times


def _optimize(count: int) -> list[float]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    times: list[float] = []

    def objective(trial: optuna.Trial) -> float:
        return trained(
            trial.suggest_float("learning_rate", *LEARNING_RATES, log=True),
            trial.suggest_float("gain", *GAINS, log=True),
        )

    study = optuna.create_study()
    study.optimize(objective, count, callbacks=[lambda *_: times.append(time.time())])
    return times


def with_optuna(count: int) -> list[float]:
    """Optuna in two processes, each with a study in memory: no storage that they would wait for."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        return sorted(chain.from_iterable(pool.map(_optimize, [count // 2] * 2)))


def main() -> None:
    """The command line."""
    kind, count = sys.argv[1], int(sys.argv[2])
    done = with_optuna(count) if kind == "optuna" else with_ray_tune(count, reused=kind == "class")
    print(json.dumps(done))
