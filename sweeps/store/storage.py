"""Where run folders stand: a local folder is a `Path`, a folder of an object store is a `Remote`.

Both are a `Place`: a `Remote` has the part of `Path`'s interface that a ledger needs. What differs is how a
file appears whole or not at all: on a disk it is written as a draft and renamed, in a store an object's
upload is complete or never seen.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from pyarrow import ArrowException, fs

from gradatlas.sweeps.errors import UserError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs")


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


Stamp = tuple[int, int]  # an object's bytes, and when it was written in ns of the store's clock


class StoreError(OSError):
    """A store that does not answer or refuses; its `strerror` is for the user, its `filename` the URL."""


@dataclass(frozen=True)
class Remote:
    """A file or folder of an object store: `root` ("s3://bucket"), `key` below it, the URL's query."""

    root: str
    key: str
    query: str = ""

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

    def is_file(self) -> bool:
        """Whether there is such an object."""
        return self._info().type == fs.FileType.File

    def exists(self) -> bool:
        """Whether there is such an object, or one below it."""
        return self._info().type != fs.FileType.NotFound

    def is_dir(self) -> bool:
        """Whether there is an object below it."""
        return self._info().type == fs.FileType.Directory

    def modified(self) -> float:
        """When it was written, in seconds by the store's clock; raises FileNotFoundError."""
        info = self._info()
        if info.type != fs.FileType.File:
            raise FileNotFoundError(2, "No such object", str(self))
        return info.mtime_ns / 1e9

    def mkdir(self, **options: bool) -> None:
        """Nothing: a store has no folders."""

    def read_bytes(self) -> bytes:
        """The content; raises FileNotFoundError."""
        with self._store() as store, store.open_input_file(self._path) as file:
            return file.read()

    def read_text(self, encoding: str = "utf-8") -> str:
        """The content as text; raises FileNotFoundError."""
        return self.read_bytes().decode(encoding)

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """The object as a file to read parts of."""
        with self._store() as store, store.open_input_file(self._path) as file:
            yield file

    def write_bytes(self, content: Any) -> None:
        """The object has this content, or what it had before."""
        with self._store() as store, store.open_output_stream(self._path) as file:
            file.write(content)

    def write_text(self, text: str, encoding: str = "utf-8") -> None:
        """As `write_bytes`."""
        self.write_bytes(text.encode(encoding))

    def unlink(self, missing_ok: bool = False) -> None:
        """Removes the object."""
        try:
            with self._store() as store:
                store.delete_file(self._path)
        except FileNotFoundError:
            if not missing_ok:
                raise

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

    def glob(self, pattern: str) -> Iterator[Remote]:
        """Objects of the folder by name; with "*/NAME" those of its folders."""
        here, _, deeper = pattern.partition("/")
        wanted = fs.FileType.Directory if deeper else fs.FileType.File
        for info in self._listed():
            if info.type == wanted and fnmatch.fnmatchcase(info.base_name, here):
                yield from self._at(info.path).glob(deeper) if deeper else [self._at(info.path)]


Place = Path | Remote


def place_of(text: str | Place) -> Place:
    """The place that a path or a URL names; raises UserError for a URL that is none of ours."""
    if not isinstance(text, str):
        return text
    if not _URL.match(text):
        return Path(text)
    url = urlsplit(text)
    if url.scheme == "file":
        return Path(unquote(url.path))
    if url.scheme not in SCHEMES:
        raise UserError(f"{text}: must be a folder or a URL of file, {', '.join(SCHEMES)}")
    if "@" in url.netloc and url.scheme in ("s3", "gs", "gcs"):
        raise UserError(
            f"{url.scheme}://…@{url.netloc.rpartition('@')[2]}{url.path}: must hold no keys, since it is "
            "written down and shown; give them in the environment (AWS_ACCESS_KEY_ID, …)"
        )
    if not url.netloc:
        raise UserError(f"{text}: must name a bucket, for example {url.scheme}://bucket/folder")
    return Remote(f"{url.scheme}://{url.netloc}", unquote(url.path).strip("/"), url.query)


def write_whole(place: Place, content: Any, *, lasting: bool = True) -> None:
    """The file appears under its name with all its content, or not at all.

    Lasting: a power cut cannot undo it, which takes a disk's time.
    """
    if isinstance(place, Remote):
        place.write_bytes(content)
        return
    draft = place.with_name(f".{place.name}.{os.getpid()}.draft")
    try:
        with draft.open("wb") as file:
            file.write(content)
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        draft.replace(place)
    finally:
        draft.unlink(missing_ok=True)


def remove_tree(place: Place) -> None:
    """Removes a folder with what is in it, as far as it can be removed."""
    if isinstance(place, Path):
        shutil.rmtree(place, ignore_errors=True)
        return
    with suppress(OSError):
        for file in place.files(below=True):
            file.unlink(missing_ok=True)


def remove_empty(place: Place) -> None:
    """Removes a folder if it is empty."""
    if isinstance(place, Path):
        with suppress(OSError):
            place.rmdir()


@contextmanager
def local_copy(run: Place, *folders: Literal["plans", "results", "data", "report"]) -> Iterator[Path]:
    """A local folder of the run's name with its files and those of some folders; a local run itself."""
    if isinstance(run, Path):
        yield run
        return
    with tempfile.TemporaryDirectory(prefix="gradatlas-") as scratch:
        copy = Path(scratch) / run.name
        copy.mkdir()
        for name in ("", *folders):
            download(run / name if name else run, copy / name)
        yield copy


def download(source: Remote, target: Path) -> None:
    """Makes a folder hold the objects of another, not of those below it; what is the same stays."""
    target.mkdir(parents=True, exist_ok=True)
    found = source.files()
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


def scratch_of(run: Place) -> Path:
    """A local folder for copies of a run's files, shared by this user's processes on this machine."""
    home = Path(tempfile.gettempdir()) / f"gradatlas-{os.getuid()}"
    home.mkdir(mode=0o700, exist_ok=True)
    if home.stat().st_uid != os.getuid() or home.is_symlink():
        raise UserError(f"{home}: must be this user's folder, but is not; remove it or set TMPDIR")
    return home / hashlib.sha256(str(run).encode()).hexdigest()[:16]


def upload(source: Path, target: Place) -> None:
    """Copies a folder with all folders in it."""
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        place = target
        for part in file.relative_to(source).parts:
            place = place / part
        write_whole(place, file.read_bytes())
