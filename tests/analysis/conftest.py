"""Planted ledgers: run folders whose truth is known because it was written by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from gradatlas.study.records import COLUMNS
from gradatlas.study.trial import DEFAULTS, PARAMETERS

_TYPES = {"String": pl.String, "Int64": pl.Int64, "Float64": pl.Float64}


def _type(name: str):
    return pl.List(_type(name[5:-1])) if name.startswith("List(") else _TYPES[name]


SCHEMA = {name: _type(column.dtype) for name, column in COLUMNS.items()}
PLAN = ["trial", "part", "point", "draw", "repetition", "seed", "pack", *PARAMETERS]
SWEEP = 'question = "Where are gradients stable?"\n\n[limits]\nstable_decades = 1.3\nsevere_decades = 3.0\n'

Row = dict[str, Any]
Plant = Callable[..., Path]


def row(trial: int, *, slope: float = 0.0, **values: Any) -> Row:
    """A trial whose log10 RMS δ grows by `slope` decades per layer towards the input, and which learned."""
    depth = values.get("depth", DEFAULTS["depth"])
    gain = values.get("weight_gain", 1.0)
    profile = [slope * (depth - layer) for layer in range(1, depth + 1)]
    planted = {
        **dict.fromkeys(SCHEMA),
        **{name: DEFAULTS[name] for name in PARAMETERS},
        "trial": trial, "part": "main", "point": trial, "draw": 0, "repetition": 0, "seed": trial,
        "pack": "0",
        "sigma_w": gain, "sigma_b": 0.0,
        "gradient_decades": profile[0], "gradient_profile": profile,
        "initial_loss": 2.3, "final_loss": 0.5, "final_accuracy": 0.9, "outcome": "learned",
        "seconds": 0.1, "device": "cpu",
    }  # fmt: skip
    return planted | values


def study_rows(*, points: int = 240, seed: int = 0) -> list[Row]:
    """A small study with a known truth, scattered over depth 2–64 and σ_w 0.25–16.

    Without a norm the slope is log10(σ_w / critical) with critical 2 for tanh and 4 for ReLU; batch norm
    makes it 0. A stable gradient learns, a vanished one stalls, an exploded one diverges unless clipped.
    """
    draws = np.random.default_rng(seed).random((points, 2))
    critical = {"tanh": 2.0, "relu": 4.0}
    rows = []
    for trial, (u, v) in enumerate(draws):
        activation, norm = list(critical)[trial % 2], ["none", "batch"][trial // 2 % 2]
        depth, sigma = round(2 * 32**u), 0.25 * 64**v
        clip = [None, 1.0][trial // 4 % 2]
        slope = 0.0 if norm == "batch" else math.log10(sigma / critical[activation])
        g = slope * (depth - 1)
        outcome = "learned" if abs(g) <= 1.3 else "stalled" if g < 0 or clip else "diverged"
        rows.append(
            row(
                trial, slope=slope, depth=depth, weight_gain=sigma, activation=activation, norm=norm,
                clip_norm=clip, outcome=outcome, final_loss=None if outcome == "diverged" else 0.5,
            )
        )  # fmt: skip
    return rows


def rich_rows(*, points: int = 240) -> list[Row]:
    """`study_rows` with all that figures show, a part of recurrent nets and one of batch sizes."""
    rows = [_measured(planted) for planted in study_rows(points=points)]
    gains = np.geomspace(0.5, 2.0, 12)
    for place, gain in enumerate(gains):
        slope = math.log10(gain)
        common = {
            "trial": len(rows),
            "depth": 16,
            "weight_gain": float(gain),
            "part": "time",
            "outcome": None,
        }
        rows.append(row(slope=slope, family=["rnn", "gru"][place % 2], activation="tanh", **common))
    for place in range(12):
        size = [4, 16, 64][place % 3]
        common = {"trial": len(rows), "depth": 8, "part": "batches", "outcome": None, "norm": "batch"}
        rows.append(
            row(slope=1 / size, gradient_slope=1 / size, theory_slope=1.1 / size, batch_size=size, **common)
        )
    return rows


def _measured(planted: Row) -> Row:
    """The row with all that figures show but a profile; weights and φ′ make up its slope."""
    depth, g = planted["depth"], planted["gradient_decades"]
    steps = [g / (depth - 1) + 0.2] * (depth - 1)
    reach = {name: depth if abs(g) < end else 1 for name, end in _REACH.items()}
    return planted | {
        "forward_decades": -g, "weight_factor_profile": [*steps, None],
        "derivative_factor_profile": [*([-0.2] * (depth - 1)), None],
        "learning_rate": 0.001 * 10 ** (planted["trial"] % 7 / 2), **reach,
        "theory_gradient_decades": g - 0.1, "theory_sd": 0.2,
    }  # fmt: skip


_REACH = {"survival_float32": 38, "survival_bfloat16": 38, "survival_float16": 5}


def plant_run(
    run: Path,
    rows: Iterable[Row],
    *,
    sweep: str | None = SWEEP,
    planned: Iterable[Row] | None = None,
    files: int = 2,
) -> Path:
    """Writes rows as a run folder and returns its path."""
    rows = list(rows)
    for folder in ("results", "plans"):
        (run / folder).mkdir(parents=True)
    for place in range(files):
        frame = pl.DataFrame(rows[place::files], schema=SCHEMA, orient="row")
        frame.write_parquet(run / "results" / f"pack-{place}.parquet")
    plan = pl.DataFrame(list(planned) if planned is not None else rows, schema=SCHEMA, orient="row")
    plan.select(PLAN).write_parquet(run / "plans" / "plan-0.parquet")
    if sweep is not None:
        (run / "sweep.toml").write_text(sweep, encoding="utf-8")
    (run / "environment.json").write_text('{"packages": {"torch": "2.13.0"}, "hardware": {"gpus": []}}')
    return run


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """`plant_run` into a folder of the test's own, called `planted` unless it is given a `name`."""
    return lambda rows, name="planted", **options: plant_run(tmp_path / name, rows, **options)


def trials(rows: Iterable[Row]) -> pl.LazyFrame:
    """The rows as trials with labels, without a folder."""
    from gradatlas.analysis.reading.tables import labelled

    return labelled(pl.DataFrame(list(rows), schema=SCHEMA, orient="row").lazy())
