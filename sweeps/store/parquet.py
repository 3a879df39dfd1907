"""Tables of a run as Parquet: their schema, writing them, and telling whether one is whole."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from gradatlas.study.records import COLUMNS, SCHEMA_VERSION
from gradatlas.sweeps.store.storage import Place, Remote, write_whole


@cache
def schema(*roles: str) -> pl.Schema:
    """The results' Polars schema; of some roles only if any are named."""
    return pl.Schema(
        {c.name: _polars_type(c.dtype) for c in COLUMNS.values() if not roles or c.role in roles}
    )


def _polars_type(name: str) -> pl.DataType:
    if name.startswith("List("):
        return pl.List(_polars_type(name[5:-1]))
    return getattr(pl, name)()


def write_table(path: Place, frame: pl.DataFrame, more: Mapping[str, str] | None = None) -> None:
    sink = pa.BufferOutputStream()
    frame.write_parquet(sink, metadata={"gradatlas.columns": str(SCHEMA_VERSION), **(more or {})})
    write_whole(path, sink.getvalue())


def is_whole(path: Place, *columns: str) -> bool:
    """Whether a Parquet file has its footer, and these columns; for a store's object, whether it is there."""
    try:
        if isinstance(path, Remote):
            return path.is_file()
        return set(columns) <= set(pq.read_schema(path).names)
    except (OSError, pa.ArrowInvalid):
        return False
