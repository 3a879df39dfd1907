"""Which pack goes to a worker next: those that wait, then what a learner plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from gradatlas.sweeps.running.learning import Learner

Kind = Literal["gpu", "cpu"]


class Handed(NamedTuple):
    """A pack, and the kind of worker that it is for; None where all workers are of one kind."""

    pack: str
    kind: Kind | None


class Feed(Protocol):
    """Hands out the packs of a run, and is told what became of them."""

    @property
    def learns(self) -> bool:
        """Whether later packs follow from earlier results."""

    @property
    def is_over(self) -> bool:
        """Whether no pack will be handed out any more."""

    def next(self) -> Handed | None:
        """The next pack; None where no worker needs one now."""

    def resize(self, slots: Mapping[Kind, int]) -> None:
        """So many packs of each kind the nodes hold at a time now."""

    def finished(self, pack: str, seconds: float) -> None:
        """A pack has its result, after so many seconds of its worker."""

    def ended(self, pack: str) -> None:
        """A pack is given up for now, and not to be handed out again."""

    def returned(self, pack: str) -> None:
        """A pack that no worker began, or whose worker's node went, waits again."""

    def is_stranded(self, pack: str) -> bool:
        """Whether a pack without a worker waits for a kind of node that is gone, while the other is there."""


class QueueFeed:
    """Packs in their order, for workers of one kind."""

    def __init__(self, waiting: Sequence[str], learner: Learner | None = None) -> None:
        self._waiting, self._learner = list(reversed(waiting)), learner

    @property
    def learns(self) -> bool:
        """As `Feed.learns`."""
        return self._learner is not None

    @property
    def is_over(self) -> bool:
        """As `Feed.is_over`."""
        return not self._waiting and (self._learner is None or not self._learner.has_more)

    def next(self) -> Handed | None:
        """The next pack; None after the last."""
        if not self._waiting and self._learner is not None:
            self._waiting = list(reversed(self._learner.next_packs()))
        return Handed(self._waiting.pop(), None) if self._waiting else None

    def resize(self, slots: Mapping[Kind, int]) -> None:
        """Nothing: Ray itself knows how many packs of one kind it holds."""

    def finished(self, pack: str, seconds: float) -> None:
        """A pack has its result."""
        if self._learner is not None:
            self._learner.finished(pack)

    def ended(self, pack: str) -> None:
        """Nothing: it was taken from the queue."""

    def returned(self, pack: str) -> None:
        """It is the next one."""
        self._waiting.append(pack)

    def is_stranded(self, pack: str) -> bool:
        """Never: every node can take it."""
        return False

    def __getstate__(self) -> dict[str, Any]:
        return {"_waiting": [], "_learner": None}  # Tune pickles its searcher; a study in use cannot be
