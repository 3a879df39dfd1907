"""A lease on a run folder of an object store, where no operating system locks anything.

Who wants the run writes a claim, and then looks at all claims: whoever sees another's live claim steps back.
Stores list what was written before, so of two that start at once at most one goes on (both may step back).
A holder renews its claim; one that was not renewed for a minute of the store's own clock is dead. A holder
that slept through that minute (a suspended machine) asks the store before it takes the run for its own. What
is left to chance: one that falls asleep between that question and the write after it.
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

from gradatlas.sweeps.store.location import HeldError, Location

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
        self._last = _now()
        self._ended = threading.Event()
        self._lost = False

    @property
    def is_lost(self) -> bool:
        """Whether another process took the run over; asks the store if the claim was not renewed in time."""
        if not self._lost and _now() - self._last > self._lives:
            self._renew_once()
        return self._lost

    @contextmanager
    def held(self, *, take_over: bool) -> Iterator[None]:
        """Holds the run; raises HeldError where another does, unless told to take it over."""
        renewal = threading.Thread(target=self._renew, daemon=True)
        try:
            self._write()
            self._reject_others(take_over=take_over)
            renewal.start()
            yield
        finally:
            self._ended.set()
            if renewal.ident is not None:
                renewal.join()  # it would write the claim again
            with suppress(OSError):
                self._claim.unlink(missing_ok=True)

    def _write(self) -> None:
        self._claim.write_whole(json.dumps(self._content).encode())
        self._last = _now()

    def _reject_others(self, *, take_over: bool) -> None:
        claims = self._claims()
        if self._claim not in claims:
            raise HeldError(f"{self._run}: another process has just taken it over; wait for it or stop it")
        now = claims.pop(self._claim)
        for claim, written in claims.items():
            content = _read(claim)
            age = now - written
            if age <= self._lives and not take_over and not _is_dead(content):
                raise HeldError(
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
            self._renew_once()
            if self._lost:
                return

    def _renew_once(self) -> None:
        try:
            self.renew()
        except OSError:  # the store may come back before the claim dies
            self._lost = _now() - self._last > self._lives

    def renew(self) -> None:
        """Says that this process lives, or finds that another has the run."""
        claims = self._claims()
        others = [_read(claim) for claim in claims if claim != self._claim]
        displaced = any(self._claim.name in other.get("over", ()) for other in others)
        if self._claim not in claims or displaced:
            self._lost = True
        else:
            self._write()


def _now() -> float:
    """Seconds of a clock that goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


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
