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
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar, final

import pyarrow.parquet as pq
from pyarrow import ArrowException, fs

from gradatlas.sweeps.errors import UserError
from gradatlas.sweeps.store.lease import Lease
from gradatlas.sweeps.store.location import Folder, Stamp, upload

_READERS = 16  # objects read at the same time

# A busy store refuses now and then what it grants a moment later. The library below asks again at once, but
# not where the refusal is longer than the object that was asked for; so whole requests are repeated here too.
_ATTEMPTS = 1  # by the library, at once
_CONNECT_SECONDS = 2.0
_FIRST_WAIT = 0.1  # seconds before a request is repeated; every further one waits twice as long
_PATIENCE = 5.0  # seconds for which a store is asked that has not answered this process yet
_PATIENCE_OF_A_RUN = 30.0  # and one that has, since a run must not end at its first outage
_FINAL = re.compile(
    r"AWS Error (ACCESS_DENIED|NO_SUCH_BUCKET|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|"
    r"INVALID_CLIENT_TOKEN_ID|UNRECOGNIZED_CLIENT)|HTTP status 40[0134]|ExpiredToken"
)  # what asking again does not change
_answered: set[str] = set()  # roots of stores

_Answer = TypeVar("_Answer")


@cache
def _filesystem(root: str, query: str) -> tuple[fs.FileSystem, str]:
    """The store of a URL's scheme and host, and the path under which it knows that host."""
    try:
        store, path = fs.FileSystem.from_uri(f"{root}{f'?{query}' if query else ''}")
        if isinstance(store, fs.S3FileSystem):  # for which a URL cannot say how patient it is
            store = fs.S3FileSystem(**store.__reduce__()[1][0] | _s3_options())
    except (ArrowException, OSError, ValueError, ImportError) as error:
        raise UserError(f"{root}: cannot be reached: {_short(error)}") from None
    return store, path


def _s3_options() -> dict[str, Any]:
    """An object is written by one request instead of three, as long as it is small."""
    return {
        "allow_delayed_open": True,
        "connect_timeout": _CONNECT_SECONDS,
        "retry_strategy": fs.AwsDefaultS3RetryStrategy(max_attempts=_ATTEMPTS),
    }


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

    def _asked(self, ask: Callable[[fs.FileSystem, str], _Answer]) -> _Answer:
        """What the store answers, asked again for a while if it fails; its errors under this URL's name."""
        begun, wait = time.monotonic(), _FIRST_WAIT
        while True:
            try:
                answer = ask(_filesystem(self.root, self.query)[0], self._path)
            except FileNotFoundError:
                _answered.add(self.root)
                raise
            except (OSError, ArrowException) as error:
                patience = _PATIENCE_OF_A_RUN if self.root in _answered else _PATIENCE
                if time.monotonic() - begun + wait > patience or _FINAL.search(str(error)):
                    raise StoreError(getattr(error, "errno", None) or 5, _short(error), str(self)) from error
            else:
                _answered.add(self.root)
                return answer
            time.sleep(wait)
            wait *= 2

    def _info(self) -> fs.FileInfo:
        return self._asked(lambda store, path: store.get_file_info(path))

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

        def read(store: fs.FileSystem, path: str) -> bytes:
            with store.open_input_file(path) as file:
                return bytes(file.read())

        return self._asked(read)

    def read_text(self, encoding: str) -> str:
        """The content as text; raises FileNotFoundError."""
        return self.read_bytes().decode(encoding)

    def column(self, name: str) -> list[Any]:
        """A column of the Parquet file that this is, read without the others."""

        def read(store: fs.FileSystem, path: str) -> list[Any]:
            with store.open_input_file(path) as file:
                return list(pq.read_table(file, columns=[name])[name].to_pylist())

        return self._asked(read)

    def write_whole(self, content: Any, *, lasting: bool = True) -> None:
        """The object has this content, or what it had before."""

        def write(store: fs.FileSystem, path: str) -> None:
            with store.open_output_stream(path) as file:
                file.write(content)

        self._asked(write)

    def unlink(self, missing_ok: bool = False) -> None:
        """Removes the object."""
        try:
            self._asked(lambda store, path: store.delete_file(path))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def remove_tree(self) -> None:
        """Removes all objects below, as far as they can be removed; never the bucket itself.

        Whole, since pyarrow leaves an empty object in the folder's name where its last object was removed.
        """

        def remove(store: fs.FileSystem, path: str) -> None:
            (store.delete_dir if self.key else store.delete_dir_contents)(path)

        with suppress(OSError):
            self._asked(remove)

    def remove_if_empty(self) -> None:
        """Nothing: an empty folder is none."""

    def remove_hold(self) -> None:
        """Nothing: the claim goes when the hold ends, and others' claims are not this process' to remove."""

    def _listed(self, *, below: bool = False) -> list[fs.FileInfo]:
        chosen = fs.FileSelector(self._path, recursive=below, allow_not_found=True)
        found = self._asked(lambda store, path: store.get_file_info(chosen))
        return sorted(found, key=lambda info: info.path)

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

    def value_counts(self, column: str, tables: Sequence[str]) -> Counter[str]:
        """See `Location`: one column of each object is read, without the others."""
        with ThreadPoolExecutor(_READERS) as threads:
            columns = threads.map(lambda name: (self / name).column(column), tables)
            return Counter(text for texts in columns for text in texts if text is not None)


def _scratch() -> Path:
    """A local folder for copies of runs' files, shared by this user's processes on this machine."""
    home = Path(tempfile.gettempdir()) / f"gradatlas-{os.getuid()}"
    home.mkdir(mode=0o700, exist_ok=True)
    if home.stat().st_uid != os.getuid() or home.is_symlink():
        raise UserError(f"{home}: must be this user's folder, but is not; remove it or set TMPDIR")
    return home
