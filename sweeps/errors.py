"""Errors that are the user's to mend: one line, exit code 2; and the other exit codes."""

FAILURE, USER_ERROR, PREEMPTED, INTERRUPTED = 1, 2, 75, 130  # 0: done


class UserError(ValueError):
    """A wrong call of the command; its text is the whole message."""


class SpecError(UserError):
    """A sweep file that breaks a rule."""
