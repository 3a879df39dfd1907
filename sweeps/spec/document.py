"""The text of a sweep file and what it says, before any rule of a sweep is asked.

A file may come from anybody. What would take for ever, fill the memory, or be written into a script or a
terminal as something else is refused here, once for all keys.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradatlas.study.input_files import opened_file
from gradatlas.sweeps.errors import SpecError

LARGEST_SPEC = 2**18  # bytes, of which tomllib reads at worst a second; the presets have up to 4 kB
_DEEPEST = 16  # tables and lists in each other, names of a dotted key
_MOST_BITS = 4096  # of a whole number: longer ones Python does not even print
_LONGEST = 4096  # characters of a string, as of a path
# tomllib takes time in the square of a key's names: 50,000 of them would take minutes.
_NAME = r"""(?:[\w-]++|"[^"\n]*"|'[^'\n]*')"""
_DEEP_KEY = re.compile(rf"""(?<![\w-]){_NAME}(?:[ \t]*+\.[ \t]*+{_NAME}){{{_DEEPEST * 4}}}""")


def spec_text(path: Path) -> str:
    """The text of a sweep file, a regular one of at most 256 KiB; raises SpecError."""
    try:
        with opened_file(path, largest=LARGEST_SPEC) as file:
            return file.read(LARGEST_SPEC).decode("utf-8-sig").replace("\r\n", "\n")
    except FileNotFoundError:
        raise SpecError(f"{path}: there is no such file; `gradatlas presets` lists the presets") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read as a text file: {error}") from None
    except ValueError as error:
        raise SpecError(str(error)) from None


def parsed_toml(text: str, source: str) -> dict[str, Any]:
    """The document of a TOML text; raises SpecError."""
    reject_deep_keys(text, source)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{source}: not TOML: {error}") from None


def reject_deep_keys(text: str, source: str) -> None:
    """Raise SpecError for a dotted key of very many names."""
    if found := _DEEP_KEY.search(text):
        raise SpecError(f"{source}: keys must have at most {_DEEPEST} names, but one begins {found[0][:40]}…")


def reject_unfit(document: Mapping[str, Any], source: str) -> None:
    """Raise SpecError for what no key may hold: nesting, endless numbers, control characters."""
    waiting: list[tuple[str, Any, int]] = [("", document, 0)]
    while waiting:
        where, value, depth = waiting.pop()
        if depth > _DEEPEST:
            raise SpecError(f"{source}: {where}: must be nested at most {_DEEPEST} deep; take it apart")
        if isinstance(value, Mapping):
            for key, entry in value.items():
                _reject_bad_text(key, f"{source}: {where or 'a key'}")
                waiting.append((f"{where}.{key}" if where else key, entry, depth + 1))
        elif isinstance(value, list):
            waiting += [(where, entry, depth + 1) for entry in value]
        elif isinstance(value, str) and where != "question":
            _reject_bad_text(value, f"{source}: {where}")
        elif isinstance(value, int) and value.bit_length() > _MOST_BITS:  # each key's own rule says more
            raise SpecError(
                f"{source}: {where}: must have at most {_MOST_BITS} bits, but has {value.bit_length()}"
            )


def _reject_bad_text(text: str, where: str) -> None:
    if len(text) > _LONGEST:
        raise SpecError(f"{where}: must have at most {_LONGEST} characters, but has {len(text)}")
    bad = next((letter for letter in text if not letter.isprintable()), None)
    if bad is not None:
        raise SpecError(f"{where}: must hold printable characters alone, but has {bad!a} in {text!r}")
