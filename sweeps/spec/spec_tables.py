"""The tables of a sweep file that are no parameters: [search], [schedule], [storage], [limits].

Every key is declared here once, with default, rule and meaning; pydantic's findings are put in our words.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, Literal

import pydantic

from gradatlas.study.input_files import reject_bad_path
from gradatlas.study.regimes import Limits
from gradatlas.study.trial import shown
from gradatlas.sweeps.errors import SpecError
from gradatlas.sweeps.sampling.domains import MOST_TRIALS


class SpecTable(pydantic.BaseModel):
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


class Search(SpecTable):
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
        le=MOST_TRIALS,
        description="settings of the scientific parameters; omit for grid, which always runs in full",
    )
    nuisance_draws: int = pydantic.Field(
        1, ge=1, le=MOST_TRIALS, description="nuisance settings tried at each point"
    )
    seeds: int = pydantic.Field(
        1, ge=1, le=MOST_TRIALS, description="repetitions of each draw, each with a seed of its own"
    )
    seed: int = pydantic.Field(0, ge=0, lt=2**63, description="seed of the whole sweep")


class Schedule(SpecTable):
    """[schedule]: how the trials are packed and run."""

    pack_size: Literal["auto"] | int = pydantic.Field(
        "auto", description='maximum trials per pack, or "auto"; 1 gives one Ray Tune trial per trial'
    )
    cpus_per_pack: int = pydantic.Field(1, ge=1, description="CPUs that a pack asks Ray for")
    gpus_per_pack: float = pydantic.Field(
        0.0, ge=0, description="GPUs, or the share of one, that a pack asks for"
    )
    max_failures: int = pydantic.Field(
        2, ge=0, lt=2**63, description="retries of packs that failed for external reasons"
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
        None, ge=1, lt=2**63, description="maximum packs at once; default: as many as the CPUs and GPUs hold"
    )
    cpus: int | None = pydantic.Field(
        None, ge=1, lt=2**63, description="CPUs that the local Ray may use; default: all"
    )

    @pydantic.field_validator("pack_size")
    @classmethod
    def _positive(cls, value: Literal["auto"] | int) -> Literal["auto"] | int:
        if isinstance(value, int) and not 1 <= value < 2**63:
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


class Storage(SpecTable):
    """[storage]: where runs are kept."""

    runs: str = pydantic.Field("runs", min_length=1, description="folder of the run folders")

    @pydantic.field_validator("runs")
    @classmethod
    def _usable(cls, value: str) -> str:
        reject_bad_path(value)
        return value


class LimitsTable(SpecTable):
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


TABLES: dict[str, type[SpecTable]] = {
    "search": Search,
    "schedule": Schedule,
    "storage": Storage,
    "limits": LimitsTable,
}


def table_of(value: Any, source: str, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise SpecError(f"{source}: {name}: must be a table, but got {value!r}")
    return value


def parsed_table(model: type[SpecTable], value: Any, source: str, name: str) -> SpecTable:
    table = table_of(value, source, name)
    reject_unknown(table, tuple(model.model_fields), f"{source}: {name}", "key")
    try:
        return model.model_validate(_with_floats(model, table))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = f"{name}.{first['loc'][0]}"
        raise SpecError(f"{source}: {key}: {_rule(first)}, but got {shown(first['input'])}") from None


def _with_floats(model: type[SpecTable], table: Mapping[str, Any]) -> dict[str, Any]:
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
    return words.get(error["type"], str(error["msg"]))


def reject_unknown(keys: Any, known: tuple[str, ...], where: str, noun: str) -> None:
    for key in keys:
        if key not in known:
            raise SpecError(
                f"{where}: unknown {noun} '{key}'"
                + (_suggestion(key, known) or f"; known: {', '.join(known)}")
            )


def _suggestion(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""
