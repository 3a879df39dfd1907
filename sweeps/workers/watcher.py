"""Who is told what packs do while a run goes on."""

from __future__ import annotations

from typing import Any, Protocol


class Watcher(Protocol):
    """What a runner tells about its packs."""

    def started(self) -> None:
        """Workers are there."""

    def reported(self, report: dict[str, Any]) -> None:
        """A pack says how far it is, or that it is done."""

    def restarted(self, pack: str) -> None:
        """A pack's worker died."""

    def tick(self, *, stopping: bool = False) -> None:
        """Time has passed; no pack starts any more where the run is stopping."""
