"""The parts of a sweep file: parameters in their roles, each a range, a list or a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gradatlas.study.trial import PARAMETERS, reject_bad_value, trial_of
from gradatlas.sweeps.errors import SpecError
from gradatlas.sweeps.sampling.domains import MOST_TRIALS, Domain, parse_domain
from gradatlas.sweeps.sampling.samplers import LEARNING, is_learning
from gradatlas.sweeps.spec.search_rules import grid_points, reject_unlearnable
from gradatlas.sweeps.spec.spec_tables import Search, parsed_table, reject_unknown, table_of

ROLES = ("scientific", "nuisance", "fixed")
_PART_KEYS = ("name", *ROLES, "search")
_PART_SEARCH_KEYS = ("points", "seeds")
_MOST_PARTS, _LONGEST_NAME = 1000, 100


@dataclass(frozen=True)
class Part:
    """One product space of a sweep. Cells and maps never cross parts."""

    name: str
    scientific: Mapping[str, Domain]
    nuisance: Mapping[str, Domain]
    fixed: Mapping[str, Any]
    points: int
    seeds: int

    @property
    def space(self) -> dict[str, Domain]:
        """Scientific, then nuisance parameters."""
        return {**self.scientific, **self.nuisance}


def parts_of(
    document: Mapping[str, Any], search: Search, source: str, *, may_import: bool = True
) -> tuple[Part, ...]:
    """The parts of a sweep file; one named "main" where it lists none.

    Without `may_import` a sampler by import path is not tried on them.
    """
    base = {role: table_of(document.get(role, {}), source, role) for role in ROLES}
    listed = document.get("part")
    # A grid has as many points as it has, unless the file says a number, which must be right.
    general = search.points if search.sampler != "grid" else document.get("search", {}).get("points")
    if isinstance(listed, list) and len(listed) > _MOST_PARTS:
        raise SpecError(f"{source}: part: must be at most {_MOST_PARTS} tables, but there are {len(listed)}")
    if listed is None:
        return (_part("main", base, general, search, source, "", may_import=may_import),)
    if not isinstance(listed, list) or not listed or not all(isinstance(entry, dict) for entry in listed):
        raise SpecError(f"{source}: part: must be one or more [[part]] tables")
    parts = tuple(
        _listed_part(entry, f"part {number}: ", base, general, search, source, may_import=may_import)
        for number, entry in enumerate(listed, 1)
    )
    names = [part.name for part in parts]
    if len(set(names)) < len(names):
        raise SpecError(f"{source}: part: names must differ, but got {', '.join(names)}")
    return parts


def reject_too_many(parts: tuple[Part, ...], search: Search, source: str) -> None:
    """Raise SpecError where the parts together have more trials than can be planned."""
    trials = sum(part.points * search.nuisance_draws * part.seeds for part in parts)
    if trials > MOST_TRIALS:
        raise SpecError(
            f"{source}: search.points: points × nuisance_draws × seeds must be <= {MOST_TRIALS} trials over "
            f"all parts, but are {trials}; take fewer, or several sweeps"
        )


def _listed_part(
    entry: Mapping[str, Any],
    where: str,
    base: Mapping[str, Mapping[str, Any]],
    general: int | None,
    search: Search,
    source: str,
    *,
    may_import: bool,
) -> Part:
    """The part of one [[part]] table, `where` in the file."""
    reject_unknown(entry, _PART_KEYS, f"{source}: {where.strip().rstrip(':')}", "key")
    name = entry.get("name")
    if not isinstance(name, str) or not 1 <= len(name) <= _LONGEST_NAME:
        raise SpecError(
            f"{source}: {where}name: must be a non-empty string of at most {_LONGEST_NAME} characters, but "
            f"got {name!r}"
        )
    own = table_of(entry.get("search", {}), source, f"{where}search")
    reject_unknown(own, _PART_SEARCH_KEYS, f"{source}: {where}search", "key")
    counts = parsed_table(Search, own, source, f"{where}search").model_dump(include=set(own))
    roles = {role: table_of(entry.get(role, {}), source, f"{where}{role}") for role in ROLES}
    points = counts.get("points", general)
    counted = search.model_copy(update=counts)
    return _part(name, _merged(base, roles), points, counted, source, where, may_import=may_import)


def _merged(
    base: Mapping[str, Mapping[str, Any]], own: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """The file's tables with a part's own put over them; a parameter keeps only the part's role for it."""
    named = {name for table in own.values() for name in table}
    return {
        role: {name: value for name, value in base[role].items() if name not in named} | dict(own[role])
        for role in ROLES
    }


def _part(
    name: str,
    roles: Mapping[str, Mapping[str, Any]],
    points: int | None,
    search: Search,
    source: str,
    where: str,
    *,
    may_import: bool,
) -> Part:
    _reject_two_roles(roles, source, where)
    scientific, nuisance = (
        {
            key: parse_domain(key, value, f"{source}: {where}{role}.{key}")
            for key, value in roles[role].items()
        }
        for role in ("scientific", "nuisance")
    )
    _reject_bad_values(roles["fixed"], f"{source}: {where}fixed")
    try:
        if search.sampler == "grid":
            points = grid_points(scientific, points)
        part = Part(name, scientific, nuisance, dict(roles["fixed"]), points or 0, search.seeds)
        _reject_impossible_trials(part)
        if is_learning(search.sampler) and (may_import or search.sampler in LEARNING):
            reject_unlearnable(
                search.sampler,
                search.options,
                search.objective,
                space=part.space,
                fixed=part.fixed,
                optuna_trials=part.points * search.nuisance_draws,
            )
    except ValueError as error:
        raise SpecError(f"{source}: {where}{error}") from None
    return part


def _reject_two_roles(roles: Mapping[str, Mapping[str, Any]], source: str, where: str) -> None:
    owner: dict[str, str] = {}
    for role in ROLES:
        for parameter in roles[role]:
            reject_unknown([parameter], tuple(PARAMETERS), f"{source}: {where}{role}", "parameter")
            if parameter in owner:
                raise SpecError(
                    f"{source}: {where}{parameter}: must have one role, but stands in "
                    f"[{owner[parameter]}] and [{role}]"
                )
            owner[parameter] = role


def _reject_bad_values(fixed: Mapping[str, Any], where: str) -> None:
    for key, value in fixed.items():
        if isinstance(value, list | dict):
            raise SpecError(f"{where}.{key}: must be one value; put ranges and lists in [scientific]")
        try:
            reject_bad_value(key, value)
        except ValueError as error:
            raise SpecError(f"{where}.{error}") from None


def _reject_impossible_trials(part: Part) -> None:
    """Tries the values that rules between parameters could forbid, one parameter at a time."""
    corners = {name: domain.extremes() for name, domain in part.space.items()}
    first = {name: values[0] for name, values in corners.items()}
    for name, values in corners.items() or {"": [None]}.items():
        for value in values:
            trial_of({**part.fixed, **first, **({name: value} if name else {})})
