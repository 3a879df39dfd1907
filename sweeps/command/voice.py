"""What a command tells of a run: to a person in a terminal or a log, or as JSON lines to a program.

One of the two is made from the command's options; nothing else asks which it is.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from gradatlas.sweeps.command.options import OUT

if TYPE_CHECKING:
    from gradatlas.sweeps.running.runs import State
    from gradatlas.sweeps.store.location import Location
    from gradatlas.sweeps.workers.watcher import Watcher


class Voice(Protocol):
    """Tells of one run, from its plan to its end."""

    def plans(self, trials: int, machines: str, folder: Location) -> None:
        """A new run is going to be planned."""

    def extended(self, trials: int, points: int, folder: Location) -> None:
        """A run has more points, so many trials in all."""

    def starts(self, before: State, cpus: int, folder: Location) -> None:
        """Packs are going to run."""

    def watched(self, before: State, cost: float, *, gpus: bool) -> AbstractContextManager[Watcher]:
        """Who is told by the runner; `cost` is that of all packs without a result."""

    def wrote_report(self, file: object) -> None:
        """The report is there."""

    def ended(self, after: State, stopped: str | None, code: int, folder: Location) -> None:
        """The run ended with this exit code; `stopped` says why before its plan did, if so."""

    def is_complete(self, now: State, folder: Location) -> None:
        """There was nothing to run."""


def voice_of(*, json_lines: bool) -> Voice:
    """The voice that the command's option asks for."""
    return _JsonVoice() if json_lines else _PlainVoice()


class _PlainVoice:
    """Sentences, and a live line in a terminal."""

    def plans(self, trials: int, machines: str, folder: Location) -> None:
        OUT.print(f"{trials} trials on {machines}, into {folder}", markup=False)

    def extended(self, trials: int, points: int, folder: Location) -> None:
        more = f"{trials} trials now, {points} points more in every part"
        OUT.print(f"{folder}: {more}", markup=False)

    def starts(self, before: State, cpus: int, folder: Location) -> None:
        """The plan was told."""

    def watched(self, before: State, cost: float, *, gpus: bool) -> AbstractContextManager[Watcher]:
        from gradatlas.sweeps.command.display import Display

        return Display(before.planned, before.finished, cost, OUT, gpus=gpus)

    def wrote_report(self, file: object) -> None:
        OUT.print(f"report: {file}", markup=False)

    def ended(self, after: State, stopped: str | None, code: int, folder: Location) -> None:
        """How it ended, where that needs words, is told on standard error in both voices."""

    def is_complete(self, now: State, folder: Location) -> None:
        OUT.print(f"{folder}: all {now.planned} trials are done; nothing to resume", markup=False)


class _JsonVoice:
    """One JSON object a line on standard output, and nothing else there."""

    def plans(self, trials: int, machines: str, folder: Location) -> None:
        """`start` tells it."""

    def extended(self, trials: int, points: int, folder: Location) -> None:
        """`start` tells it."""

    def starts(self, before: State, cpus: int, folder: Location) -> None:
        counts = {"done": before.finished, "planned": before.planned, "packs": before.packs}
        _print_event("start", run=str(folder), **counts, cpus=cpus)

    def watched(self, before: State, cost: float, *, gpus: bool) -> AbstractContextManager[Watcher]:
        from gradatlas.sweeps.command.display import JsonLines

        return JsonLines(before.planned, before.finished, cost, partial(print, flush=True), gpus=gpus)

    def wrote_report(self, file: object) -> None:
        _print_event("report", file=str(file))

    def ended(self, after: State, stopped: str | None, code: int, folder: Location) -> None:
        counts = {"done": after.finished, "planned": after.planned}
        _print_event("end", run=str(folder), **counts, stopped=stopped, code=code)

    def is_complete(self, now: State, folder: Location) -> None:
        self.ended(now, None, 0, folder)


def _print_event(event: str, **values: Any) -> None:
    from gradatlas.sweeps.command.display import event_line

    print(event_line(event, **values), flush=True)
