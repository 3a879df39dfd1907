"""Whether a run ends before its plan does: signals, a spent budget, a run that was taken over."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Literal

from gradatlas.sweeps.errors import PREEMPTED
from gradatlas.sweeps.store.ledger import Ledger
from gradatlas.sweeps.store.location import Location

_PREEMPTIONS = (signal.SIGTERM, signal.SIGUSR1)  # what batch systems send before the end

Reason = Literal["interrupted", "preempted", "out of time", "no room", "dying workers", "taken over"]


class Stop:
    """Whether a run ends before its plan does, and why; the first reason stands."""

    def __init__(self, ledger: Ledger, seconds: float | None, grace: float = 15.0) -> None:
        self._ledger, self._grace = ledger, grace
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._told = False
        self.reason: Reason | None = None

    def request(self, reason: Reason) -> None:
        """No pack starts any more, and those in hand are saved."""
        self.reason = self.reason or reason

    def tell_workers(self) -> None:
        """Passes the request on, once."""
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self.request("out of time")
        if self._ledger.is_lost:
            self.request("taken over")
        if self.reason is not None and not self._told:
            self._told = True
            self._ledger.remove_driver()

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """SIGTERM, SIGUSR1 and Ctrl-C become requests; a second Ctrl-C stops at once."""
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, *_PREEMPTIONS)}
        self.catch_signals()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def catch_signals(self) -> None:
        """Makes the signals ours; Tune takes SIGUSR1 for itself when it starts."""
        for number in (signal.SIGINT, *_PREEMPTIONS):
            signal.signal(number, self._requested)

    def _requested(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.reason == "interrupted":
            raise KeyboardInterrupt
        if number != signal.SIGINT and self.reason is None:
            _leave_after(self._grace, self._ledger.folder)
        self.request("interrupted" if number == signal.SIGINT else "preempted")


def _leave_after(seconds: float, run: Location) -> None:
    """Ends this process with the code of a preemption, whatever it is doing then.

    A SIGTERM to all processes of a job ends Ray's too, and a call that waits for them would wait a minute.
    """

    def leave() -> None:
        print(f"preempted: go on with: gradatlas resume {run}", file=sys.stderr, flush=True)
        os._exit(PREEMPTED)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()
