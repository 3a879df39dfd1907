"""Whether a Parquet file of a run is what was written: shared by who writes runs and who reads them.

A written file carries a seal in its metadata: a checksum of all its bytes (with blanks where the checksum
stands), the name that it was written under and a checksum of its trials' numbers. Damage and exchanged files
show without decoding anything. Files of version 0.1.0 have no seal: they are decoded instead.

A seal finds accidents and mistakes. It is no signature: whoever can write the file can seal it.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Any

import numpy as np

from gradatlas.study.choices.own_data import is_file_name
from gradatlas.study.records import SCHEMA_VERSION, column_types
from gradatlas.study.trial import PARAMETERS

_BLANK = "________"
_SEAL = re.compile(rb"gradatlas-seal:([0-9a-f]{8}):([\w.-]+):([0-9a-f]{8}|-):")
_PACK = re.compile(r"pack-\d{6,}")
_STORED_TASK = re.compile(r"data/[^/\\\x00]+\.(npz|parquet)")
_IDENTITY = ("trial", "part", "point", "draw", "repetition", "seed", "pack")


def printable(name: str) -> str:
    """A file's name with escapes for bytes that are no text."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def trials_code(trials: Iterable[int]) -> str:
    """A checksum of trials' numbers, in whatever order they stand."""
    return f"{zlib.crc32(np.sort(np.asarray(list(trials), np.int64)).tobytes()):08x}"


def file_metadata(name: str, trials: str = "-") -> dict[str, str]:
    """The metadata of a file to be `sealed`, that is written under this name; `trials` is a `trials_code`."""
    return {
        "gradatlas.columns": str(SCHEMA_VERSION),
        "gradatlas.seal": f"gradatlas-seal:{_BLANK}:{name}:{trials}:",
    }


def sealed(content: bytes) -> bytes:
    """A Parquet file with `file_metadata` and its checksum in the place of the blanks."""
    blank = f"gradatlas-seal:{_BLANK}:".encode()
    code = f"gradatlas-seal:{zlib.crc32(content):08x}:".encode()
    return content.replace(blank, code)


def file_fault(content: bytes, library: Any, *, name: str | None = None, trials: str | None = None) -> str:
    """What is wrong with a file's bytes, in one line; empty if nothing is.

    `library` is Polars. The file must have been written under `name`, and hold the rows of `trials`, a
    `trials_code`, where these are given.
    """
    found = _SEAL.search(content, max(0, len(content) - _footer(content)))
    if found:
        start, end = found.span(1)
        code = zlib.crc32(content[end:], zlib.crc32(_BLANK.encode(), zlib.crc32(content[:start])))
        if f"{code:08x}".encode() != found[1]:
            return "is damaged: its bytes are not those that were written"
        if name is not None and found[2].decode() != name:
            return f"was written as {found[2].decode()}"
        if trials is not None and found[3].decode() != trials:
            return "holds other trials than its pack has in the plan"
    try:
        wrong = _schema_fault(content, library)
        if wrong or found:
            return wrong
        return _rows_fault(library.read_parquet(BytesIO(content)), name, trials)
    except (library.exceptions.PolarsError, library.exceptions.PanicException, OSError) as error:
        return f"not a whole Parquet file ({(str(error).splitlines() or ['no reason'])[0]})"


def _footer(content: bytes) -> int:
    """How many bytes at the end of a Parquet file are its metadata."""
    return int.from_bytes(content[-8:-4], "little") + 8


def _schema_fault(content: bytes, library: Any) -> str:
    version = library.read_parquet_metadata(BytesIO(content)).get("gradatlas.columns", "1")
    if not version.isdecimal() or int(version) > SCHEMA_VERSION:
        return f"was written by a later version of gradatlas (columns {version}, known is {SCHEMA_VERSION})"
    known = column_types(library)
    schema = library.read_parquet_schema(BytesIO(content))
    if "trial" not in schema:
        return "has no column 'trial'"
    wrong = [name for name, dtype in schema.items() if name in known and dtype != known[name]]
    return f"column '{wrong[0]}' must be {known[wrong[0]]}, but is {schema[wrong[0]]}" if wrong else ""


def _rows_fault(frame: Any, name: str | None, trials: str | None) -> str:
    """The same of the rows of a file without a seal."""
    if frame["trial"].null_count():
        return "has rows without a trial"
    if frame["trial"].n_unique() < frame.height:
        return "has a trial twice"
    if trials is not None and "pack" in frame.columns and set(frame["pack"]) - {name}:
        return "holds the rows of another pack"
    if trials is not None and trials_code(frame["trial"]) != trials:
        return "holds other trials than its pack has in the plan"
    return ""


def plan_fault(plan: Any) -> str:
    """What is wrong with the rows of a plan, as a Polars frame; empty if nothing is.

    Names become paths: packs must be named `pack-NNNNNN`, files of tasks `data/NAME`.
    """
    always = [name for name, parameter in PARAMETERS.items() if parameter.since == 1]
    if missing := [name for name in (*_IDENTITY, *always) if name not in plan.columns]:
        return f"has no column '{missing[0]}'"
    if gaps := [name for name in (*_IDENTITY, "task") if plan[name].null_count()]:
        return f"column '{gaps[0]}' must have no gaps"
    if not plan.height:
        return "has no rows"
    for pack in plan["pack"].unique():
        if not _PACK.fullmatch(pack):
            return f"packs must be named pack-NNNNNN, but one is {pack!r}"
    for task in plan["task"].unique():
        if ("/" in task or is_file_name(task)) and not _STORED_TASK.fullmatch(task):
            return f"files of tasks must be named data/NAME, but one is {task!r}"
    return "has a trial twice" if plan["trial"].n_unique() < plan.height else ""


def pack_codes(plan: Any) -> dict[str, str]:
    """The `trials_code` of each pack of a plan, a Polars frame."""
    groups = plan.group_by("pack").agg("trial")
    return {pack: trials_code(trials) for pack, trials in groups.iter_rows()}


def is_planned_by_us(codes: Mapping[str, str]) -> bool:
    """Whether packs are named as a run names them, so that results can be compared with the plan."""
    return bool(codes) and all(_PACK.fullmatch(pack) for pack in codes)
