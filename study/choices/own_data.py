"""A user's own examples: files with `features` and `labels`, read and checked.

`features` is (examples, dimensions), any numbers. `labels` decide what the task is by their type: whole
numbers are classes 0, 1, … (classification), floating-point numbers are values (regression), one to an
example or (examples, outputs). Nothing is ever unpickled. A message is one line: file, rule, value, remedy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.format import read_array_header_1_0, read_array_header_2_0, read_magic

from gradatlas.study.input_files import opened_file

FILE_SUFFIXES = (".npz", ".parquet")
LARGEST_FILE = 4 * 2**30  # bytes of a file, and of an array that it holds packed
_FEWEST = 5  # examples: four to train, one to test
_LARGEST_LABEL = 1e18  # the square of anything larger is infinite in float32
_SAVE = "numpy.savez(path, features=…, labels=…)"


class Examples(NamedTuple):
    """What a file holds."""

    features: np.ndarray  # (examples, dimensions)
    labels: np.ndarray  # (examples,) or, of floats, also (examples, outputs)

    @property
    def are_classes(self) -> bool:
        """Whether the labels are classes rather than values."""
        return self.labels.dtype.kind in "iu"


def is_file_name(name: str) -> bool:
    """Whether a task's name is that of a file."""
    return Path(name).suffix.lower() in FILE_SUFFIXES


def read_npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The arrays `features` and `labels` of an .npz file; raises ValueError."""
    with opened_file(path, largest=LARGEST_FILE) as file:
        try:
            stored = np.load(file, allow_pickle=False)
        except Exception:  # whatever the reader makes of bytes that anybody may have written
            raise ValueError(f"{path}: must be an .npz file, but is none; save it with {_SAVE}") from None
        if not isinstance(stored, np.lib.npyio.NpzFile):
            raise ValueError(f"{path}: must be an .npz file, but holds one bare array; save it with {_SAVE}")
        missing = [name for name in ("features", "labels") if name not in stored.files]
        if missing:
            raise ValueError(
                f"{path}: must hold the arrays 'features' and 'labels', but {missing[0]!r} is missing "
                f"(it holds {', '.join(stored.files) or 'nothing'}); save it with {_SAVE}"
            )
        return _array(stored, "features", path), _array(stored, "labels", path)


def _array(stored: Any, name: str, path: Path) -> np.ndarray:
    archive = stored.zip
    entry = archive.getinfo(name if name in archive.namelist() else f"{name}.npy")  # as numpy looks it up
    if entry.file_size > LARGEST_FILE:
        raise ValueError(
            f"{path}: {name} must have at most {LARGEST_FILE} bytes unpacked, but has {entry.file_size}; "
            "take less into it"
        )
    try:
        with archive.open(entry) as member:
            says = _announced_bytes(member)
        if says > entry.file_size:  # before so much is allocated
            raise ValueError(f"its head announces {says} bytes, but there are {entry.file_size}")
        array = stored[name]
    except Exception as error:  # whatever the reader makes of bytes that anybody may have written
        if "allow_pickle" not in str(error):
            said = str(error) or type(error).__name__
            raise ValueError(
                f"{path}: {name} is damaged ({said}); save the file again with {_SAVE}"
            ) from None
        array = None
    if not isinstance(array, np.ndarray):
        raise ValueError(
            f"{path}: {name} must be an array of numbers, but holds Python objects, which are never "
            "unpickled; save it as numbers, for example numpy.asarray(x, dtype=float)"
        )
    return array


def _announced_bytes(member: Any) -> int:
    """Bytes of the array that the head of an .npy file announces; 0 for objects, which are not read."""
    read_head = {(1, 0): read_array_header_1_0, (2, 0): read_array_header_2_0}.get(read_magic(member))
    if read_head is None:
        raise ValueError("its format is not one of numbers")
    shape, _, dtype = read_head(member)
    if any(length < 0 for length in shape):
        raise ValueError(f"its head announces the shape {shape}")
    return 0 if dtype.hasobject else math.prod(shape) * dtype.itemsize


# A format is one entry. `sweeps` adds Parquet: this package does without a library that reads it.
READERS: dict[str, Callable[[Path], tuple[np.ndarray, np.ndarray]]] = {".npz": read_npz}


def read_examples(path: Path) -> Examples:
    """The checked examples of a file; raises ValueError for anything that cannot be a task."""
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise ValueError(
            f"{path}: must be an .npz file here ({suffix} is read by the command `gradatlas run`); "
            f"save it with {_SAVE}"
        )
    try:
        features, labels = READERS[suffix](path)
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file; check the path") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None
    _reject_bad_features(features, path)
    if labels.dtype.kind == "b":
        labels = labels.astype(np.int64)
    _reject_bad_labels(labels, len(features), path)
    return Examples(features, labels)


def odd_columns(columns: Mapping[str, np.ndarray], labels: np.ndarray) -> dict[str, list[str]]:
    """Names of the columns that are hardly features, by what they are instead; a note, they stay in.

    Whole numbers of which each row has another are taken for identifiers; floats may well all differ.
    """
    found: dict[str, list[str]] = {"constant": [], "the same as the label": [], "another in each row": []}
    for name, values in columns.items():
        if (values == values[0]).all():
            found["constant"].append(name)
        elif labels.shape == values.shape and (values == labels).all():
            found["the same as the label"].append(name)
        elif values.dtype.kind in "iu" and len(np.unique(values)) == len(values):
            found["another in each row"].append(name)
    return found


def _reject_bad_features(features: np.ndarray, path: Path) -> None:
    _reject_no_numbers("features", features, path)
    if features.ndim != 2:
        raise ValueError(
            f"{path}: features must have the shape (examples, dimensions), but has {features.shape}; "
            "reshape it, for example features.reshape(len(features), -1)"
        )
    examples, dimensions = features.shape
    if examples < _FEWEST or dimensions == 0:
        raise ValueError(
            f"{path}: features must hold at least {_FEWEST} examples of at least 1 dimension, but has the "
            f"shape {features.shape}; add what is missing"
        )
    _reject_not_finite("features", features, path)


def _reject_bad_labels(labels: np.ndarray, examples: int, path: Path) -> None:
    _reject_no_numbers("labels", labels, path)
    is_values = labels.ndim == 2 and labels.dtype.kind == "f" and labels.shape[1] > 0
    if labels.ndim != 1 and not is_values:
        raise ValueError(
            f"{path}: labels must have the shape (examples,), or (examples, outputs) if they are floats, but "
            f"has {labels.shape} of {labels.dtype}; give classes as one whole number to an example"
        )
    if len(labels) != examples:
        raise ValueError(
            f"{path}: features and labels must have the same length, but have {examples} and {len(labels)}; "
            "drop the examples without a label"
        )
    _reject_not_finite("labels", labels, path)
    if labels.dtype.kind == "f":
        _reject_bad_values(labels, path)
    else:
        _reject_bad_classes(labels, path)


def _reject_no_numbers(name: str, array: np.ndarray, path: Path) -> None:
    if array.dtype.kind not in "iufb":
        remedy = {
            "features": "turn it into numbers or leave it out",
            "labels": "number the classes, for example with numpy.unique(labels, return_inverse=True)[1]",
        }
        raise ValueError(
            f"{path}: {name} must be whole or floating-point numbers, but is of type {array.dtype}; "
            + remedy[name]
        )


def _reject_not_finite(name: str, array: np.ndarray, path: Path) -> None:
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        place = tuple(bad[0].tolist())
        raise ValueError(
            f"{path}: {name} must be finite, but {name}[{', '.join(map(str, place))}] is {array[place]} "
            f"({len(bad)} such); drop or fill these examples"
        )


def _reject_bad_values(labels: np.ndarray, path: Path) -> None:
    largest = np.abs(labels).max()
    if largest > _LARGEST_LABEL:
        raise ValueError(
            f"{path}: labels must be within ±{_LARGEST_LABEL:g}, but one is {largest:g} in size; divide by "
            "their standard deviation"
        )


def _reject_bad_classes(labels: np.ndarray, path: Path) -> None:
    renumber = "number the classes 0, 1, … with numpy.unique(labels, return_inverse=True)[1]"
    if labels.min() < 0:
        raise ValueError(
            f"{path}: labels of whole numbers are classes and must be >= 0, but one is {labels.min()}; "
            f"{renumber}, or save values as floats"
        )
    if labels.max() >= len(labels):
        raise ValueError(
            f"{path}: labels of whole numbers are classes and must be below the number of examples, "
            f"{len(labels)}, but one is {labels.max()}; {renumber}, or save values as floats"
        )
