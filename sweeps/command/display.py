"""What a run shows while it goes on: a live line in a terminal, plain lines in a log, JSON for machines."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.constrain import Constrain
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from gradatlas.study.regimes import OUTCOMES, REGIMES
from gradatlas.sweeps.command.streams import json_text
from gradatlas.sweeps.planning.machine import CpuUse, gpu_share

_LINE_INTERVAL = 30.0  # seconds between two lines of a log
_USE_INTERVAL = 2.0  # seconds over which the use of the machine is taken
_RESTARTED = "its worker died; the pack goes on where it was saved"
_STOPPING = "stopping: saving packs …"
_ECHO = 3  # columns that stay free, so that a terminal's ^C does not wrap and shift what is drawn anew
_WIDE = 80  # columns of a terminal that has room for the time passed
_COLORS = {
    "vanishing": "blue",
    "stable": "green",
    "exploding": "red",
    "learned": "green",
    "stalled": "yellow",
    "diverged": "red",
    "failed": "magenta",
}


class Tally:
    """Counts of what packs report.

    `cost` is that of all packs still to do, in the unit of the reports: packs differ in depth, so the time
    left goes by cost, not by trials.
    """

    def __init__(self, planned: int, done: int, cost: float, clock: Callable[[], float]) -> None:
        self.planned, self.done, self._cost = planned, done, cost
        self._clock, self._began = clock, clock()
        self._trials = self._spent = 0.0  # since the start, without packs in hand
        self._in_hand: dict[str, tuple[float, float]] = {}
        self.regimes: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.failures: deque[str] = deque(maxlen=3)

    def started(self) -> None:
        """Workers are there; rates count from now."""
        self._began = self._clock()

    def reported(self, report: dict[str, Any]) -> None:
        """A pack is so far, or done."""
        share = report["progress"]
        self._in_hand[report["pack"]] = share * report["trials"], share * report["cost"]
        if not report["done"]:
            return
        del self._in_hand[report["pack"]]
        self.failures += [f"{report['pack']}: {reason}" for reason in _reasons(report)]
        if "outcomes" in report:
            self.done += report["trials"]
            self._trials, self._spent = self._trials + report["trials"], self._spent + report["cost"]
            self.regimes.update(report["regimes"])
            self.outcomes.update(report["outcomes"])

    def trials_per_second(self) -> float | None:
        """Since the start, packs in hand counted by their share; None as long as nothing was reported."""
        trials = self._trials + sum(trials for trials, _ in self._in_hand.values())
        return trials / self._passed() if trials else None

    def seconds_left(self) -> float | None:
        """Until the end at the pace so far; None as long as nothing was reported."""
        spent = self._spent + sum(cost for _, cost in self._in_hand.values())
        return self._passed() * max(self._cost - spent, 0.0) / spent if spent else None

    def _passed(self) -> float:
        return max(self._clock() - self._began, 1e-9)

    def pace(self) -> str:
        """Both in words."""
        rate, left = self.trials_per_second(), self.seconds_left()
        if rate is None or left is None:
            return ""
        return f"{rate:.1f} trials/s, {_clock(left)} left"

    def line(self) -> str:
        """The state as one plain line."""
        found = {**self.regimes, **self.outcomes}
        counts = [f"{found[name]} {name}" for name in (*REGIMES, *OUTCOMES) if found.get(name)]
        parts = (f"{self.done}/{self.planned} trials", self.pace(), ", ".join(counts))
        return "; ".join(part for part in parts if part)


def _reasons(report: dict[str, Any]) -> list[str]:
    """Why trials of a pack failed, or why it could not be written."""
    return [*report.get("failed", ()), *([report["failure"]] if "failure" in report else [])]


def _clock(seconds: float) -> str:
    """For example "1:05", "2:00:00"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class _Use:
    """How busy the machine is, in words; asked for often, measured rarely."""

    def __init__(self, *, gpus: bool) -> None:
        self._cpu, self._gpus, self._at = CpuUse(), gpus, time.monotonic()
        self.shares: dict[str, float | None] = {}

    def measure(self) -> bool:
        """Measures if it is time; whether it was."""
        if time.monotonic() - self._at < _USE_INTERVAL:
            return False
        self._at = time.monotonic()
        self.shares = {"cpu": self._cpu.share(), "gpu": gpu_share() if self._gpus else None}
        return True

    def words(self) -> str:
        """For example "CPU 97 %"."""
        known = {name: share for name, share in self.shares.items() if share is not None}
        return ", ".join(f"{name.upper()} {share:.0%}".replace("%", " %") for name, share in known.items())


class Display:
    """Shows a tally on a console; a context manager."""

    def __init__(self, planned: int, done: int, cost: float, console: Console, *, gpus: bool = False) -> None:
        self._tally = Tally(planned, done, cost, time.monotonic)
        self._console, self._use = console, _Use(gpus=gpus)
        self._last_line = time.monotonic()
        self._bar = Progress(
            TextColumn("trials"),
            BarColumn(bar_width=min(40, max(4, console.width - 58))),  # the numbers go first
            MofNCompleteColumn(),
            *([TimeElapsedColumn()] if console.width >= _WIDE else []),
            TextColumn("{task.fields[pace]}"),
            console=console,
        )
        self._task = self._bar.add_task("trials", total=planned, completed=done, pace="starting Ray …")
        self._live: Live | None = None
        self._printed: deque[str] = deque(maxlen=100)  # reasons that a log has
        self._stopping = False

    def __enter__(self) -> Display:
        if self._console.is_terminal:
            self._live = Live(self._view(), console=self._console, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, *reason: object) -> None:
        if self._live is not None:
            self._live.update(self._view(), refresh=True)
            self._live.stop()
        else:
            self._print_line()

    def started(self) -> None:
        """Rates count from now."""
        self._tally.started()
        self._bar.update(self._task, pace="")

    def reported(self, report: dict[str, Any]) -> None:
        """One pack reported."""
        self._tally.reported(report)
        if self._live is None:
            self._print_new(_reasons(report), report["pack"])
        pace = _STOPPING if self._stopping else self._tally.pace()
        self._bar.update(self._task, completed=self._tally.done, pace=pace)

    def _print_new(self, reasons: list[str], pack: str) -> None:
        """A line of the log for each reason, once where all packs have the same."""
        for reason in reasons:
            if reason not in self._printed:
                self._printed.append(reason)
                self._console.print(f"{pack}: failed: {reason}", highlight=False, markup=False)

    def restarted(self, pack: str) -> None:
        """A pack's worker died."""
        self._tally.failures.append(f"{pack}: {_RESTARTED}")
        if self._live is None:
            self._console.print(f"{pack}: {_RESTARTED}", highlight=False, markup=False)

    def tick(self, *, stopping: bool = False) -> None:
        """Shows what changed; a log gets a line when it is time."""
        begins_to_stop, self._stopping = stopping and not self._stopping, stopping
        if begins_to_stop:
            self._bar.update(self._task, pace=_STOPPING)
        measured = self._use.measure()
        if self._live is not None and (measured or begins_to_stop):
            self._live.update(self._view())
        elif self._live is None and begins_to_stop:
            self._console.print(_STOPPING, highlight=False, markup=False)
        elif self._live is None and time.monotonic() - self._last_line >= _LINE_INTERVAL:
            self._print_line()

    def _print_line(self) -> None:
        self._last_line = time.monotonic()
        parts = [self._tally.line(), self._use.words()]
        self._console.print("; ".join(part for part in parts if part), highlight=False, markup=False)

    def _view(self) -> Constrain:
        view = Table.grid(padding=(0, 1))
        view.add_row(self._bar)
        for title, names, found in (
            ("gradients", REGIMES, self._tally.regimes),
            ("training", OUTCOMES, self._tally.outcomes),
        ):
            counts = "  ".join(f"[{_COLORS[name]}]{found[name]} {name}[/]" for name in names if found[name])
            if counts:
                view.add_row(f"{title:10}{counts}")
        if words := self._use.words():
            view.add_row(f"{'machine':10}{words}")
        for failure in self._tally.failures:
            title = "restarted" if failure.endswith(_RESTARTED) else "failed"
            view.add_row(Text(f"{title:10}{failure}", style="magenta", overflow="ellipsis", no_wrap=True))
        return Constrain(view, self._console.width - _ECHO)


class JsonLines:
    """Writes one JSON object for each event; a context manager like `Display`."""

    def __init__(
        self, planned: int, done: int, cost: float, write: Callable[[str], Any], *, gpus: bool = False
    ) -> None:
        self._tally = Tally(planned, done, cost, time.monotonic)
        self._write, self._use = write, _Use(gpus=gpus)
        self._last = time.monotonic()

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, *reason: object) -> None:
        self._progress()

    def started(self) -> None:
        """Rates count from now."""
        self._tally.started()
        self._write(event_line("workers"))

    def reported(self, report: dict[str, Any]) -> None:
        """A line for each pack that is done and for what failed."""
        self._tally.reported(report)
        pack = report["pack"]
        if "outcomes" in report:
            told = {name: report[name] for name in ("trials", "regimes", "outcomes")}
            self._write(event_line("pack", pack=pack, done=self._tally.done, **told))
        for reason in _reasons(report):
            self._write(event_line("failure", pack=pack, reason=reason))

    def restarted(self, pack: str) -> None:
        """A pack's worker died."""
        self._write(event_line("restart", pack=pack, reason=_RESTARTED))

    def tick(self, *, stopping: bool = False) -> None:
        """A line when it is time."""
        self._use.measure()
        if time.monotonic() - self._last >= _LINE_INTERVAL:
            self._progress()

    def _progress(self) -> None:
        self._last = time.monotonic()
        tally = self._tally
        self._write(
            event_line(
                "progress",
                done=tally.done,
                planned=tally.planned,
                trials_per_second=tally.trials_per_second(),
                seconds_left=tally.seconds_left(),
                regimes=dict(tally.regimes),
                outcomes=dict(tally.outcomes),
                **{name: self._use.shares.get(name) for name in ("cpu", "gpu")},
            )
        )


def event_line(event: str, **values: Any) -> str:
    """One line of JSON with the event's name first."""
    return json_text({"event": event, **values})
