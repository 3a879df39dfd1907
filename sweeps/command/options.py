"""What the commands share: the terminal, and arguments that several of them take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Console

from gradatlas.study.input_files import reject_bad_path
from gradatlas.sweeps.errors import UserError

OUT = Console(highlight=False, soft_wrap=True)
ERR = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)


def print_notes(notes: Sequence[str]) -> None:
    """What the user should know before a run, on standard error: standard output may be a program's."""
    for note in notes:
        ERR.print(f"note: {note}")


def reject_bad_arguments(arguments: Sequence[str]) -> None:
    """Raise UserError for control characters and bytes that are not UTF-8.

    What is given here is shown, written into files, and by `job` into scripts, where a new line is a command.
    """
    for argument in arguments:
        bad = next((letter for letter in argument if not letter.isprintable()), None)
        if bad is not None:
            raise UserError(
                f"{argument[:80]}: arguments must hold printable characters alone, but this one has "
                f"{bad!a}; take it out"
            )


def _location(text: str) -> Any:
    """A folder or URL given on the command line."""
    from gradatlas.sweeps.store.storage import location_of

    try:
        if "://" not in text:
            reject_bad_path(text)
        return location_of(text)
    except ValueError as error:  # a UserError too
        raise typer.BadParameter(str(error)) from None


RunArgument = Annotated[
    Any, typer.Argument(metavar="RUN", parser=_location, help="A run's folder or URL.", show_default=False)
]
RunsOption = Annotated[
    Any, typer.Option(metavar="DIR", parser=_location, help="Folder or URL of the runs.", show_default=False)
]
Address = Annotated[
    str | None,
    typer.Option(metavar="auto|HOST:PORT", help="Run on an existing Ray cluster that this machine is in."),
]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="With --address, join a cluster that asks for no token.")
]
TakeOver = Annotated[
    bool, typer.Option("--take-over", help="Take a run at a URL from a process that is dead or cut off.")
]
NoReport = Annotated[bool, typer.Option("--no-report", help="Leave the report out.")]
JsonOutput = Annotated[bool, typer.Option("--json-lines", help="Write an event a line, as JSON.")]
