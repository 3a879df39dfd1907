"""Where a run's files are read from: a folder, or the URL of one in an object store (s3://, gs://, …).

Whoever reads a run asks a `RunFiles` and need not know which of the two it is.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import polars as pl
from pyarrow import ArrowException, fs

Run = Path | str


class RunFiles:
    """The files of one run. What reads raises OSError where a store does not answer."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._is_url = "://" in str(run)
        self.kind = "the URL of a run" if self._is_url else "a run folder"
        self.readers = 8 if self._is_url else 1  # files to ask for at the same time
        self._options = _storage_options(str(run)) if self._is_url else None

    def tables(self, folder: str) -> list[str] | None:
        """The Parquet files of a folder of the run, in order, without hidden ones; None without a run."""
        found = self._remote_files(folder) if self._is_url else self._local_files(folder)
        if found is None:
            return None
        names = {file: file.rpartition("/")[2] for file in found}
        return sorted(
            file for file, name in names.items() if name.endswith(".parquet") and not name.startswith(".")
        )

    def _local_files(self, folder: str) -> list[str] | None:
        run = Path(self._run)
        if not run.is_dir():
            return None
        return [str(file) for file in (run / folder).glob("*")]

    def _remote_files(self, folder: str) -> list[str] | None:
        store, root = self._store()
        there = store.get_file_info(fs.FileSelector(root, recursive=True, allow_not_found=True))
        scheme = urlsplit(str(self._run)).scheme
        below = [info.path for info in there if info.path.rpartition("/")[0] == f"{root}/{folder}"]
        return [f"{scheme}://{path}" for path in below] if there else None

    def text(self, name: str) -> str:
        """The text of a file of the run; empty where it cannot be read."""
        try:
            if self.is_local and not (Path(self._run) / name).is_file():
                return ""
            return self._bytes(name).decode("utf-8")
        except (OSError, UnicodeDecodeError):
            return ""

    def _bytes(self, name: str) -> bytes:
        if not self._is_url:
            return (Path(self._run) / name).read_bytes()
        store, root = self._store()
        with store.open_input_file(f"{root}/{name}") as file:
            return bytes(file.read())

    def _store(self) -> tuple[fs.FileSystem, str]:
        """The run's store, and the run's folder in it."""
        try:
            store, root = fs.FileSystem.from_uri(self._run)
        except (ArrowException, ValueError) as error:
            raise OSError(f"{self._run}: cannot be reached: {str(error).splitlines()[0]}") from None
        return store, root.rstrip("/")

    @property
    def is_local(self) -> bool:
        """Whether the run is a folder of this machine."""
        return not self._is_url

    def content(self, table: str) -> bytes:
        """All bytes of a file of a folder of this machine; raises OSError."""
        return Path(table).read_bytes()

    def schema(self, table: str) -> pl.Schema:
        """The columns of a Parquet file, from its end; raises PolarsError where it is not whole."""
        return pl.scan_parquet(table, storage_options=self._options, glob=False).collect_schema()

    def read(self, table: str) -> pl.DataFrame:
        """All of a Parquet file; raises PolarsError where its data cannot be read."""
        return pl.read_parquet(table, storage_options=self._options, glob=False)

    def scan(self, tables: list[str], schema: pl.Schema) -> pl.LazyFrame:
        """The rows of some Parquet files in the columns of a schema, null where a file lacks one."""
        return pl.scan_parquet(
            tables, schema=schema, missing_columns="insert", extra_columns="ignore", glob=False,
            storage_options=self._options,
        )  # fmt: skip


def _storage_options(url: str) -> dict[str, str] | None:
    """What Polars must know of a store beyond the environment: the endpoint that the URL names."""
    named = parse_qs(urlsplit(url).query)
    if "endpoint_override" not in named:
        return None
    scheme = named.get("scheme", ["https"])[0]
    return {
        "aws_endpoint_url": f"{scheme}://{named['endpoint_override'][0]}",
        "aws_allow_http": str(scheme == "http").lower(),
    }
