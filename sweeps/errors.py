"""Errors that are the user's to mend: one line, exit code 2; the other exit codes; what messages may say."""

from __future__ import annotations

import re

FAILURE, USER_ERROR, PREEMPTED, INTERRUPTED = 1, 2, 75, 130  # 0: done
_LONGEST = 2000  # characters of a message, which may quote what the user gave


def one_line(text: str) -> str:
    """The text as one printable line: control characters escaped, the middle of a very long one left out."""
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}"
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


class UserError(ValueError):
    """A wrong call of the command; its text is the whole message, and one line."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class SpecError(UserError):
    """A sweep file that breaks a rule."""


def reason_of(error: OSError) -> str:
    """What an error of the operating system says; some have neither a number nor its text."""
    return error.strerror or str(error) or type(error).__name__


def said_of(error: OSError) -> str:
    """The same after the file that it is about, if any."""
    return f"{error.filename}: {reason_of(error)}" if error.filename else reason_of(error)


_USER = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)(?P<user>[^/\s?#]*)@", re.IGNORECASE)
_SECRET = re.compile(
    r"(?P<name>[?&;][^=&;\s]*(?:key|secret|token|passw|pwd|credential|signature|sig)[^=&;\s]*=)[^&;\s'\"]+",
    re.IGNORECASE,
)


def masked(text: str) -> str:
    """A text with "…" for what may be a secret in its URLs: users, passwords, keys in the query.

    A container before the @ of an Azure URL is a name, and stays.
    """
    return _SECRET.sub(r"\g<name>…", _USER.sub(_without_user, text))


def _without_user(found: re.Match[str]) -> str:
    name, colon, _ = found["user"].partition(":")
    if found["scheme"].lower() in ("abfs://", "abfss://"):
        return f"{found['scheme']}{name}{':…' if colon else ''}@"
    return f"{found['scheme']}…@"
