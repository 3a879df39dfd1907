"""Errors that are the user's to mend: one line, exit code 2; and the other exit codes."""

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
