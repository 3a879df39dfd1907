"""The reason behind an answer, where the data hold one: what weights and φ′ do to the gradient at each layer.

On its way back the gradient is multiplied by the weights and by φ′ of every layer. A sample of profiles has
both factors of every step, and their medians say which of the two is to blame.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from gradatlas.analysis.claims.evidence import Evidence
from gradatlas.analysis.words import joined, number, word

_LEAST = 8  # networks of an activation from which on its factors are told


def factors_sentence(evidence: Evidence, activations: Sequence[str], *among: pl.Expr) -> str:
    """'Each layer back, weights multiply the gradient by 0.5 and φ′ by 0.7 with ReLU, …'; "" without data.

    Medians over the plain networks of wide layers that are `among` those, as plain factors.
    """
    rows = evidence.profiles.filter(pl.col("width") > 1, *among).drop_nulls(["weights", "derivatives"])
    told = []
    for name in activations:
        chosen = rows.filter(pl.col("activation") == name)
        if len(chosen) >= _LEAST:
            weights, slope = (
                number(10 ** float(chosen[column].median()))  # type: ignore[arg-type]
                for column in ("weights", "derivatives")
            )
            told.append(f"by {weights} and {slope} with {word('activation', name)}")
    if not told:
        return ""
    return f"Each layer back, weights and φ′ multiply the gradient {joined(told)}."
