"""A lease on a run folder of an object store, where no operating system locks anything.

Who wants the run writes a claim, and then looks at all claims: whoever sees another's live claim steps back.
Stores list what was written before, so of two that start at once at most one goes on (both may step back).
A holder renews its claim; one that was not renewed for a minute of the store's own clock is dead. What is
left to chance: a holder that sleeps through that minute (a suspended machine) does not know, until it wakes
and renews, that another took over; results that it writes until then are the same as the other's.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from gradatlas.sweeps.errors import UserError
from gradatlas.sweeps.store.location import Location

LIVES, RENEWED = 60.0, 15.0  # seconds that a claim lives, and between two renewals


class Lease:
    """One process' claim on a run."""

    def __init__(self, run: Location, *, lives: float = LIVES, renewed: float = RENEWED) -> None:
        self._run, self._lives, self._renewed = run, lives, renewed
        self._claim = run / "lease" / uuid4().hex
        self._content: dict[str, Any] = {
            "owner": f"process {os.getpid()} on {socket.gethostname()}",
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "place": _process_namespace(),
            "process": os.getpid(),
            "over": [],
        }
        self._last = time.monotonic()
        self._ended = threading.Event()
        self.is_lost = False

    @contextmanager
    def held(self, *, take_over: bool) -> Iterator[None]:
        """Holds the run; raises UserError where another does, unless told to take it over."""
        self._write()
        try:
            self._reject_others(take_over=take_over)
            renewal = threading.Thread(target=self._renew, daemon=True)
            renewal.start()
            yield
            self._ended.set()
            renewal.join()
        finally:
            self._ended.set()
            with suppress(OSError):
                self._claim.unlink(missing_ok=True)

    def _write(self) -> None:
        self._claim.write_whole(json.dumps(self._content).encode())
        self._last = time.monotonic()

    def _reject_others(self, *, take_over: bool) -> None:
        claims = self._claims()
        now = claims.pop(self._claim)
        for claim, written in claims.items():
            content = _read(claim)
            age = now - written
            if age <= self._lives and not take_over and not _is_dead(content):
                raise UserError(
                    f"{self._run}: {content['owner']} has run it since {content['since']} and said so "
                    f"{max(age, 0):.0f} s ago; wait for it or stop it; if it is dead, wait "
                    f"{max(self._lives - age, 1):.0f} s or take the run with --take-over"
                )
            self._content["over"].append(claim.name)
        if self._content["over"]:
            self._write()  # before they go, so that a holder who comes back finds out
            for name in self._content["over"]:
                (self._run / "lease" / name).unlink(missing_ok=True)

    def _claims(self) -> dict[Location, float]:
        """All claims and when each was last renewed."""
        return {claim: modified / 1e9 for claim, (_, modified) in (self._run / "lease").files().items()}

    def _renew(self) -> None:
        while not self._ended.wait(self._renewed):
            try:
                self.renew()
            except OSError:  # the store may come back before the claim dies
                self.is_lost = time.monotonic() - self._last > self._lives
            if self.is_lost:
                return

    def renew(self) -> None:
        """Says that this process lives, or finds that another has the run."""
        claims = self._claims()
        others = [_read(claim) for claim in claims if claim != self._claim]
        displaced = any(self._claim.name in other.get("over", ()) for other in others)
        if self._claim not in claims or displaced:
            self.is_lost = True
        else:
            self._write()


def _read(claim: Location) -> dict[str, Any]:
    try:
        return {"owner": "another process", "since": "some time", **json.loads(claim.read_bytes())}
    except (OSError, ValueError, TypeError):
        return {"owner": "another process", "since": "some time"}


def _process_namespace() -> str:
    """The start of this machine and the process namespace: what makes a process' number mean something."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return uuid4().hex


def _is_dead(content: dict[str, Any]) -> bool:
    """Whether a claim is of a process of this machine that has ended; unknown counts as alive."""
    if content.get("place") != _process_namespace():
        return False
    try:
        os.kill(int(content["process"]), 0)
    except ProcessLookupError:
        return True
    except (KeyError, TypeError, ValueError, OSError):
        return False
    return False
