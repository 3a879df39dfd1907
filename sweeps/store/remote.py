"""A file or folder of an object store, by way of `pyarrow.fs`.

An upload is complete or never seen, so an object that is there is whole. A store has no folders: one exists
while an object is below it. Every look costs time and money, so what is read again and again is copied to
this machine once.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar, final

import pyarrow.parquet as pq
from pyarrow import ArrowException, fs

from gradatlas.sweeps.errors import UserError
from gradatlas.sweeps.store.lease import Lease
from gradatlas.sweeps.store.location import Folder, Stamp, upload

_READERS = 16  # objects read at the same time


@cache
def _filesystem(root: str, query: str) -> tuple[fs.FileSystem, str]:
    """The store of a URL's scheme and host, and the path under which it knows that host."""
    try:
        store, path = fs.FileSystem.from_uri(f"{root}{f'?{query}' if query else ''}")
    except (ArrowException, OSError, ValueError, ImportError) as error:
        raise UserError(f"{root}: cannot be reached: {_short(error)}") from None
    return store, path


def _short(error: BaseException) -> str:
    """The first line of what a store says, without its request's number."""
    return re.sub(r" ?\(Request ID: [^)]*\)", "", str(error).strip().split("\n")[0])


class StoreError(OSError):
    """A store that does not answer or refuses; its `strerror` is for the user, its `filename` the URL."""


@final
@dataclass(frozen=True)
class Remote:
    """A `Location` in a store: `root` ("s3://bucket"), `key` below it, the URL's query."""

    root: str
    key: str
    query: str = ""

    can_be_damaged: ClassVar[bool] = False
    seconds_between_looks: ClassVar[float] = 2.0

    def __str__(self) -> str:
        return f"{self.root}{f'/{self.key}' if self.key else ''}{f'?{self.query}' if self.query else ''}"

    def __truediv__(self, name: str) -> Remote:
        return Remote(self.root, f"{self.key}/{name}".strip("/"), self.query)

    def __lt__(self, other: Remote) -> bool:
        return str(self) < str(other)

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The name without its last suffix."""
        return Path(self.name).stem

    @property
    def parent(self) -> Remote:
        """The folder that it is in."""
        return Remote(self.root, self.key.rpartition("/")[0], self.query)

    def resolve(self) -> Remote:
        """Itself: a URL is absolute."""
        return self

    def expanduser(self) -> Remote:
        """Itself: a URL has no home."""
        return self

    @property
    def _path(self) -> str:
        return f"{_filesystem(self.root, self.query)[1].rstrip('/')}/{self.key}".rstrip("/")

    @contextmanager
    def _store(self) -> Iterator[fs.FileSystem]:
        """The store; its errors under this URL's name."""
        try:
            yield _filesystem(self.root, self.query)[0]
        except FileNotFoundError:
            raise
        except (OSError, ArrowException) as error:
            raise StoreError(getattr(error, "errno", None) or 5, _short(error), str(self)) from error

    def _info(self) -> fs.FileInfo:
        with self._store() as store:
            return store.get_file_info(self._path)

    def exists(self) -> bool:
        """Whether there is such an object, or one below it."""
        return bool(self._info().type != fs.FileType.NotFound)

    def is_file(self) -> bool:
        """Whether there is such an object."""
        return bool(self._info().type == fs.FileType.File)

    def mkdir(self, *, parents: bool = False, exist_ok: bool = False) -> None:
        """Makes nothing: a store has no folders. Raises FileExistsError as a disk would."""
        if not exist_ok and self.exists():
            raise FileExistsError(17, "File exists", str(self))

    def read_bytes(self) -> bytes:
        """The content; raises FileNotFoundError."""
        with self._opened() as file:
            return bytes(file.read())

    def read_text(self, encoding: str) -> str:
        """The content as text; raises FileNotFoundError."""
        return self.read_bytes().decode(encoding)

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        """The object as a file to read parts of."""
        with self._store() as store, store.open_input_file(self._path) as file:
            yield file

    def write_whole(self, content: Any, *, lasting: bool = True) -> None:
        """The object has this content, or what it had before."""
        with self._store() as store, store.open_output_stream(self._path) as file:
            file.write(content)

    def unlink(self, missing_ok: bool = False) -> None:
        """Removes the object."""
        try:
            with self._store() as store:
                store.delete_file(self._path)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def remove_tree(self) -> None:
        """Removes all objects below, as far as they can be removed; never the bucket itself.

        Whole, since pyarrow leaves an empty object in the folder's name where its last object was removed.
        """
        with suppress(OSError), self._store() as store:
            if self.key:
                store.delete_dir(self._path)
            else:
                store.delete_dir_contents(self._path)

    def remove_if_empty(self) -> None:
        """Nothing: an empty folder is none."""

    def remove_hold(self) -> None:
        """Nothing: the claim goes when the hold ends, and others' claims are not this process' to remove."""

    def _listed(self, *, below: bool = False) -> list[fs.FileInfo]:
        chosen = fs.FileSelector(self._path, recursive=below, allow_not_found=True)
        with self._store() as store:
            return sorted(store.get_file_info(chosen), key=lambda info: info.path)

    def _at(self, path: str) -> Remote:
        return self / path[len(self._path) + 1 :]

    def files(self, *, below: bool = False) -> dict[Remote, Stamp]:
        """The objects of the folder, in their names' order; of all folders `below` it too."""
        return {
            self._at(info.path): (info.size, info.mtime_ns)
            for info in self._listed(below=below)
            if info.type == fs.FileType.File
        }

    def names(self) -> set[str]:
        """The names of its objects and of the folders that have any."""
        return {file.key[len(self.key) :].strip("/").split("/")[0] for file in self.files(below=True)}

    def glob(self, pattern: str) -> Iterator[Remote]:
        """Objects of the folder by name; with "*/NAME" those of its folders."""
        here, _, deeper = pattern.partition("/")
        wanted = fs.FileType.Directory if deeper else fs.FileType.File
        for info in self._listed():
            if info.type == wanted and fnmatch.fnmatchcase(info.base_name, here):
                yield from self._at(info.path).glob(deeper) if deeper else [self._at(info.path)]

    @contextmanager
    def local_copy(self, *folders: Folder) -> Iterator[Path]:
        """A copy that goes when the context ends."""
        with tempfile.TemporaryDirectory(prefix="gradatlas-") as scratch:
            copy = Path(scratch) / self.name
            self._download("", copy)
            for name in folders:
                self._download(name, copy / name)
            yield copy

    def cached(self, *folders: Folder) -> Path:
        """A copy that this user's processes on this machine share."""
        copy = _scratch() / hashlib.sha256(str(self).encode()).hexdigest()[:16]
        for name in folders:
            self._download(name, copy / name)
        return copy

    def _download(self, folder: Folder, target: Path) -> None:
        """Makes a local folder hold the objects of one in this, not of those below it."""
        target.mkdir(parents=True, exist_ok=True)
        found = (self / folder).files()
        for file, (size, modified) in found.items():
            copy = target / file.name
            if not copy.is_file() or (copy.stat().st_size, copy.stat().st_mtime_ns) != (size, modified):
                draft = copy.with_name(f".{copy.name}.{os.getpid()}.draft")
                draft.write_bytes(file.read_bytes())
                os.utime(draft, ns=(modified, modified))
                draft.replace(copy)
        there = {file.name for file in found}
        for copy in target.glob("[!.]*"):
            if copy.is_file() and copy.name not in there:
                copy.unlink(missing_ok=True)

    @contextmanager
    def written_locally(self) -> Iterator[Path]:
        """A scratch folder that is uploaded when the context ends."""
        with tempfile.TemporaryDirectory(prefix="gradatlas-") as scratch:
            yield Path(scratch)
            upload(Path(scratch), self)

    @contextmanager
    def held(self, *, take_over: bool, make: bool = False) -> Iterator[Lease]:
        """See `Location`."""
        lease = Lease(self)
        with lease.held(take_over=take_over):
            yield lease

    def is_whole_table(self, *columns: str) -> bool:
        """Whether it is there: then it is whole."""
        try:
            return self.is_file()
        except OSError:
            return False

    def value_counts(self, column: str, tables: Sequence[str]) -> Counter[str]:
        """See `Location`: one column of each object is read, without the others."""
        with ThreadPoolExecutor(_READERS) as threads:
            columns = threads.map(partial(_column, column), [self / name for name in tables])
            return Counter(text for texts in columns for text in texts if text is not None)


def _column(name: str, table: Remote) -> list[str | None]:
    with table._opened() as file:
        return list(pq.read_table(file, columns=[name])[name].to_pylist())


def _scratch() -> Path:
    """A local folder for copies of runs' files, shared by this user's processes on this machine."""
    home = Path(tempfile.gettempdir()) / f"gradatlas-{os.getuid()}"
    home.mkdir(mode=0o700, exist_ok=True)
    if home.stat().st_uid != os.getuid() or home.is_symlink():
        raise UserError(f"{home}: must be this user's folder, but is not; remove it or set TMPDIR")
    return home
