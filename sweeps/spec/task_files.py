"""A user's own examples in a sweep: found where the sweep file says, kept in the run folder.

A run holds its own copy, `data/NAME.npz`, whatever the format of the original, and its `sweep.toml` and plan
name that copy relative to the run folder: workers and resumes need nothing else, and the folder may move.
Importing this module teaches `study` to read Parquet.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gradatlas.study.choices.own_data import (
    LARGEST_FILE,
    READERS,
    is_file_name,
    odd_columns,
    read_examples,
)
from gradatlas.study.input_files import opened_file, reject_bad_path
from gradatlas.sweeps.errors import SpecError, UserError

_ROLES = ("scientific", "nuisance", "fixed")
_LABELS = ("label", "labels")


def read_parquet(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The column `label` or `labels`, and all others as features in their order; raises ValueError."""
    frame, _ = _table(path)
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


def _table(path: Path) -> tuple[pl.DataFrame, list[str]]:
    """A Parquet file's columns, and the names of those that it calls its index itself, which are left out."""
    opened_file(path, largest=LARGEST_FILE).close()  # a regular file
    try:
        scan = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        rows, names = scan.select(pl.len()).collect().item(), scan.collect_schema().names()
        if 8 * rows * len(names) > LARGEST_FILE:  # a few bytes can stand for very many rows
            raise ValueError(
                f"{path}: must be at most {LARGEST_FILE // 2**20} MiB of numbers, but has {rows} rows of "
                f"{len(names)} columns; take less into it"
            )
        index = [name for name in _index_names(path) if name in names and name not in _LABELS]
        return scan.drop(index).collect(), index
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        raise ValueError(
            f"{path}: must be a Parquet file, but cannot be read as one; save it again"
        ) from None


def _index_names(path: Path) -> list[str]:
    """What pandas says in the file's metadata that its index is: columns are names, a range is a table."""
    try:
        said = json.loads(pl.read_parquet_metadata(path).get("pandas", "{}"))["index_columns"]
        return [name for name in said if isinstance(name, str)]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []


def task_notes(document: Mapping[str, Any]) -> list[str]:
    """A line about each file of examples with columns that are hardly features, for its user to read."""
    notes = []
    for name in stored_names(document):
        path = Path(name)
        try:
            index, found = _odd_columns(path)
        except ValueError as error:  # it was changed since it was checked
            raise UserError(str(error)) from None
        kinds = {"left out, since pandas calls it the index": index} | found
        said = [f"{kind}: {_listed(names)}" for kind, names in kinds.items() if names]
        notes += [f"{path}: {'; '.join(said)}"] if said else []
    return notes


def _odd_columns(path: Path) -> tuple[list[str], dict[str, list[str]]]:
    """The index columns of a file, and what `odd_columns` says of the others; an .npz has no names."""
    if path.suffix.lower() == ".parquet":
        frame, index = _table(path)
        label = next(column for column in frame.columns if column in _LABELS)
        columns = {column.name: column.to_numpy() for column in frame.drop(label)}
        return index, odd_columns(columns, frame[label].to_numpy())
    features, labels = read_examples(path)
    return [], odd_columns({f"column {at}": features[:, at] for at in range(features.shape[1])}, labels)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more


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
    try:
        reject_bad_path(name)
        for place in (folder, Path()):
            path = place / Path(name).expanduser()
            if path.is_file() or (path.exists() and not path.is_dir()):  # what is no file is told when read
                return str(path.resolve())
    except (ValueError, OSError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise SpecError(f"{source}: task: {name[:80]}: {said}; check the path") from None
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
