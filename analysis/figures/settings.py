"""Names of settings in figures whose rows are settings, and places of values on an axis of any kind."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl

from gradatlas.analysis.reading.panels import distinguishing_names
from gradatlas.analysis.words import number, word
from gradatlas.study.trial import PARAMETERS

MOST_SETTINGS = 24
_FEW = 6  # distinct numbers that an axis takes as they are
_LOG_RATIO = 20.0  # of largest and smallest, from which on an axis is logarithmic


def named(frame: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    """The rows with `panel`, `heading` (activation), `subheading` (what else varies) and `panels` (how many).

    The first MOST_SETTINGS settings are kept.
    """
    keys = frame.select(columns).unique(maintain_order=True)
    varying = [name for name in columns if name != "activation" and keys[name].n_unique() > 1]
    rows = keys.rows(named=True)
    names = [
        (word("activation", row["activation"]), " · ".join(word(name, row[name]) for name in rest))
        for row, rest in zip(rows, distinguishing_names(rows, varying), strict=True)
    ]
    schema = {"heading": pl.String, "subheading": pl.String}
    titled = pl.concat([keys, pl.DataFrame(names, schema=schema, orient="row")], how="horizontal")
    numbered = titled.with_columns(
        panel=pl.int_range(len(titled), dtype=pl.Int64), panels=pl.lit(len(titled), pl.Int64)
    )
    found = frame.join(numbered, on=columns, nulls_equal=True, maintain_order="left")
    return found.filter(pl.col("panel") < MOST_SETTINGS)


def varied(trials: pl.LazyFrame) -> list[str]:
    """The parameters with more than one value; `sigma_w` stands for `weight_gain`."""
    names = [name for name in PARAMETERS if name != "weight_gain"]
    names.insert(1, "sigma_w")
    found = trials.select(pl.col(names).n_unique()).collect().row(0, named=True)
    return [name for name in names if found[name] > 1]


@dataclass(frozen=True)
class Scale:
    """Where values stand on an axis from 0 to 1, and its ticks."""

    positions: np.ndarray
    ticks: list[tuple[float, str]]


def scale(name: str, values: pl.Series) -> Scale:
    """Numbers on a linear or logarithmic axis, choices and few numbers as steps; null is "off"."""
    is_number = values.dtype.is_numeric() and values.null_count() == 0 and values.n_unique() > _FEW
    return _continuous(values) if is_number else _steps(name, values)


def _continuous(values: pl.Series) -> Scale:
    x = values.cast(pl.Float64).to_numpy()
    is_log = bool(x.min() > 0 and x.max() / x.min() > _LOG_RATIO)
    x = np.log(x) if is_log else x
    low, high = float(x.min()), float(x.max())
    middle = (low + high) / 2
    names = [number(math.exp(tick) if is_log else tick) for tick in (low, middle, high)]
    return Scale((x - low) / (high - low), list(zip((0.0, 0.5, 1.0), names, strict=True)))


def _steps(name: str, values: pl.Series) -> Scale:
    choices = PARAMETERS[name].choices if name in PARAMETERS else ()
    distinct = values.unique().to_list()
    order = sorted(distinct, key=lambda value: _place(value, choices))
    last = max(1, len(order) - 1)
    places = {value: (step / last if len(order) > 1 else 0.5) for step, value in enumerate(order)}
    positions = np.array([places[value] for value in values], dtype=float)
    return Scale(positions, [(places[value], _tick(name, value)) for value in order])


def _place(value: object, choices: tuple[str, ...]) -> tuple[int, float, str]:
    if value is None:
        return (2, 0, "")
    if value in choices:
        return (0, choices.index(value), "")
    return (0, value, "") if isinstance(value, int | float) else (1, 0, str(value))


def _tick(name: str, value: object) -> str:
    if value is None:
        return "off"
    if isinstance(value, int | float):
        return number(value)
    return word(name, value).removeprefix(f"{name} ")


def label(name: str) -> str:
    """A parameter's name on an axis."""
    return "weight scale σ_w" if name == "sigma_w" else name.replace("_", " ")
