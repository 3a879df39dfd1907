"""Tables of a run as Parquet: their schema, and writing them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from io import BytesIO

import polars as pl

from gradatlas.study.records import SCHEMA_VERSION, Role, column_types
from gradatlas.sweeps.store.location import Location


@cache
def schema(*roles: Role) -> pl.Schema:
    """The results' Polars schema; of some roles only if any are named."""
    return pl.Schema(column_types(pl, *roles))


def write_table(file: Location, frame: pl.DataFrame, more: Mapping[str, str] | None = None) -> None:
    """Writes a frame whole, with `more` in the file's metadata."""
    sink = BytesIO()
    frame.write_parquet(sink, metadata={"gradatlas.columns": str(SCHEMA_VERSION), **(more or {})})
    file.write_whole(sink.getbuffer())
