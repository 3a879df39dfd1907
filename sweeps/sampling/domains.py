"""The values that a swept parameter ranges over; in TOML `{ low, high, log, levels }` or a list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradatlas.study.trial import PARAMETERS, reject_bad_value
from gradatlas.sweeps.errors import SpecError


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included; whole ones for an integer parameter."""

    low: float
    high: float
    log: bool
    integer: bool
    levels: int | None = None

    def extremes(self) -> list[float | int]:
        """Its two ends."""
        return [int(self.low), int(self.high)] if self.integer else [self.low, self.high]


@dataclass(frozen=True)
class Choices:
    """A list of values."""

    values: tuple[Any, ...]

    def extremes(self) -> list[Any]:
        """All of them."""
        return list(self.values)


Domain = Range | Choices
MOST_TRIALS = 10**7  # of a sweep: a plan takes a kilobyte of memory for each
_MOST_LEVELS, _MOST_VALUES = 10**6, 1000


def most_grid_values(name: str, domain: Domain) -> int:
    """At most so many values has an axis of a grid, told without making them; raises ValueError."""
    if isinstance(domain, Choices):
        return len(domain.values)
    if domain.levels is None:
        raise ValueError(
            f"{name}: must have levels with sampler grid, as in {{ low = …, high = …, levels = 8 }}"
        )
    return min(domain.levels, int(domain.high) - int(domain.low) + 1) if domain.integer else domain.levels


def grid_values(name: str, domain: Domain) -> list[Any]:
    """The values of an axis of a grid; whole numbers that coincide once rounded count once.

    Raises ValueError for a range without levels.
    """
    most_grid_values(name, domain)
    if isinstance(domain, Choices):
        return list(domain.values)
    assert domain.levels is not None
    spaced = np.geomspace if domain.log else np.linspace
    values = spaced(domain.low, domain.high, domain.levels)
    if domain.integer:
        return sorted({int(value) for value in np.round(values)})
    return list(np.clip(values, domain.low, domain.high).tolist())


def chosen_value(domain: Domain, stored: Any) -> Any:
    """The domain's own value of one that a trial or a plan holds, where "off" is None and 1 may be 1.0."""
    if isinstance(domain, Choices):
        return next(value for value in domain.values if (None if value == "off" else value) == stored)
    return stored


def parse_domain(name: str, value: Any, where: str) -> Domain:
    """The domain of a parameter as a sweep file writes it; raises SpecError."""
    if isinstance(value, list):
        return _choices(name, value, where)
    if isinstance(value, dict):
        return _range(name, value, where)
    raise SpecError(
        f"{where}: must be a list of values or {{ low = …, high = … }}, but got {value!r}; "
        "one value belongs in [fixed]"
    )


def _choices(name: str, values: list[Any], where: str) -> Choices:
    if not values:
        raise SpecError(f"{where}: must list at least one value, but got []")
    if len(values) > _MOST_VALUES:
        raise SpecError(
            f"{where}: must list at most {_MOST_VALUES} values, but lists {len(values)}; take a range"
        )
    for value in values:
        _reject(name, value, where)
    if len({repr(value) for value in values}) < len(values):
        raise SpecError(f"{where}: values must differ, but got {values!r}")
    return Choices(tuple(values))


def _range(name: str, table: dict[str, Any], where: str) -> Range:
    unknown = set(table) - {"low", "high", "log", "levels"}
    if unknown:
        raise SpecError(f"{where}: unknown key '{min(unknown)}'; a range has low, high, log and levels")
    if PARAMETERS[name].kind == "choice":
        raise SpecError(f"{where}: must be a list of names; {PARAMETERS[name].rule()}")
    for end in ("low", "high"):
        if end not in table:
            raise SpecError(f"{where}: a range must have low and high, but {end} is missing")
        if table[end] == "off":
            raise SpecError(f'{where}.{end}: must be a number; list "off" among values instead')
        _reject(name, table[end], f"{where}.{end}")
    low, high, log, levels = table["low"], table["high"], table.get("log", False), table.get("levels")
    if not isinstance(log, bool):
        raise SpecError(f"{where}.log: must be true or false, but got {log!r}")
    if log and low <= 0:
        raise SpecError(f"{where}: low > 0 must hold with log = true, but low is {low:g}")
    if low >= high:
        raise SpecError(f"{where}: low < high must hold, but {low:g} >= {high:g}")
    if levels is not None and (type(levels) is not int or not 1 <= levels <= _MOST_LEVELS):
        raise SpecError(
            f"{where}.levels: must be a whole number from 1 to {_MOST_LEVELS}, but got {levels!r}"
        )
    return Range(low, high, log, PARAMETERS[name].kind == "integer", levels)


def _reject(name: str, value: Any, where: str) -> None:
    try:
        reject_bad_value(name, value)
    except ValueError as error:
        raise SpecError(f"{where}: {str(error).removeprefix(f'{name}: ')}") from None
