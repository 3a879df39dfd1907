"""A user's own examples in a sweep: found where the sweep file says, kept in the run folder.

A run holds its own copy, `data/NAME.npz`, whatever the format of the original, and its `sweep.toml` and plan
name that copy relative to the run folder: workers and resumes need nothing else, and the folder may move.
Importing this module teaches `study` to read Parquet.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gradatlas.study.choices.own_data import READERS, is_file_name, read_examples
from gradatlas.sweeps.errors import SpecError, UserError

_ROLES = ("scientific", "nuisance", "fixed")
_LABELS = ("label", "labels")


def read_parquet(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The column `label` or `labels`, and all others as features in their order; raises ValueError."""
    try:
        frame = pl.read_parquet(path, glob=False, hive_partitioning=False)
    except pl.exceptions.PolarsError:
        raise ValueError(
            f"{path}: must be a Parquet file, but cannot be read as one; save it again"
        ) from None
    named = [name for name in frame.columns if name in _LABELS]
    if len(named) != 1:
        raise ValueError(
            f"{path}: must have one column 'label' or 'labels', but has {' and '.join(named) or 'neither'} "
            f"among {', '.join(frame.columns[:8]) or 'no columns'}; rename or drop"
        )
    for column in frame:
        _reject_unusable(column, path)
    features = frame.drop(named).cast(pl.Float64)
    labels = frame[named[0]]
    if labels.dtype.is_decimal():
        labels = labels.cast(pl.Float64)
    return features.to_numpy().reshape(frame.height, frame.width - 1), labels.to_numpy()


def _reject_unusable(column: pl.Series, path: Path) -> None:
    if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
        remedy = "number the classes" if column.name in _LABELS else "drop it or turn it into numbers"
        raise ValueError(f"{path}: columns must be numbers, but {column.name!r} is {column.dtype}; {remedy}")
    if column.null_count():
        raise ValueError(
            f"{path}: columns must have no gaps, but {column.name!r} has {column.null_count()} nulls; "
            "drop or fill these rows"
        )


READERS[".parquet"] = read_parquet


def with_tasks(document: Mapping[str, Any], renamed: Callable[[str], str]) -> dict[str, Any]:
    """The sweep document with every task that names a file under its new name, parts included."""
    changed = dict(document)
    for role in _ROLES:
        table = document.get(role)
        if isinstance(table, Mapping) and "task" in table:
            changed[role] = {**table, "task": _renamed(table["task"], renamed)}
    if isinstance(parts := document.get("part"), list):
        changed["part"] = [with_tasks(part, renamed) if isinstance(part, Mapping) else part for part in parts]
    return changed


def _renamed(task: Any, renamed: Callable[[str], str]) -> Any:
    if isinstance(task, list):
        return [_renamed(value, renamed) for value in task]
    return renamed(task) if isinstance(task, str) and is_file_name(task) else task


def found_task(name: str, *, source: str, folder: Path) -> str:
    """The absolute path of a task's file, from the sweep file's folder or else the working directory."""
    for place in (folder, Path()):
        path = place / Path(name).expanduser()
        if path.is_file():
            return str(path.resolve())
    where = "" if Path(name).is_absolute() else f" in {folder.resolve()} or the working directory"
    raise SpecError(f"{source}: task: there is no file {name}{where}; check the path")


def stored_names(document: Mapping[str, Any]) -> dict[str, str]:
    """For every file that a document's tasks name, the name of the run's copy; no two share one."""
    stored: dict[str, str] = {}

    def note(name: str) -> str:
        if name not in stored:
            stored[name] = _free_name(Path(name).stem, set(stored.values()))
        return name

    with_tasks(document, note)
    return stored


def _free_name(stem: str, taken: set[str]) -> str:
    names = (f"data/{stem}{'' if number == 1 else f'-{number}'}.npz" for number in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)


def npz_bytes(path: Path) -> bytes:
    """A checked file of any format as an .npz of `features` and `labels`; raises UserError."""
    try:
        examples = read_examples(path)
    except ValueError as error:
        raise UserError(str(error)) from None
    buffer = io.BytesIO()
    np.savez(buffer, features=examples.features, labels=examples.labels)
    return buffer.getvalue()
