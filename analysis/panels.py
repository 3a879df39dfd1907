"""Panels: the settings that are kept apart on a map, in tables and in figures.

Depth and σ_w are the axes. A panel is one combination of the other settings that a run varies: every choice,
and numbers with a handful of values. What varies beyond that is pooled, and the captions say so.
"""

from __future__ import annotations

import polars as pl

from analysis.words import word
from study.trial import PARAMETERS

MAX_PANELS = 24
_MAX_NUMBERS = 4  # distinct values up to which a number makes panels
_AXES = ("depth", "weight_gain")
_FIRST = ("part", "activation", "norm", "skip")


def _candidates(*, training: bool) -> list[str]:
    names = [name for name in ("part", *PARAMETERS) if name not in _AXES]
    kept = [name for name in names if training or not _changes_training_alone(name)]
    return sorted(kept, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST))


def _changes_training_alone(name: str) -> bool:
    return name != "part" and PARAMETERS[name].training


def _distinct(trials: pl.LazyFrame, names: list[str]) -> dict[str, int]:
    return trials.select(pl.col(names).n_unique()).collect().row(0, named=True)


def _is_panel(name: str, values: int) -> bool:
    if name == "part" or PARAMETERS[name].kind == "choice":
        return values > 1
    return 1 < values <= _MAX_NUMBERS and not _changes_training_alone(name)


def panel_columns(trials: pl.LazyFrame, *, training: bool = False) -> list[str]:
    """The parameters that make panels; `training` adds choices that change training alone."""
    found = _distinct(trials, _candidates(training=training))
    return [name for name, values in found.items() if _is_panel(name, values)]


def pooled_columns(trials: pl.LazyFrame, *, training: bool = False) -> list[str]:
    """The parameters that vary inside a panel, its axes aside."""
    found = _distinct(trials, _candidates(training=training))
    return [name for name, values in found.items() if values > 1 and not _is_panel(name, values)]


def panel_keys(trials: pl.LazyFrame, columns: list[str]) -> pl.DataFrame:
    """One row per panel, in order: `panel` (0, 1, …), the columns, `heading`, `subheading`, `group`.

    The heading is the activation, the subheading whatever else varies; `group` counts the headings.
    """
    shown = list(dict.fromkeys(["activation", *columns]))
    keys = trials.select(shown).unique().collect().rows(named=True)
    keys.sort(key=lambda key: [_place(name, key[name]) for name in columns or shown])
    rest = [name for name in columns if name != "activation"]
    headings = [word("activation", key["activation"]) for key in keys]
    return pl.DataFrame(keys, schema={name: trials.collect_schema()[name] for name in shown}).with_columns(
        panel=pl.int_range(len(keys), dtype=pl.Int64),
        heading=pl.Series(headings, dtype=pl.String),
        subheading=pl.Series([" · ".join(word(n, key[n]) for n in rest) for key in keys], dtype=pl.String),
        panels=pl.lit(len(keys), pl.Int64),
    )


def _place(name: str, value: object) -> tuple:
    """Sort key: choices in the order in which they are declared, the rest by value."""
    choices = PARAMETERS[name].choices if name in PARAMETERS else ()
    if value in choices:
        return (0, choices.index(value), "")
    if isinstance(value, int | float):
        return (1, value, "")
    return (2, 0, str(value))


def with_panels(trials: pl.LazyFrame, *, training: bool = False) -> pl.LazyFrame:
    """The rows of the first MAX_PANELS panels with `panel`, `heading`, `subheading`, `panels` (how many)."""
    columns = panel_columns(trials, training=training)
    keys = panel_keys(trials, columns).lazy()
    on = list(dict.fromkeys(["activation", *columns]))
    joined = trials.join(keys, on=on, how="inner", nulls_equal=True)
    return joined.filter(pl.col("panel") < MAX_PANELS)
