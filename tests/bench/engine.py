"""The engine against the bare matrix products of the same shapes, and against training one after another.

Ratios, both sides measured in turn in one run, medians of several: `make bench` prints them and writes
bench.json. One CPU thread, float32, SGD with clipping by norm.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from gradatlas.study.choices.tasks import TASKS, batch_indices
from gradatlas.study.networks import products
from gradatlas.study.networks.model import Workspace
from gradatlas.study.networks.perceptrons import backward, build, forward
from gradatlas.study.profiles.perceptron_profile import measured
from gradatlas.study.training.pack import PackInTraining
from gradatlas.study.trial import Trial

DIGITS = TASKS["digits"].load()
ROUNDS = 7


def pack(count: int, *, depths: Sequence[int] | None = None, **setting: object) -> list[Trial]:
    """Trials that train without diverging, deepest first."""
    settings = {"init": "he", "learning_rate": 0.01, "clip_norm": 1.0, "steps": 200} | setting
    depths = sorted(depths or [10] * count, reverse=True)
    return [Trial(depth=depth, seed=seed, **settings) for seed, depth in enumerate(depths)]


def bare_products(trials: Sequence[Trial], *, by_torch: bool = True) -> Callable[[], None]:
    """Forward, dx and dW of every hidden layer of a step, and nothing else: `bmm`s or the engine's own."""
    multiply, transposed = torch.bmm, lambda d, w, out: torch.bmm(d, w.transpose(1, 2), out=out)
    if not by_torch:
        multiply, transposed = products.multiply, products.multiply_transposed
    batch, width = trials[0].batch_size, trials[0].width
    layers = []
    for layer in range(trials[0].depth):
        count = sum(trial.depth > layer for trial in trials)
        fan_in = 64 if layer == 0 else width
        layers.append(
            (
                torch.randn(count, batch, fan_in),
                torch.randn(count, fan_in, width) * 0.1,
                torch.empty(count, batch, width),
                torch.randn(count, batch, width),
                torch.empty(count, fan_in, width),
                torch.empty(count, batch, fan_in),
            )
        )

    def step() -> None:
        for x, w, y, *_ in layers:
            multiply(x, w, out=y)
        for x, w, _, d, dw, dx in reversed(layers):
            multiply(x.transpose(1, 2), d, out=dw)
            transposed(d, w, out=dx)

    return step


def engine_step(trials: Sequence[Trial]) -> Callable[[], None]:
    """One step of the pack's training, everything included."""
    training = PackInTraining(list(trials), DIGITS)
    return lambda: training.advance(1)


def seconds(run: Callable[[], None], repeats: int) -> float:
    """Mean time of one call."""
    started = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - started) / repeats


def ratio(one: Callable[[], None], other: Callable[[], None], repeats: int) -> dict[str, float]:
    """Time of `one` over that of `other`: median, least and largest of rounds in turn."""
    one(), other()
    rounds = [(seconds(one, repeats), seconds(other, repeats)) for _ in range(ROUNDS)]
    ratios = [a / b for a, b in rounds]
    return {
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "largest": max(ratios),
        "milliseconds": 1e3 * statistics.median(a for a, _ in rounds),
    }


def one_after_another(trials: Sequence[Trial], steps: int) -> float:
    """Seconds of the same trials as torch.nn modules, one after another."""
    started = time.perf_counter()
    for trial in trials:
        layers: list[nn.Module] = []
        for index in range(trial.depth):
            layers += [nn.Linear(64 if index == 0 else trial.width, trial.width), nn.ReLU()]
        model = nn.Sequential(*layers, nn.Linear(trial.width, 10))
        optimizer = torch.optim.SGD(model.parameters(), lr=trial.learning_rate)
        inputs = DIGITS.inputs.float()
        for step in range(steps):
            chosen = batch_indices(len(inputs), trial.batch_size, step)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[chosen]), DIGITS.targets[chosen]).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    return time.perf_counter() - started


def speed_up_over_one_after_another() -> dict[str, float]:
    """256 ReLU trials of 10 × 32, batch 32, 100 steps; the other side on 8 of them."""
    trials = pack(256, width=32, batch_size=32)
    rounds = []
    for _ in range(5):
        training = PackInTraining([dataclasses.replace(trial, steps=100) for trial in trials], DIGITS)
        stacked = seconds(lambda training=training: training.advance(100), 1)
        with torch.enable_grad():
            alone = one_after_another(trials[:8], 100) * len(trials) / 8
        rounds.append(alone / stacked)
    return {"ratio": statistics.median(rounds), "least": min(rounds), "largest": max(rounds)}


def profile_overhead() -> dict[str, float]:
    """Profile of 64 trials of 100 × 256 in float64 over one forward and backward pass of the same stack."""
    trials = pack(64, depths=[100] * 64, width=256, steps=0)
    inputs = DIGITS.inputs[:64]
    network = build(trials, dtype=torch.float64, device=torch.device("cpu"))
    workspace = Workspace(torch.float64, torch.device("cpu"))
    gradients = [layer.like(workspace.within("gradient")) for layer in network.layers]
    probe = torch.randn(64, 64, 256, dtype=torch.float64)

    def plain() -> None:
        tape = forward(network, inputs, workspace)
        backward(network, tape, probe.clone(), gradients, workspace)

    return ratio(lambda: measured(network, inputs, probe), plain, 1)


def products_against_torch(width: int) -> dict[str, float]:
    """The two libraries of `study.networks.products`; 1 on processors where the engine takes torch's."""
    trials = pack(128, width=width, batch_size=width)
    return ratio(bare_products(trials, by_torch=False), bare_products(trials), 5)


CASES: dict[str, tuple[float | None, Callable[[], dict[str, float]]]] = {}


def case(name: str, reach: float | None) -> Callable:
    """Registers a benchmark with the ratio to reach."""

    def register(run: Callable[[], dict[str, float]]) -> Callable:
        CASES[name] = (reach, run)
        return run

    return register


def _against_products(repeats: int, count: int, **setting: object) -> dict[str, float]:
    trials = pack(count, **setting)  # type: ignore[arg-type]
    return ratio(engine_step(trials), bare_products(trials), repeats)


def _register_packs() -> None:
    log_uniform = np.exp(np.linspace(np.log(2), np.log(100), 64)).astype(int).tolist()
    for name, reach, repeats, count, setting in (
        ("64 relu, 10 × 64, batch 64", 1.8, 10, 64, {}),
        ("256 tanh, 10 × 64, batch 64", 2.0, 3, 256, {"activation": "tanh"}),
        ("512 relu, 10 × 32, batch 32", 2.2, 5, 512, {"width": 32, "batch_size": 32}),
        ("64 relu, depth 2–100 × 64", 2.0, 4, 64, {"depths": log_uniform}),
        ("64 relu, 10 × 64, batch norm", None, 5, 64, {"norm": "batch"}),
        ("64 relu, 10 × 64, layer norm", None, 5, 64, {"norm": "layer"}),
        ("64 relu, 10 × 64, residual", None, 5, 64, {"skip": "residual"}),
        ("64 gelu, 10 × 64, preactivation", None, 5, 64, {"skip": "preactivation", "activation": "gelu"}),
        ("64 relu, 10 × 64, adam", None, 5, 64, {"optimizer": "adam", "learning_rate": 1e-4}),
    ):
        case(f"step / bare products: {name}", reach)(
            lambda repeats=repeats, count=count, setting=setting: _against_products(repeats, count, **setting)
        )


_register_packs()
for _width in (32, 64):
    case(f"the engine's products / torch.bmm: 128 × 10 × {_width}, batch {_width}", None)(
        lambda width=_width: products_against_torch(width)
    )
case("profile / plain pass: 64 × 100 × 256, float64", 1.5)(profile_overhead)
case("one after another / pack: 256 relu, 10 × 32, batch 32", -14.0)(speed_up_over_one_after_another)


def main() -> None:
    """Prints a table and writes bench.json; names given as arguments choose the cases that contain one."""
    torch.set_num_threads(1)
    threadpool_limits(1)  # NumPy's BLAS has threads of its own
    torch.set_grad_enabled(False)
    chosen = {n: c for n, c in CASES.items() if not sys.argv[1:] or any(a in n for a in sys.argv[1:])}
    results = {}
    for name, (reach, run) in chosen.items():
        found = results[name] = run()
        goal = "" if reach is None else f"  reach {'≥' if reach < 0 else '≤'} {abs(reach):g}"
        span = f"{found['least']:.2f}–{found['largest']:.2f}"
        print(f"{name:58} {found['ratio']:6.2f}  ({span}){goal}", flush=True)
    with open("bench.json", "w", encoding="utf-8") as file:
        json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
