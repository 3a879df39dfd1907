"""How a run begins: its folder is held first, then made that of a run, then planned.

Whoever holds a folder is alone in it, so what is in it then is whole, or left by a start that was killed.
Only such leftovers are removed, and only by the process that holds them; files that no run wrote never are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from gradatlas.sweeps.errors import UserError, reason_of
from gradatlas.sweeps.store.environment import environment
from gradatlas.sweeps.store.ledger import Ledger
from gradatlas.sweeps.store.location import HOLDS, HeldError, Location

_PARTS = {"sweep.toml", "environment.json", "data", "plans", "results", "states"}
_DRAFT = re.compile(r"\..+\.draft")  # of a file that was not written to its end
_NUMBERS = 1000  # runs of one name in one second


class RunExistsError(UserError):
    """There is a run of this name already."""


@contextmanager
def new_run(
    folder: Path | Location, spec: str, cpus: int, *, numbered: bool = False, take_over: bool = False
) -> Iterator[Ledger]:
    """The folder of a new run, held, still without a plan.

    `numbered`: where the name is taken, the run is called NAME-2, NAME-3, and so on. If the context ends with
    an error the folder is removed, unless it is a run by then; a run that was refused before any pack had a
    result is removed too. Raises RunExistsError where there is a run, HeldError where another process holds
    the folder, UserError where it holds anything else or cannot be written.
    """
    with ExitStack() as held:
        with _told_if_not_written(folder):
            ledger = (_first_free if numbered else _held)(held, folder, take_over=take_over)
        with _removed_unless_begun(ledger):
            with _told_if_not_written(ledger.folder):
                ledger.begin(environment(ledger.folder.name, spec, cpus))
            yield ledger


@contextmanager
def _told_if_not_written(folder: Path | Location) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{folder}: the run folder cannot be written: {reason_of(error)}") from None


@contextmanager
def _removed_unless_begun(ledger: Ledger) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        with suppress(OSError):
            refused = isinstance(error, UserError) and not any(ledger.results.glob("pack-*.parquet"))
            if refused or not ledger.is_begun:
                ledger.remove()
        raise


def _held(held: ExitStack, folder: Path | Location, *, take_over: bool) -> Ledger:
    """The ledger of a folder without a run, held as long as the stack."""
    ledger = Ledger(folder)
    _reject_taken(ledger)  # before a lock is put into what is not ours
    with ExitStack() as attempt:
        attempt.enter_context(ledger.locked_for_start(take_over=take_over))
        _reject_taken(ledger)
        held.enter_context(attempt.pop_all())
    return ledger


def _first_free(held: ExitStack, folder: Path | Location, *, take_over: bool) -> Ledger:
    """The ledger of the first folder of NAME, NAME-2, NAME-3, … that nobody has."""
    for number in range(1, _NUMBERS):
        here = folder if number == 1 else folder.parent / f"{folder.name}-{number}"
        with suppress(HeldError, RunExistsError):
            if not _written(Ledger(here)):
                return _held(held, here, take_over=take_over)
    raise UserError(f"{folder}: must be free, but it and {_NUMBERS - 2} names after it are taken; use --name")


def _written(ledger: Ledger) -> set[str]:
    """The names of what stands in a folder, beside holds and drafts."""
    return {name for name in ledger.folder.names() - HOLDS if not _DRAFT.fullmatch(name)}


def _reject_taken(ledger: Ledger) -> None:
    """Raises UserError for a folder with anything in it that a start may not remove."""
    folder = ledger.folder
    new = f"{folder}: the run's name must be new, but this folder"
    if ledger.is_begun:
        raise RunExistsError(f"{new} exists; take another --name, or go on with `gradatlas resume {folder}`")
    if any(not _DRAFT.fullmatch(name) for name in ledger.results.names()):
        raise UserError(
            f"{new} holds results, and no sweep.toml that tells of what; put that back from a copy, or take "
            "another --name"
        )
    strange = _written(ledger) - (_PARTS if _is_marked(ledger) else set())
    if strange:
        raise UserError(f"{new} holds {min(strange)}, which no start of a run left; take another --name")


def _is_marked(ledger: Ledger) -> bool:
    """Whether a start of ours has been at work in the folder."""
    try:
        return "gradatlas" in json.loads(ledger.environment_file.read_bytes())
    except (OSError, ValueError, TypeError):
        return False
