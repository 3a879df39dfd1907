"""Planted worlds: ledgers of networks that obey a law which the test chose."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.analysis.conftest import Row, row

CRITICAL = {"sigmoid": 10.0, "tanh": 1.0, "relu": 1.4, "leaky_relu": 1.4, "elu": 1.1}


@dataclass(frozen=True)
class World:
    """The law: a gradient grows by rate · log10(σ_w / critical) decades per layer, plus what else is said."""

    critical: Mapping[str, float] = field(default_factory=lambda: CRITICAL)
    rate: float = 1.0
    norm_slope: float | None = None  # decades per layer with batch norm, whatever σ_w is
    skip_slope: float | None = None  # with a skip connection
    forward: float = 0.0  # decades per layer of the signal
    mismatch: float = 0.0  # decades that the factors miss of each step
    diverging: float = 1.0  # share of the exploding trials that diverge without clipping
    clipped: float = 0.0  # share that diverges all the same up to the threshold below
    threshold: float = math.inf  # up to which clipping helps
    rescued: float = 0.0  # share of the exploding trials that learn, clipped at most at the threshold
    learning: float = 0.0  # share of the vanishing trials that learn, clipped
    learning_unclipped: float = 0.0
    update: float = -1.0  # decades of the first layer's update over the last's where gradients vanish
    swinging: float = 1.0  # of a loss's period-two part to its fall, where gradients explode

    def trial(self, number: int, rng: np.random.Generator, **setting: Any) -> Row:
        """A trial that obeys the law, with the noise of a width of 64."""
        depth, sigma = setting["depth"], setting["weight_gain"]
        slope = self.rate * math.log10(sigma / self.critical[setting["activation"]])
        if setting.get("norm", "none") == "batch" and self.norm_slope is not None:
            slope = self.norm_slope
        elif setting.get("skip", "none") != "none" and self.skip_slope is not None:
            slope = self.skip_slope
        g = slope * (depth - 1) + 0.03 * rng.normal()
        planted = {
            "gradient_decades": g, "gradient_slope": slope, "gradient_slope_stderr": 0.01,
            "forward_decades": self.forward * (depth - 1),
            "weight_factor_profile": [slope + 0.2 + self.mismatch] * (depth - 1) + [None],
            "derivative_factor_profile": [-0.2] * (depth - 1) + [None],
            "outcome": None, "steps": 0,
        }  # fmt: skip
        if setting.get("steps"):
            planted |= self._training(g, rng, setting)
        return row(number, slope=slope, **planted | setting)

    def _training(self, g: float, rng: np.random.Generator, setting: Mapping[str, Any]) -> dict[str, Any]:
        limit = setting.get("clip_norm") or setting.get("clip_value")
        helps = limit is not None and limit <= self.threshold
        chance = rng.random()
        if g > 1.3:
            outcome = "diverged" if chance < (self.clipped if helps else self.diverging) else "stalled"
            if helps and chance > 1 - self.rescued:
                outcome = "learned"
        elif g < -1.3:
            outcome = (
                "learned" if chance < (self.learning if limit else self.learning_unclipped) else "stalled"
            )
        else:
            outcome = "learned"
        update = [10**self.update if g < -1.3 else 1.0, 1.0]
        swing = self.swinging if g > 1.3 else 0.0
        losses = [2.0 - step / 50 + swing * (-1) ** step for step in range(50)]
        return {
            "outcome": outcome,
            "update_profile": update,
            "probe_losses": losses,
            "probe_steps": list(range(50)),
        }


AXES = {"depth": (2, 100), "weight_gain": (0.25, 32.0)}


def planted(world: World, *, points: int = 900, seed: int = 0, **choices: Iterable[Any]) -> list[Row]:
    """Trials scattered over depth and σ_w, in turn of every combination of the other settings."""
    rng = np.random.default_rng(seed)
    combinations = itertools.cycle(
        [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]
    )
    rows = []
    for number in range(points):
        setting = dict(next(combinations))
        for name, (low, high) in AXES.items():
            setting.setdefault(name, low * (high / low) ** rng.random())
        setting["depth"] = round(setting["depth"])
        rows.append(world.trial(number, rng, **setting))
    return rows
