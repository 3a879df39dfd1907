"""Sweep files: TOML to a validated `Sweep`.

Every table and key is declared here once, with default, rule and meaning; messages name file, key, rule,
value and remedy. A sweep gives each parameter one of three roles: scientific (an axis of the map), nuisance
(searched away inside each cell), fixed.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pydantic
import tomli_w

from study.regimes import Limits
from study.trial import PARAMETERS, reject_bad_value, trial_of
from sweeps.domains import Domain, parse_domain
from sweeps.errors import SpecError
from sweeps.samplers import is_learning
from sweeps.search_rules import grid_points, reject_bad_sampler, reject_unlearnable
from sweeps.task_files import found_task, with_tasks

ROLES = ("scientific", "nuisance", "fixed")


class _Table(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, strict=True, validate_default=True, allow_inf_nan=False
    )


_DURATION = re.compile(r"(?:([\d.]+) ?h)? ?(?:([\d.]+) ?m(?:in)?)? ?(?:([\d.]+) ?s)?")


def _seconds(text: str) -> float:
    """Seconds of a duration such as "2h 30m", "45 min" or "90s"."""
    found = _DURATION.fullmatch(text.strip())
    try:
        hours, minutes, seconds = (float(number or 0) for number in found.groups())  # type: ignore[union-attr]
    except (AttributeError, ValueError):
        raise ValueError('must be seconds or a duration such as "2h 30m"') from None
    return 3600 * hours + 60 * minutes + seconds


class Search(_Table):
    """[search]: which points are tried."""

    sampler: str = pydantic.Field(
        "qmc",
        description="how points are chosen: qmc (scrambled Sobol), random, grid; tpe, gp, cmaes and "
        'nsgaii learn, and so does an Optuna sampler by import path, "optuna.samplers.NSGAIIISampler"',
    )
    options: dict[str, Any] = pydantic.Field(
        {}, description="options of a learning sampler, by its constructor's names: { n_startup_trials = 20 }"
    )
    objective: str = pydantic.Field(
        "final_loss",
        description='what a learning sampler makes small: "final_loss", "gradient" (|G|) or "both"',
    )
    points: int = pydantic.Field(
        256,
        ge=1,
        le=10**7,
        description="settings of the scientific parameters; grid: all of it, left out here",
    )
    nuisance_draws: int = pydantic.Field(1, ge=1, description="nuisance settings tried at each point")
    seeds: int = pydantic.Field(1, ge=1, description="repetitions of each draw, each with a seed of its own")
    seed: int = pydantic.Field(0, ge=0, lt=2**63, description="seed of the whole sweep")


class Schedule(_Table):
    """[schedule]: how the trials are packed and run."""

    pack_size: Literal["auto"] | int = pydantic.Field(
        "auto", description='most trials of a pack, or "auto"; 1 gives one Ray Tune trial per trial'
    )
    cpus_per_pack: int = pydantic.Field(1, ge=1, description="CPUs that a pack asks Ray for")
    gpus_per_pack: float = pydantic.Field(
        0.0, ge=0, description="GPUs, or the share of one, that a pack asks for"
    )
    max_failures: int = pydantic.Field(
        2, ge=0, description="times that what failed for no reason of its own is tried again"
    )
    save_interval: float = pydantic.Field(
        60.0, ge=0, description="seconds between two saves of a pack's state"
    )
    time_budget: float | None = pydantic.Field(
        None, gt=0, description='seconds, or "2h 30m": after it no pack starts and those in hand are saved'
    )
    grace: float = pydantic.Field(
        15.0, ge=0, description="seconds that packs have to be saved after SIGTERM or SIGUSR1"
    )
    concurrency: int | None = pydantic.Field(
        None, ge=1, description="most packs at a time; default: as many as the CPUs and GPUs hold"
    )
    cpus: int | None = pydantic.Field(None, ge=1, description="CPUs that the local Ray may use; default: all")

    @pydantic.field_validator("pack_size")
    @classmethod
    def _positive(cls, value: Literal["auto"] | int) -> Literal["auto"] | int:
        if isinstance(value, int) and value < 1:
            raise ValueError('must be "auto" or a whole number >= 1')
        return value

    @pydantic.field_validator("gpus_per_pack")
    @classmethod
    def _whole_beyond_one(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError("must be a share of one GPU or a whole number")
        return value

    @pydantic.field_validator("time_budget", mode="before")
    @classmethod
    def _in_seconds(cls, value: Any) -> Any:
        return _seconds(value) if isinstance(value, str) else value


class Storage(_Table):
    """[storage]: where runs are kept."""

    runs: str = pydantic.Field("runs", min_length=1, description="folder of the run folders")


class LimitsTable(_Table):
    """[limits]: the limits that labels depend on."""

    stable_decades: float = pydantic.Field(
        Limits.stable_decades, gt=0, description="|G| of a stable gradient"
    )
    severe_decades: float = pydantic.Field(
        Limits.severe_decades, gt=0, description="|G| beyond which it is severe"
    )
    learned_share: float = pydantic.Field(
        Limits.learned_share,
        gt=0,
        description="of the constant predictor's loss, below which a net has learned",
    )
    diverged_factor: float = pydantic.Field(
        Limits.diverged_factor, gt=0, description="times the first loss, above which training has diverged"
    )


TABLES: dict[str, type[_Table]] = {
    "search": Search,
    "schedule": Schedule,
    "storage": Storage,
    "limits": LimitsTable,
}
_PART_KEYS = ("name", *ROLES, "search")
_PART_SEARCH_KEYS = ("points", "seeds")


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


def load_sweep(path: Path, overrides: tuple[str, ...] = ()) -> Sweep:
    """The sweep of a TOML file, with `--set` overrides; raises SpecError, one line that says what to do."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise SpecError(f"{path}: there is no such file; `gradatlas presets` lists the presets") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read as a text file: {error}") from None
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{path.name}: not TOML: {error}") from None
    for override in overrides:
        _apply_override(document, override)
    return parse_sweep(document, path.name, folder=path.parent)


def _apply_override(document: dict[str, Any], override: str) -> None:
    """Sets dotted.key=TOMLVALUE; a bare word counts as a string."""
    key, equals, value = override.partition("=")
    names = [name.strip() for name in key.split(".")]
    if not equals or not all(names):
        raise SpecError(f"--set {override}: must read table.key=VALUE, for example --set search.points=64")
    table = document
    for name in names[:-1]:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise SpecError(f"--set {override}: '{name}' is not a table")
    table[names[-1]] = _toml_value(value.strip(), override)


def _toml_value(text: str, override: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        if re.fullmatch(r"[\w./:~-]+", text):  # a name or a path
            return text
        raise SpecError(
            f'--set {override}: the value is not TOML, for example 3, 0.5, "relu" or [1, 2]'
        ) from None


def parse_sweep(document: Mapping[str, Any], source: str, folder: Path = Path()) -> Sweep:
    """The sweep of a parsed document; `source` names it in messages, its files are looked for in `folder`."""
    known = ("question", *ROLES, *TABLES, "part")
    # "name" is what a resolved file carries beside; it changes nothing.
    _reject_unknown([key for key in document if key != "name"], known, source, "table")
    document = with_tasks(document, partial(found_task, source=source, folder=folder))
    question = document.get("question", "Where do gradients vanish or explode?")
    if not isinstance(question, str):
        raise SpecError(f"{source}: question: must be a string, but got {question!r}")
    tables = {
        name: _parsed_table(model, document.get(name, {}), source, name) for name, model in TABLES.items()
    }
    search: Search = tables["search"]  # type: ignore[assignment]
    try:
        reject_bad_sampler(search.sampler, search.options, search.objective)
    except ValueError as error:
        raise SpecError(f"{source}: search.{error}") from None
    parts = _parts(document, search, source)
    if search.sampler == "grid" and "points" not in document.get("search", {}):
        search = tables["search"] = search.model_copy(update={"points": parts[0].points})
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


def _limits(table: _Table, source: str) -> Limits:
    try:
        return Limits(**table.model_dump())
    except ValueError as error:
        raise SpecError(f"{source}: limits.{error}") from None


def _parts(document: Mapping[str, Any], search: Search, source: str) -> tuple[Part, ...]:
    base = {role: _table(document.get(role, {}), source, role) for role in ROLES}
    listed = document.get("part")
    # A grid has as many points as it has, unless the file says a number, which must be right.
    general = search.points if search.sampler != "grid" else document.get("search", {}).get("points")
    if listed is None:
        return (_part("main", base, general, search, source, ""),)
    if not isinstance(listed, list) or not listed or not all(isinstance(entry, dict) for entry in listed):
        raise SpecError(f"{source}: part: must be one or more [[part]] tables")
    parts = []
    for number, entry in enumerate(listed, 1):
        where = f"part {number}: "
        _reject_unknown(entry, _PART_KEYS, f"{source}: {where.strip().rstrip(':')}", "key")
        name = entry.get("name")
        if not isinstance(name, str) or not name:
            raise SpecError(f"{source}: {where}name: must be a non-empty string, but got {name!r}")
        own = _table(entry.get("search", {}), source, f"{where}search")
        _reject_unknown(own, _PART_SEARCH_KEYS, f"{source}: {where}search", "key")
        counts = _parsed_table(Search, own, source, f"{where}search").model_dump(include=set(own))
        own_search = search.model_copy(update=counts)
        roles = {role: _table(entry.get(role, {}), source, f"{where}{role}") for role in ROLES}
        points = counts.get("points", general)
        parts.append(_part(name, _merged(base, roles), points, own_search, source, where))
    names = [part.name for part in parts]
    if len(set(names)) < len(names):
        raise SpecError(f"{source}: part: names must differ, but got {', '.join(names)}")
    return tuple(parts)


def _merged(base: Mapping[str, Mapping], own: Mapping[str, Mapping]) -> dict[str, dict]:
    """The file's tables with a part's own put over them; a parameter keeps only the part's role for it."""
    named = {name for table in own.values() for name in table}
    return {
        role: {name: value for name, value in base[role].items() if name not in named} | dict(own[role])
        for role in ROLES
    }


def _part(
    name: str, roles: Mapping[str, Mapping], points: int | None, search: Search, source: str, where: str
) -> Part:
    owner: dict[str, str] = {}
    for role in ROLES:
        for parameter in roles[role]:
            _reject_unknown([parameter], tuple(PARAMETERS), f"{source}: {where}{role}", "parameter")
            if parameter in owner:
                raise SpecError(
                    f"{source}: {where}{parameter}: must have one role, but stands in "
                    f"[{owner[parameter]}] and [{role}]"
                )
            owner[parameter] = role
    domains = {
        role: {
            key: parse_domain(key, value, f"{source}: {where}{role}.{key}")
            for key, value in roles[role].items()
        }
        for role in ("scientific", "nuisance")
    }
    for key, value in roles["fixed"].items():
        if isinstance(value, list | dict):
            raise SpecError(
                f"{source}: {where}fixed.{key}: must be one value; put ranges and lists in [scientific]"
            )
        _reject_value(key, value, f"{source}: {where}fixed")
    fixed = dict(roles["fixed"])
    try:
        if search.sampler == "grid":
            points = grid_points(domains["scientific"], points)
        part = Part(name, domains["scientific"], domains["nuisance"], fixed, points or 0, search.seeds)
        _reject_impossible_trials(part)
        if is_learning(search.sampler):
            reject_unlearnable(
                search.sampler,
                search.options,
                search.objective,
                space=part.space,
                fixed=fixed,
                optuna_trials=part.points * search.nuisance_draws,
            )
    except ValueError as error:
        raise SpecError(f"{source}: {where}{error}") from None
    return part


def _reject_impossible_trials(part: Part) -> None:
    """Tries the values that rules between parameters could forbid, one parameter at a time."""
    corners = {name: domain.extremes() for name, domain in part.space.items()}
    first = {name: values[0] for name, values in corners.items()}
    for name, values in corners.items() or {"": [None]}.items():
        for value in values:
            trial_of({**part.fixed, **first, **({name: value} if name else {})})


def _table(value: Any, source: str, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise SpecError(f"{source}: {name}: must be a table, but got {value!r}")
    return value


def _parsed_table(model: type[_Table], value: Any, source: str, name: str) -> _Table:
    table = _table(value, source, name)
    _reject_unknown(table, tuple(model.model_fields), f"{source}: {name}", "key")
    try:
        return model.model_validate(_with_floats(model, table))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = f"{name}.{first['loc'][0]}"
        raise SpecError(f"{source}: {key}: {_rule(first)}, but got {first['input']!r}") from None


def _with_floats(model: type[_Table], table: Mapping[str, Any]) -> dict[str, Any]:
    """Whole numbers where a float is asked for: strict mode keeps "3" and true out, but 3 is a number."""
    wants_float = {
        name for name, info in model.model_fields.items() if info.annotation in (float, float | None)
    }
    return {
        key: float(value) if key in wants_float and type(value) is int and abs(value) < 2**63 else value
        for key, value in table.items()
    }


def _rule(error: Any) -> str:
    """pydantic's finding in our words."""
    context = error.get("ctx", {})
    words = {
        "int_type": "must be a whole number",
        "float_type": "must be a number",
        "string_type": "must be a string",
        "dict_type": "must be a table",
        "string_too_short": "must not be empty",
        "greater_than_equal": f"must be >= {context.get('ge')}",
        "greater_than": f"must be > {context.get('gt')}",
        "less_than": f"must be < {context.get('lt')}",
        "less_than_equal": f"must be <= {context.get('le')}",
        "finite_number": "must be a finite number",
        "literal_error": 'must be "auto" or a whole number >= 1',
        "value_error": str(context.get("error", "")),
    }
    return words.get(error["type"], error["msg"])


def _reject_unknown(keys: Any, known: tuple[str, ...], where: str, noun: str) -> None:
    for key in keys:
        if key not in known:
            raise SpecError(
                f"{where}: unknown {noun} '{key}'"
                + (_suggestion(key, known) or f"; known: {', '.join(known)}")
            )


def _suggestion(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def _reject_value(name: str, value: Any, where: str) -> None:
    try:
        reject_bad_value(name, value)
    except ValueError as error:
        raise SpecError(f"{where}.{error}") from None
