"""A user's files: only regular ones are opened, and only up to a size.

A FIFO would wait for ever, /dev/zero never ends, and a file of gigabytes fills the memory before anything can
be said about it. What is said begins with the path: rule, value, remedy.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO


def reject_bad_path(text: str) -> None:
    """Raise ValueError for what is no path: empty, too long, with control characters, of an unknown user."""
    if not text:
        raise ValueError("must not be empty; give a path")
    bad = next((letter for letter in text if not letter.isprintable()), None)
    if bad is not None:
        raise ValueError(f"must hold printable characters alone, but has {bad!a}; rename")
    if len(os.fsencode(text)) >= 4096 or any(len(os.fsencode(part)) > 255 for part in text.split("/")):
        raise ValueError(
            f"{text[:40]}…: must have at most 4095 bytes, and 255 in a name; take a shorter path"
        )
    try:
        Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"{text}: there is no user of that name; give the whole path") from None


def opened_file(path: Path, *, largest: int) -> BinaryIO:
    """The file, open for reading; raises ValueError where it is not a regular one of at most `largest` bytes.

    OSError says the rest: that it is missing, or may not be read.
    """
    # Without O_NONBLOCK a FIFO waits here until somebody writes.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{path}: must be a regular file, but is {_kind(found.st_mode)}; copy it to one")
        if found.st_size > largest:
            raise ValueError(
                f"{path}: must have at most {largest} bytes, but has {found.st_size}; take less into it"
            )
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")
