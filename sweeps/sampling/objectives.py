"""What learning samplers minimise: numbers from the rows of an Optuna trial, bounded and finite.

An Optuna trial is a point with one draw; its value is the median over its repetitions. Diverged and failed
rows, null and NaN count as the bound, which nothing measured exceeds, so that a sampler learns to stay away
from them and never meets a number that it cannot compute with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Objective:
    """A number to be made small: |column|, at most `bound`."""

    column: str
    bound: float
    meaning: str

    def value(self, row: Mapping[str, Any]) -> float:
        """Of one row: finite, in 0 … bound."""
        number = row[self.column]
        if number is None or math.isnan(number):
            return self.bound
        return float(min(abs(number), self.bound))


# Four times what answering at random costs in cross-entropy, ten times the variance of a teacher's targets.
FINAL_LOSS = Objective("final_loss", 10.0, "final loss")
# float32 holds 38 decades on either side of 1, and no gradient beyond can be trained with.
GRADIENT = Objective("gradient_decades", 40.0, "|G|")

OBJECTIVES: dict[str, tuple[Objective, ...]] = {
    "final_loss": (FINAL_LOSS,),
    "gradient": (GRADIENT,),
    "both": (FINAL_LOSS, GRADIENT),
}


def values(objective: str, rows: Sequence[Mapping[str, Any]]) -> list[float] | None:
    """The median over the repetitions of each objective; None where every repetition failed."""
    if all(row["outcome"] == "failed" for row in rows):
        return None
    return [float(np.median([goal.value(row) for row in rows])) for goal in OBJECTIVES[objective]]
