"""Seconds of theory on one core: `make bench` prints them and writes bench-theory.json.

Each figure is taken in a process of its own, so that the tables of Gaussian expectations, made once per
activation and process, are part of it. Processor time, which a busy machine stretches least.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import product

import numpy as np

ROUNDS = 5


def critical_points() -> None:
    """The critical σ_w of every activation."""
    from gradatlas.study.choices.activations import ACTIVATIONS
    from gradatlas.study.theory.critical import critical
    from gradatlas.study.theory.meanfield import Structure

    for activation in ACTIVATIONS:
        critical(Structure(activation), added_variance=0.05**2)


def hundred_thousand_rows() -> None:
    """Predictions for 10^5 rows of mixed activations, norms, skips and depths; making the rows counts too."""
    from gradatlas.study.theory.predictions import gaussian_statistics, predictions

    found = predictions(_trials(), gaussian_statistics(64, 1.0))
    assert sum(row.gradient_decades is not None for row in found) > 90_000


def _trials() -> list:
    from gradatlas.study.choices.activations import ACTIVATIONS
    from gradatlas.study.trial import Trial

    norms = (("none", "before"), ("batch", "before"), ("layer", "before"), ("layer", "after"))
    kinds = list(product(ACTIVATIONS, norms, ("none", "residual", "scaled")))
    generator = np.random.Generator(np.random.Philox(0))
    depths = np.exp(generator.uniform(np.log(2), np.log(64), 100_000)).astype(int).tolist()
    gains = np.exp(generator.uniform(np.log(0.25), np.log(16), 100_000)).tolist()
    trials = []
    for seed, (depth, gain) in enumerate(zip(depths, gains, strict=True)):
        activation, (norm, position), skip = kinds[seed % len(kinds)]
        trials.append(
            Trial(
                depth=depth, weight_gain=gain, activation=activation, norm=norm, norm_position=position,
                skip=skip, seed=seed,
            )
        )  # fmt: skip
    return trials


CASES: dict[str, tuple[float, Callable[[], object]]] = {
    "critical points of all activations": (5.0, critical_points),
    "predictions for 10^5 rows": (10.0, hundred_thousand_rows),
}


def _timed(name: str) -> float:
    """Seconds in a new process, its imports left out."""
    found = subprocess.run(
        [sys.executable, "-m", "tests.bench.theory", "--once", name],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(found.stdout)


def _once(name: str) -> None:
    import gradatlas.study.theory.phase
    import gradatlas.study.theory.predictions  # noqa: F401

    started = time.process_time()
    CASES[name][1]()
    print(time.process_time() - started)


def main() -> None:
    """Prints a line for each case; with `--once NAME` the seconds of one."""
    if sys.argv[1:2] == ["--once"]:
        return _once(sys.argv[2])
    results = {}
    for name, (reach, _) in CASES.items():
        seconds = results[name] = sorted(_timed(name) for _ in range(ROUNDS))
        span = f"{seconds[0]:.2f}–{seconds[-1]:.2f}"
        print(f"{name:58} {statistics.median(seconds):6.2f} s  ({span})  reach ≤ {reach:g} s", flush=True)
    with open("bench-theory.json", "w", encoding="utf-8") as file:
        json.dump(results, file, indent=2)
    return None


if __name__ == "__main__":
    main()
