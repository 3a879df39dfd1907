"""Which samplers there are, by name. Known without Optuna, so that a sweep file is read at once.

`pure` has those that do not learn, pure functions of (search.seed, index), `learned` those that do.
"""

from __future__ import annotations

PURE = {"qmc": "SobolSampler", "random": "RandomSampler", "grid": "GridSampler"}  # classes in `pure`
LEARNING = {  # classes in optuna.samplers
    "tpe": "TPESampler",
    "gp": "GPSampler",
    "cmaes": "CmaEsSampler",
    "nsgaii": "NSGAIISampler",
}
# Optuna trials of a part. A tpe proposal takes tens of milliseconds beyond 2,000, one by gp a second beyond
# 1,000, and all of them search among all that was tried.
MOST_TRIALS = 10_000
_MOST = {"gp": 1_000}


def is_learning(sampler: str) -> bool:
    """Whether a sampler proposes by what it was told."""
    return sampler not in PURE


def most_trials(sampler: str) -> int:
    """Optuna trials that a learning sampler may be asked for."""
    return _MOST.get(sampler, MOST_TRIALS)
