"""Sweep files: TOML to a validated `Sweep`, and back.

Messages name file, key, rule, value and remedy. A sweep gives each parameter one of three roles: scientific
(an axis of the map), nuisance (searched away inside each cell), fixed.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import tomli_w

from gradatlas.study.regimes import Limits
from gradatlas.sweeps.errors import SpecError, UserError
from gradatlas.sweeps.spec.document import parsed_toml, reject_deep_keys, reject_unfit, spec_text
from gradatlas.sweeps.spec.parts import ROLES, Part, parts_of, reject_too_many
from gradatlas.sweeps.spec.search_rules import reject_bad_sampler
from gradatlas.sweeps.spec.spec_tables import (
    TABLES,
    Schedule,
    Search,
    SpecTable,
    Storage,
    parsed_table,
    reject_unknown,
)
from gradatlas.sweeps.spec.task_files import found_task, with_tasks


@dataclass(frozen=True)
class Sweep:
    """A validated sweep file."""

    question: str
    parts: tuple[Part, ...]
    search: Search
    schedule: Schedule
    storage: Storage
    limits: Limits
    document: Mapping[str, Any] = field(repr=False)  # as resolved, ready to be written

    @property
    def trials(self) -> int:
        """How many trials the sweep plans."""
        return sum(part.points * self.search.nuisance_draws * part.seeds for part in self.parts)


def load_sweep(path: Path, overrides: tuple[str, ...] = (), *, may_import: bool = True) -> Sweep:
    """The sweep of a TOML file, with `--set` overrides; raises SpecError, one line that says what to do.

    Without `may_import` a sampler's import path is taken as it stands, so that reading runs no code.
    """
    document = parsed_toml(spec_text(path), path.name)
    for override in overrides:
        _apply_override(document, override)
    return parse_sweep(document, path.name, folder=path.parent, may_import=may_import)


def _apply_override(document: dict[str, Any], override: str) -> None:
    """Sets dotted.key=TOMLVALUE; a bare word counts as a string."""
    key, equals, value = override.partition("=")
    names = [name.strip() for name in key.split(".")]
    if not equals or not all(names):
        raise SpecError(f"--set {override}: must read table.key=VALUE, for example --set search.points=64")
    reject_deep_keys(key, "--set")
    table = document
    for name in names[:-1]:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise SpecError(f"--set {override}: '{name}' is not a table")
    table[names[-1]] = _toml_value(value.strip(), override)


def _toml_value(text: str, override: str) -> Any:
    try:
        reject_deep_keys(text, f"--set {override}")
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        if re.fullmatch(r"[\w./:~-]+", text):  # a name or a path
            return text
        raise SpecError(
            f'--set {override}: the value is not TOML, for example 3, 0.5, "relu" or [1, 2]'
        ) from None


def parse_sweep(
    document: Mapping[str, Any], source: str, folder: Path = Path(), *, may_import: bool = True
) -> Sweep:
    """The sweep of a parsed document; `source` names it in messages, its files are looked for in `folder`."""
    known = ("question", *ROLES, *TABLES, "part")
    reject_unfit(document, source)
    # "name" is what a resolved file carries beside; it changes nothing.
    reject_unknown([key for key in document if key != "name"], known, source, "table")
    document = with_tasks(document, partial(found_task, source=source, folder=folder))
    question = document.get("question", "Where do gradients vanish or explode?")
    if not isinstance(question, str):
        raise SpecError(f"{source}: question: must be a string, but got {question!r}")
    tables = {
        name: parsed_table(model, document.get(name, {}), source, name) for name, model in TABLES.items()
    }
    search: Search = tables["search"]  # type: ignore[assignment]
    try:
        reject_bad_sampler(search.sampler, search.options, search.objective, may_import=may_import)
    except ValueError as error:
        raise SpecError(f"{source}: search.{error}") from None
    parts = parts_of(document, search, source, may_import=may_import)
    if search.sampler == "grid" and "points" not in document.get("search", {}):
        search = tables["search"] = search.model_copy(update={"points": parts[0].points})
    reject_too_many(parts, search, source)
    resolved = {name: table.model_dump(exclude_none=True) for name, table in tables.items()}
    if search.sampler == "grid" and "part" in document:  # each part has a grid of its own
        del resolved["search"]["points"]
    return Sweep(
        question=question,
        parts=parts,
        search=search,
        schedule=tables["schedule"],  # type: ignore[arg-type]
        storage=tables["storage"],  # type: ignore[arg-type]
        limits=_limits(tables["limits"], source),
        document={
            **document,
            "question": question,
            **resolved,
        },
    )


def dump_sweep(sweep: Sweep, name: str, stored: Mapping[str, str] | None = None) -> str:
    """The resolved sweep as TOML: every default of the tables written out; `parse_sweep` reads it back.

    `stored` gives the names that tasks' files have in the run folder.
    """
    order = ("question", *ROLES, *TABLES, "part")
    renamed = with_tasks(sweep.document, lambda task: (stored or {}).get(task, task))
    document = {key: renamed[key] for key in order if key in renamed}
    return tomli_w.dumps({"name": name, **document})


def extended_sweep(text: str, sweep: Sweep, points: int) -> str:
    """The text of a sweep file, resolved, with so many more points in every part."""
    document = tomllib.loads(text)
    if "part" not in document:
        document.setdefault("search", {})["points"] = sweep.parts[0].points + points
    for table, part in zip(document.get("part", ()), sweep.parts, strict=False):
        table.setdefault("search", {})["points"] = part.points + points
    return tomli_w.dumps(document)


def _limits(table: SpecTable, source: str) -> Limits:
    try:
        return Limits(**table.model_dump())
    except ValueError as error:
        raise SpecError(f"{source}: limits.{error}") from None
