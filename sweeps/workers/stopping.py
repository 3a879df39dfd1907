"""Whether a run ends before its plan does: signals, a spent budget, a run that was taken over."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Literal

from gradatlas.sweeps.errors import FAILURE, PREEMPTED
from gradatlas.sweeps.store.ledger import Ledger
from gradatlas.sweeps.store.location import Location

_PREEMPTIONS = (signal.SIGTERM, signal.SIGUSR1)  # what batch systems send before the end

_LOOK_SECONDS = 1.0  # between two looks at Ray's head process

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
    def watches_head(self, gone: Callable[[], bool]) -> Iterator[None]:
        """Ends this process soon after Ray's head process, of which `gone` tells, unless it is ending anyway.

        A thread does: calls of Ray would wait for the head for a minute, and nothing interrupts them.
        """
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(_LOOK_SECONDS):
                # What ended the head may have been a signal to all: then its handler has time to say so.
                if gone() and not ended.wait(2 * _LOOK_SECONDS) and self.reason is None:
                    _leave_without_head(self._ledger)

        threading.Thread(target=watch, daemon=True).start()
        try:
            yield
        finally:
            ended.set()

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


@contextmanager
def hangup_as_sigterm() -> Iterator[None]:
    """A SIGHUP, as of a terminal that goes away, does what a SIGTERM does at that moment.

    Where it is ignored, as under nohup, it stays so.
    """
    before = signal.getsignal(signal.SIGHUP)
    if before != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGHUP, lambda *unused: signal.raise_signal(signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


@contextmanager
def hangups_blocked() -> Iterator[None]:
    """Processes started meanwhile never see a SIGHUP, which a terminal sends to all; here it waits."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _leave_without_head(ledger: Ledger) -> None:
    """Ends this process with the code of a failure."""
    with suppress(OSError):
        ledger.remove_driver()  # workers that still live save their packs
    way_on = f"what is done is kept; go on with: gradatlas resume {ledger.folder}"
    print(f"Ray's head process died: {way_on}", file=sys.stderr, flush=True)
    os._exit(FAILURE)
