"""Standard output and error that nothing breaks: neither a reader who goes away nor a terminal's encoding.

What a run shows is not the run. Where a pipe is closed or a disk is full, what would have been shown is
dropped and the command goes on; `lasting_streams` tells afterwards. What an encoding lacks is shown in the
letters that it has.
"""

from __future__ import annotations

import codecs
import errno
import io
import json
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_ERRORS = "gradatlas"  # the name of the handler below
_LETTERS = {
    **{"α": "alpha", "β": "beta", "χ": "chi", "δ": "delta", "ε": "epsilon", "λ": "lambda", "ξ": "xi"},
    **{"φ": "phi", "σ": "sigma", "Σ": "Sum", "∂": "d", "√": "sqrt", "‖": "||", "′": "'", "∞": "inf"},
    **{"≤": "<=", "≥": ">=", "≈": "~", "≠": "!=", "×": "x", "·": "*", "−": "-", "±": "+-", "–": "-"},
    **{"—": "-", "…": "...", "→": "->", "←": "<-", "≪": "<<", "≫": ">>", "²": "^2", "½": "1/2", "°": "deg"},
    **{"‘": "'", "’": "'", "“": '"', "”": '"', "•": "*", "●": "*"},
}


def _shown_otherwise(error: UnicodeError) -> tuple[str | bytes, int]:
    """What stands for characters that an encoding lacks; bytes of a file's name stay what they were."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    if 0xDC80 <= ord(character) <= 0xDCFF:
        return bytes([ord(character) - 0xDC00]), error.start + 1
    return _LETTERS.get(character) or _plainer(character), error.start + 1


def _plainer(character: str) -> str:
    if 0x2500 <= ord(character) <= 0x257F:  # lines of boxes and bars
        return "-"
    if 0x2580 <= ord(character) <= 0x259F:
        return "#"
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode() or "?"


codecs.register_error(_ERRORS, _shown_otherwise)


class _Lasting(io.RawIOBase):
    """A descriptor that is written to until it fails, and then no more."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.failure: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: Any) -> int:
        if self.failure is None:
            try:
                return os.write(self._descriptor, data)
            except OSError as error:
                self.failure = error
        return len(data)


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Makes standard output and error last as long as this context; they are Python's own again after it.

    Raises OSError at the end where output was lost for another reason than that nobody reads it any more.
    """
    _fill_closed_descriptors()
    before = sys.stdout, sys.stderr
    opened = [_lasting(stream) for stream in before]
    sys.stdout, sys.stderr = (stream for stream, _ in opened)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before
    failure = opened[0][1].failure if opened[0][1] is not None else None
    if failure is not None and failure.errno not in (errno.EPIPE, errno.EIO):  # EIO: of a closed terminal
        raise OSError(failure.errno, failure.strerror, "standard output")


def _fill_closed_descriptors() -> None:
    """Opens the null device where a standard stream was closed: else the next file would take its number."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest number that is free


def _lasting(stream: Any) -> tuple[Any, _Lasting | None]:
    """The stream over a lasting descriptor; itself where it has none, as in a notebook or a test."""
    try:
        descriptor = stream.fileno()
    except (AttributeError, OSError, ValueError):
        return stream if stream is not None else io.StringIO(), None
    with suppress(OSError):
        stream.flush()
    raw = _Lasting(descriptor)
    buffered = io.BufferedWriter(raw)
    text = io.TextIOWrapper(
        buffered, encoding=stream.encoding, errors=_ERRORS, line_buffering=True, write_through=False
    )
    return text, raw


def json_text(value: Any, **options: Any) -> str:
    """A value as JSON for standard output: escaped where the output's encoding is not a Unicode one."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return json.dumps(value, ensure_ascii=not encoding.lower().startswith("utf"), **options)
