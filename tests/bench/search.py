"""Proposals per second of the samplers that keep no study, and the memory that they take at 100,000 points.

`python tests/bench/search.py` prints and writes bench-search.json. Beside them, for scale, Optuna's own
QMCSampler over its first thousand trials: its study grows, and it slows down as it does.
"""

from __future__ import annotations

import json
import statistics
import time
import tracemalloc
import warnings

import optuna

from gradatlas.sweeps.sampling.domains import Choices, Range
from gradatlas.sweeps.sampling.pure import distributions, pure_sampler
from gradatlas.sweeps.sampling.samplers import PURE

POINTS, BLOCK, REACH = 100_000, 4096, 2000
SPACE = {
    "depth": Range(2, 64, True, True, 40),
    "weight_gain": Range(0.25, 16.0, True, False, 50),
    "learning_rate": Range(1e-4, 1.0, True, False, 50),
    "activation": Choices(("sigmoid", "tanh", "relu")),
    "norm": Choices(("none", "batch")),
    "skip": Choices(("none", "residual")),
}


def proposed(sampler: str, first: int, count: int) -> None:
    """Asks for a stretch of points, in blocks as a plan does."""
    asked = pure_sampler(sampler, SPACE, seed=0)
    for start in range(first, first + count, BLOCK):
        asked.proposals(start, min(BLOCK, first + count - start))


def rate(sampler: str) -> dict[str, float]:
    """Proposals per second over all points, and at the end of them alone; peak memory of both in MiB."""
    rates, last = [], []
    for _ in range(3):
        started = time.perf_counter()
        proposed(sampler, 0, POINTS)
        rates.append(POINTS / (time.perf_counter() - started))
        started = time.perf_counter()
        proposed(sampler, POINTS - BLOCK, BLOCK)
        last.append(BLOCK / (time.perf_counter() - started))
    found = {"per second": statistics.median(rates), "per second at the end": statistics.median(last)}
    for name, points in (("MiB at a tenth", POINTS // 10), ("MiB", POINTS)):
        tracemalloc.start()
        proposed(sampler, 0, points)
        found[name] = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
    return found


def optuna_rate(trials: int) -> float:
    """Proposals per second of Optuna's QMCSampler."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study, space = optuna.create_study(sampler=optuna.samplers.QMCSampler(seed=0)), distributions(SPACE)
        started = time.perf_counter()
        for _ in range(trials):
            study.tell(study.ask(space), 0.0)
    return trials / (time.perf_counter() - started)


def main() -> None:
    """Prints a line per sampler."""
    results: dict[str, object] = {}
    for sampler in PURE:
        found = rate(sampler)
        results[sampler] = found
        print(
            f"proposals/s: {sampler:8} {found['per second']:9.0f} over {POINTS} points, "
            f"{found['per second at the end']:9.0f} at their end  reach ≥ {REACH}; "
            f"peak {found['MiB']:.1f} MiB (a tenth of the points: {found['MiB at a tenth']:.1f})",
            flush=True,
        )
    results["optuna QMCSampler, 1000 trials"] = slow = optuna_rate(1000)
    print(f"proposals/s: Optuna's QMCSampler {slow:9.0f} over 1000 trials")
    with open("bench-search.json", "w", encoding="utf-8") as file:
        json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
