"""What ends a call that hangs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS = 20  # after which a call counts as hanging; all take under two on a quiet machine


@contextmanager
def guarded() -> Iterator[None]:
    """A call that hangs is ended, and fails."""

    def ended(*unused: object) -> None:
        raise AssertionError(f"still at it after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, ended)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
