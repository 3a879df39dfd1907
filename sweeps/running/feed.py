"""The packs of a run in the order in which they go to workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradatlas.sweeps.running.learning import Learner


class Feed:
    """The packs of a run in the order in which they go to workers: those that wait, then new batches."""

    def __init__(self, waiting: Sequence[str], learner: Learner | None = None) -> None:
        self._waiting, self._learner = list(reversed(waiting)), learner

    @property
    def learns(self) -> bool:
        """Whether later packs follow from earlier results."""
        return self._learner is not None

    def next(self) -> str | None:
        """The next pack; None after the last."""
        if not self._waiting and self._learner is not None:
            self._waiting = list(reversed(self._learner.next_packs()))
        return self._waiting.pop() if self._waiting else None

    def finished(self, pack: str) -> None:
        """A pack has its result."""
        if self._learner is not None:
            self._learner.finished(pack)

    def __getstate__(self) -> dict[str, Any]:
        return {"_waiting": [], "_learner": None}  # Tune pickles its searcher; a study in use cannot be
