"""Gradient profiles of recurrent networks over time: how far back the last step reaches."""

from __future__ import annotations

import polars as pl
from matplotlib.figure import Figure

from gradatlas.analysis.figures import profiles
from gradatlas.analysis.figures.plot import Drawing, Plot
from gradatlas.study.choices.families import RECURRENT
from gradatlas.study.regimes import DEFAULT_LIMITS, Limits


def table(trials: pl.LazyFrame, limits: Limits = DEFAULT_LIMITS) -> pl.DataFrame:
    """`profiles.curves` of the recurrent networks; `back` counts time steps."""
    return profiles.curves(trials.filter(pl.col("family").is_in(RECURRENT)))


def draw(drawing: Drawing) -> Figure:
    """The curves over time steps."""
    return profiles.draw(drawing, "time steps before the last")


def reading(data: pl.DataFrame, limits: Limits) -> str:
    """How to read the profiles, in words."""
    return (
        "Time takes the place of depth: start at the right, at the last time step, whose gradient is the "
        "unit, and go left, back in time. A line that falls is a memory that fades, a line that rises one "
        "that explodes. Shown is the gradient of the hidden state, not of the weights, whose sum over time "
        "the last steps dominate. " + profiles.reading(data, limits).split(". ", 2)[2].replace(
            "hidden layers", "time steps"
        )
    )  # fmt: skip


PLOT = Plot(
    name="recurrent_profiles",
    title="How far back in time the gradient reaches",
    section="layers",
    table=table,
    draw=draw,
    reading=reading,
    alt=profiles.alt,
    absent="The run has no recurrent networks.",
)
