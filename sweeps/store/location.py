"""Where a run's files are: one interface for a disk and for an object store.

`Local` and `Remote` are its two forms. Both have the part of `pathlib.Path`'s interface that a ledger needs,
and beyond it, as methods, whatever a disk and a store do differently. No other module asks which one it has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

from gradatlas.sweeps.errors import UserError

Stamp = tuple[int, int]  # a file's bytes, and when it was written in ns
Folder = Literal["", "plans", "results", "data", "report"]  # of a run; "" for the files beside them

HOLDS = {".lock", "lease"}  # what a hold leaves in a run's folder


class HeldError(UserError):
    """Another process holds the run."""


class Hold(Protocol):
    """A process' hold on a run."""

    @property
    def is_lost(self) -> bool:
        """Whether another process took the run over, so that this one must write no more."""


class Location(Protocol):
    """A file or folder, there or not. `str` of it is what the user gave and is shown."""

    can_be_damaged: ClassVar[bool]
    """Whether a file that is there may still lack its end, as on a disk after a power cut."""
    seconds_between_looks: ClassVar[float]
    """How long to wait before the same file is read again to see whether it changed."""

    def __truediv__(self, name: str, /) -> Self: ...

    def __lt__(self, other: Self, /) -> bool: ...

    @property
    def name(self) -> str:
        """The last part."""

    @property
    def stem(self) -> str:
        """The name without its last suffix."""

    @property
    def parent(self) -> Self:
        """The folder that it is in."""

    def resolve(self) -> Self:
        """The same by an absolute name, which other processes understand."""

    def expanduser(self) -> Self:
        """The same with the home in the place of a leading "~"."""

    def exists(self) -> bool:
        """Whether there is such a file or folder; a store's folder exists while a file is below it."""

    def is_file(self) -> bool:
        """Whether there is such a file."""

    def glob(self, pattern: str) -> Iterator[Self]:
        """The files of this folder by name; with "*/NAME" those of its folders."""

    def files(self, *, below: bool = False) -> dict[Self, Stamp]:
        """The files of this folder in their names' order, and those of all folders `below` it."""

    def names(self) -> set[str]:
        """The names of the files and folders in this folder; none where there is no folder."""

    def mkdir(self, *, parents: bool = False, exist_ok: bool = False) -> None:
        """Makes the folder; raises FileExistsError where something is there, unless that is allowed."""

    def read_bytes(self) -> bytes:
        """The content; raises FileNotFoundError."""

    def read_text(self, encoding: str) -> str:
        """The content as text; raises FileNotFoundError."""

    def write_whole(self, content: Any, *, lasting: bool = True) -> None:
        """The file appears under its name with all its content, or not at all.

        Lasting: a power cut cannot undo it, which takes a disk's time: the content and the name in its folder
        are on the disk when this returns.
        """

    def unlink(self, missing_ok: bool = False) -> None:
        """Removes the file."""

    def remove_tree(self) -> None:
        """Removes the folder with what is in it, as far as it can be removed."""

    def remove_if_empty(self) -> None:
        """Removes the folder if nothing is in it."""

    def remove_hold(self) -> None:
        """Removes what `held` made, and the folder if nothing else is in it; for the holder alone."""

    def local_copy(self, *folders: Folder) -> AbstractContextManager[Path]:
        """A local folder of the same name with the files of this one and of some folders in it."""

    def cached(self, *folders: Folder) -> Path:
        """A local folder with these folders as they are now; what is the same is not copied again."""

    def written_locally(self) -> AbstractContextManager[Path]:
        """A local folder to write files into, which are in this one when the context ends."""

    def held(self, *, take_over: bool, make: bool = False) -> AbstractContextManager[Hold]:
        """Holds the run in this folder for one process; raises HeldError where another one does.

        On a disk that is a lock of the operating system, which ends with the process, however it ends; in a
        store it is a lease, which may be taken over. `make`: the folder is made where there is none.
        """

    def value_counts(self, column: str, tables: Sequence[str]) -> Counter[str]:
        """How often each text stands in a column of some Parquet files of this folder; null is left out."""


def upload(source: Path, target: Location) -> None:
    """Copies a local folder with all folders in it."""
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        copy = target
        for part in file.relative_to(source).parts:
            copy = copy / part
        copy.write_whole(file.read_bytes())
