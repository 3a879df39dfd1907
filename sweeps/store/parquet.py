"""Tables of a run as Parquet: their schema, and writing them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from io import BytesIO

import polars as pl

from gradatlas.study.records import Role, column_types
from gradatlas.study.result_files import file_metadata, sealed, trials_code
from gradatlas.sweeps.store.location import Location


@cache
def schema(*roles: Role) -> pl.Schema:
    """The results' Polars schema; of some roles only if any are named."""
    return pl.Schema(column_types(pl, *roles))


def write_table(
    file: Location,
    frame: pl.DataFrame,
    more: Mapping[str, str] | None = None,
    *,
    name: str | None = None,
    trials: Iterable[int] | None = None,
) -> None:
    """Writes a frame whole and sealed, with `more` in the file's metadata.

    The seal says that it was written under `name`, by default the file's own, and which trials it holds.
    """
    sink = BytesIO()
    code = "-" if trials is None else trials_code(trials)
    frame.write_parquet(sink, metadata={**file_metadata(name or file.stem, code), **(more or {})})
    file.write_whole(sealed(sink.getvalue()))
