"""Panels: the settings that are kept apart on a map, in tables and in figures.

Depth and σ_w are the axes. A panel is one combination of the other settings that a run varies: every choice,
and numbers with a handful of values. What varies beyond that is pooled, and the captions say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from gradatlas.analysis.words import word
from gradatlas.study.trial import DEFAULTS, PARAMETERS

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
    """One row per panel, in order: `panel` (0, 1, …), the columns, `heading`, `subheading`, `panels` (all).

    The heading is the activation, the subheading what else tells the setting; the largest part comes first.
    """
    shown = list(dict.fromkeys(["activation", *columns]))
    counted = trials.group_by(shown).len().collect()
    keys = counted.drop("len").rows(named=True)
    sizes = _part_sizes(counted)
    keys.sort(key=lambda key: (-sizes.get(key.get("part"), 0), [_place(n, key[n]) for n in columns or shown]))
    rest = distinguishing_names(keys, [name for name in columns if name != "activation"])
    headings = [word("activation", key["activation"]) for key in keys]
    return pl.DataFrame(keys, schema={name: trials.collect_schema()[name] for name in shown}).with_columns(
        panel=pl.int_range(len(keys), dtype=pl.Int64),
        heading=pl.Series(headings, dtype=pl.String),
        subheading=pl.Series(
            [" · ".join(word(n, key[n]) for n in names) for key, names in zip(keys, rest, strict=True)],
            dtype=pl.String,
        ),
        panels=pl.lit(len(keys), pl.Int64),
    )


def _part_sizes(counted: pl.DataFrame) -> dict[object, int]:
    if "part" not in counted.columns:
        return {}
    return dict(counted.group_by("part").agg(pl.col("len").sum()).iter_rows())


def distinguishing_names(keys: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[list[str]]:
    """The names that each setting is called by: what its part varies, and where its part is unlike most."""
    values: dict[str, dict[object, set[object]]] = {name: {} for name in names}
    for key in keys:
        for name in names:
            values[name].setdefault(key.get("part"), set()).add(key[name])
    usual = {name: _usual(name, parts.values()) for name, parts in values.items()}

    def distinguishes(name: str, key: Mapping[str, Any]) -> bool:
        if name == "part" or "part" not in key:
            return True
        return len(values[name][key["part"]]) > 1 or key[name] != usual[name]

    return [[name for name in names if distinguishes(name, key)] for key in keys]


def _usual(name: str, parts: Iterable[set[object]]) -> object:
    """The value that most parts have that have one alone, the default where as many have another."""
    alone = [value for values in parts if len(values) == 1 for value in values]
    return max(alone, key=lambda value: (alone.count(value), value == DEFAULTS.get(name)), default=None)


def _place(name: str, value: object) -> tuple[int, float, str]:
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


SETTING = ("part", "activation", "norm", "norm_position", "skip")


def setting_columns(frame: pl.LazyFrame) -> list[str]:
    """The columns that settings are told apart by: the usual ones, and what else the run varies."""
    return list(dict.fromkeys([*SETTING, *panel_columns(frame)]))
