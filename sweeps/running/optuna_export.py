"""A run as Optuna studies in any Optuna storage, for Optuna Dashboard and whoever works with Optuna.

One study per part, named RUN/PART (RUN alone where there is one part); one Optuna trial per point with one
draw, once all its repetitions have a row. Nothing is RUNNING: what has no result yet is not there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import optuna
import polars as pl
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages._rdb import models
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import Engine, insert

from gradatlas.study.input_files import opened_file, reject_bad_path
from gradatlas.study.regimes import regime
from gradatlas.sweeps.errors import UserError
from gradatlas.sweeps.sampling.domains import chosen_value
from gradatlas.sweeps.sampling.learned import quiet
from gradatlas.sweeps.sampling.objectives import OBJECTIVES, values
from gradatlas.sweeps.sampling.pure import distributions
from gradatlas.sweeps.spec.parts import Part
from gradatlas.sweeps.spec.sweep import Sweep
from gradatlas.sweeps.spec.task_files import stored_names
from gradatlas.sweeps.store.ledger import Ledger

_CHUNK = 1000  # trials written in one transaction


def export(ledger: Ledger, sweep: Sweep, url: str, progress: Callable[[int], None]) -> dict[str, int]:
    """Writes the studies; how many trials each got. Raises UserError where a study exists already.

    `progress` is told how many trials were written, again and again.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    names = {
        part.name: ledger.folder.name if len(sweep.parts) == 1 else f"{ledger.folder.name}/{part.name}"
        for part in sweep.parts
    }
    try:
        with quiet():
            storage = _storage(url)
            there = {study.study_name for study in storage.get_all_studies()}
            if taken := sorted(there & set(names.values())):
                raise UserError(
                    f"{url}: holds the study '{taken[0]}' already, and nothing is written twice; "
                    "delete it there, or export to another storage"
                )
            return {
                names[part.name]: _write_study(storage, names[part.name], part, ledger, sweep, progress)
                for part in sweep.parts
            }
    except UserError:
        raise
    except Exception as error:  # of whatever database: its own words, in one line
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{url}: cannot be written as an Optuna storage: {said}") from None


def _reject_foreign_file(url: str, name: str, *, begins: bytes) -> None:
    """Raises UserError for a file that is there and is something else: it would be read, and written to."""
    try:
        reject_bad_path(name.strip())
        with opened_file(Path(name), largest=2**63) as file:
            start = file.read(len(begins))
    except FileNotFoundError:
        return
    except (ValueError, OSError) as error:
        raise UserError(f"{url}: cannot be written as an Optuna storage: {error}") from None
    if start and start != begins:
        raise UserError(
            f"{url}: must be new or an Optuna storage, but is another kind of file; take another name"
        )


def _storage(url: str) -> BaseStorage:
    """journal://FILE and plain file names are Optuna journals; everything else is SQLAlchemy's."""
    if url.startswith("journal://") or "://" not in url:
        file = url.removeprefix("journal://")
        _reject_foreign_file(url, file, begins=b"{")
        return JournalStorage(JournalFileBackend(file))
    if url.startswith("sqlite:///"):
        _reject_foreign_file(url, url.removeprefix("sqlite:///").partition("?")[0], begins=b"SQLite format 3")
    return RDBStorage(url)


def _write_study(
    storage: BaseStorage,
    name: str,
    part: Part,
    ledger: Ledger,
    sweep: Sweep,
    progress: Callable[[int], None],
) -> int:
    """One part's study; where it cannot be written whole, nothing of it stays."""
    goals = OBJECTIVES[_objective(sweep)]
    study = optuna.create_study(
        storage=storage, study_name=name, directions=[StudyDirection.MINIMIZE] * len(goals)
    )
    try:
        study.set_metric_names([goal.meaning for goal in goals])
        study.set_user_attr("question", sweep.question)
        study.set_user_attr("sampler", sweep.search.sampler)
        study.set_user_attr("part", part.name)
        trials, written = finished_trials(ledger, sweep, part), 0
        while chunk := list(islice(trials, _CHUNK)):
            if isinstance(storage, RDBStorage):
                _write_to_database(storage.engine, study._study_id, chunk, written)
            else:
                study.add_trials(chunk)
            written += len(chunk)
            progress(len(chunk))
        return written
    except BaseException:
        optuna.delete_study(study_name=name, storage=storage)
        raise


def _objective(sweep: Sweep) -> str:
    """What the trials' values are: of a sweep without training, |G| alone."""
    trained = any(part.fixed.get("steps") != 0 for part in sweep.parts)
    return sweep.search.objective if trained else "gradient"


_COLUMNS = ("trial", "outcome", "failure", "final_loss", "final_accuracy", "gradient_decades")


def finished_trials(ledger: Ledger, sweep: Sweep, part: Part) -> Iterator[FrozenTrial]:
    """The Optuna trials of a part all of whose repetitions have a row, in the plan's order."""
    plan = ledger.plan().filter(part=part.name).sort("trial").collect()
    packs = plan["pack"].unique().sort()
    found = {row["trial"]: row for pack in packs for row in ledger.result_rows(pack, _COLUMNS) or ()}
    space = distributions(part.space)
    modified = datetime.now(UTC).replace(tzinfo=None)
    for group in plan.iter_slices(part.seeds):
        if all(trial in found for trial in group["trial"]):
            yield _trial(group, [found[trial] for trial in group["trial"]], space, sweep, part, modified)


def _trial(
    planned: pl.DataFrame,
    rows: list[dict[str, Any]],
    space: Mapping[str, BaseDistribution],
    sweep: Sweep,
    part: Part,
    when: datetime,
) -> FrozenTrial:
    first = planned.row(0, named=True)
    files = {name: path for path, name in stored_names(sweep.document).items()}
    stored = {**first, "task": files.get(first["task"], first["task"])}
    told = values(_objective(sweep), rows)
    trial = create_trial(
        state=TrialState.FAIL if told is None else TrialState.COMPLETE,
        values=told,
        params={name: chosen_value(domain, stored[name]) for name, domain in part.space.items()},
        distributions=dict(space),
        user_attrs=_attributes(first, rows, sweep),
    )
    trial.datetime_start = trial.datetime_complete = when
    return trial


def _attributes(first: Mapping[str, Any], rows: list[dict[str, Any]], sweep: Sweep) -> dict[str, Any]:
    """What the ledger says beside, of each repetition; in words where JSON has no such number."""
    decades = [row["gradient_decades"] for row in rows]
    labels = regime(pl.Series(decades, dtype=pl.Float64).to_numpy(), sweep.limits)
    columns = {
        "trials": [row["trial"] for row in rows],
        "regime": labels.tolist(),
        **{name: [_json_value(row[name]) for row in rows] for name in _COLUMNS[1:]},
    }
    return {"point": first["point"], "draw": first["draw"], **columns}


def _json_value(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _write_to_database(engine: Engine, study: int, trials: list[FrozenTrial], first: int) -> None:
    """Writes trials in one transaction: `add_trials` makes dozens for each, and writes 70 a second."""
    with engine.begin() as connection:
        rows = [
            {
                "number": first + number,
                "study_id": study,
                "state": trial.state,
                "datetime_start": trial.datetime_start,
                "datetime_complete": trial.datetime_complete,
            }
            for number, trial in enumerate(trials)
        ]
        table = models.TrialModel.__table__
        connection.execute(insert(table), rows)
        ids = dict(
            connection.execute(
                table.select()
                .with_only_columns(table.c.number, table.c.trial_id)
                .where(table.c.study_id == study, table.c.number >= first)
            ).all()
        )
        for model, of_trial in (
            (models.TrialParamModel, _parameter_rows),
            (models.TrialValueModel, _value_rows),
            (models.TrialUserAttributeModel, _attribute_rows),
        ):
            below = [
                {"trial_id": ids[first + number], **row}
                for number, trial in enumerate(trials)
                for row in of_trial(trial)
            ]
            if below:
                connection.execute(insert(model.__table__), below)


def _parameter_rows(trial: FrozenTrial) -> Iterator[dict[str, Any]]:
    for name, value in trial.params.items():
        distribution = trial.distributions[name]
        yield {
            "param_name": name,
            "param_value": distribution.to_internal_repr(value),
            "distribution_json": distribution_to_json(distribution),
        }


def _value_rows(trial: FrozenTrial) -> Iterator[dict[str, Any]]:
    for number, value in enumerate(trial.values or ()):
        kind = models.TrialValueModel.TrialValueType.FINITE
        yield {"objective": number, "value": value, "value_type": kind}


def _attribute_rows(trial: FrozenTrial) -> Iterator[dict[str, Any]]:
    for key, value in trial.user_attrs.items():
        yield {"key": key, "value_json": json.dumps(value)}
