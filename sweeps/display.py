"""What a run shows while it goes on: a live line in a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from study.regimes import OUTCOMES, REGIMES

_PLAIN_INTERVAL = 30.0  # seconds between two lines of a log
_COLORS = {
    "vanishing": "blue",
    "stable": "green",
    "exploding": "red",
    "learned": "green",
    "stalled": "yellow",
    "diverged": "red",
    "failed": "magenta",
}


class Display:
    """Counts what finished packs report and shows it; a context manager.

    `cost` is that of all packs still to do, in the unit of the reports: packs differ in depth, so the time
    left goes by cost, not by trials.
    """

    def __init__(self, planned: int, done: int, cost: float, console: Console) -> None:
        self._cost, self._cost_left = cost, cost
        self._console, self._planned = console, planned
        self._done, self._done_at_start = done, done
        self._counts: Counter[str] = Counter()
        self._started = self._last_line = time.monotonic()
        self._bar = Progress(
            TextColumn("trials"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[pace]}"),
            console=console,
        )
        self._task = self._bar.add_task("trials", total=planned, completed=done, pace="starting Ray …")
        self._live: Live | None = None

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
            self._console.print(self.line(), highlight=False)

    def started(self) -> None:
        """Workers are there; rates count from now."""
        self._started = time.monotonic()
        self._bar.update(self._task, pace="")

    def finished(self, report: dict[str, Any]) -> None:
        """One pack reported."""
        self._done += report["trials"]
        self._cost_left = max(self._cost_left - report["cost"], 0.0)
        for counts in (report["regimes"], report["outcomes"]):
            self._counts.update(counts)
        self._bar.update(self._task, completed=self._done, pace=self._pace())
        if self._live is not None:
            self._live.update(self._view())
        elif time.monotonic() - self._last_line >= _PLAIN_INTERVAL:
            self._last_line = time.monotonic()
            self._console.print(self.line(), highlight=False)

    def _pace(self) -> str:
        passed = max(time.monotonic() - self._started, 1e-9)
        rate, spent = (self._done - self._done_at_start) / passed, self._cost - self._cost_left
        if not spent:
            return ""
        minutes, seconds = divmod(round(passed * self._cost_left / spent), 60)
        return f"{rate:.1f} trials/s, {minutes}:{seconds:02d} left"

    def line(self) -> str:
        """The state as one plain line."""
        counts = [f"{self._counts[name]} {name}" for name in (*REGIMES, *OUTCOMES) if self._counts[name]]
        parts = (f"{self._done}/{self._planned} trials", self._pace(), ", ".join(counts))
        return "; ".join(part for part in parts if part)

    def _view(self) -> Table:
        view = Table.grid(padding=(0, 1))
        view.add_row(self._bar)
        for title, names in (("gradients", REGIMES), ("training", OUTCOMES)):
            counts = "  ".join(
                f"[{_COLORS[name]}]{self._counts[name]} {name}[/]" for name in names if self._counts[name]
            )
            if counts:
                view.add_row(f"{title:10}{counts}")
        return view
