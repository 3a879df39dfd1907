"""Errors that are the user's to mend: one line, exit code 2."""


class UserError(ValueError):
    """A wrong call of the command; its text is the whole message."""


class SpecError(UserError):
    """A sweep file that breaks a rule."""
