"""What a pack leaves in `states/` before its result: where it was, and how its workers ended.

A pack is worked on in pieces, at first one: where memory or a trial breaks a piece, it is halved, and each
half starts anew; rows do not depend on the pack, so they are the same. A worker that the system kills cannot
say so: the journal says `in_hand` while one works, and whoever finds it so knows that the last one died.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from itertools import pairwise

from gradatlas.sweeps.store.location import Location

# The first death may be anyone's: a kill from outside, a machine that went away. A second one without
# anything saved in between speaks for memory, and halving costs at most the time since the last save.
_DEATHS_BEFORE_HALVING = 2

Piece = tuple[int, int]  # the first trial's index in the pack, and one beyond the last's


@dataclass(frozen=True)
class Journal:
    """The pieces of a pack and the deaths of workers since anything was saved."""

    cuts: tuple[int, ...]  # (0, 16, 64): trials 0 to 15 are a piece, 16 to 63 another
    in_hand: bool = False
    driver: str = ""
    deaths: int = 0
    deaths_of_driver: int = 0  # those that the driver outlived

    @property
    def pieces(self) -> list[Piece]:
        """The pieces in their order."""
        return list(pairwise(self.cuts))

    def taken_by(self, driver: str) -> Journal:
        """The journal of a worker that begins: one more death if the last one did not end in order."""
        if not self.in_hand:
            return replace(self, in_hand=True, driver=driver)
        outlived = self.deaths_of_driver + 1 if self.driver == driver else 0
        return replace(self, driver=driver, deaths=self.deaths + 1, deaths_of_driver=outlived)

    def halved(self, piece: Piece) -> Journal:
        """The journal with a piece of several trials cut in two."""
        middle = sum(piece) // 2
        return replace(self.alive, cuts=tuple(sorted({*self.cuts, middle})))

    @property
    def alive(self) -> Journal:
        """The journal after progress: deaths before it count no more."""
        return replace(self, deaths=0, deaths_of_driver=0)

    def must_halve(self, piece: Piece) -> bool:
        """Whether a piece killed its workers too often to be tried whole again."""
        return self.deaths >= _DEATHS_BEFORE_HALVING and piece[1] - piece[0] > 1

    def must_give_up(self, piece: Piece, max_failures: int) -> bool:
        """Whether a lone trial killed its worker more than `max_failures` times while the driver lived."""
        return piece[1] - piece[0] == 1 and self.deaths_of_driver > max_failures


def read_journal(path: Location, trials: int) -> Journal:
    """The journal of a pack of so many trials; a blank one where there is none, or none that can be read."""
    blank = Journal((0, trials))
    try:
        if not path.is_file():  # reading a pipe would wait for ever
            return blank
        stored = json.loads(path.read_bytes())
        journal = Journal(**{**stored, "cuts": tuple(stored["cuts"])})
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return blank
    return journal if _is_sound(journal, trials) else blank


def _is_sound(journal: Journal, trials: int) -> bool:
    """Whether a journal that was read says what a worker could have written of a pack of so many trials."""
    counts = (*journal.cuts, journal.deaths, journal.deaths_of_driver)
    return (
        all(type(count) is int and count >= 0 for count in counts)
        and type(journal.in_hand) is bool
        and type(journal.driver) is str
        and journal.cuts[:1] == (0,)
        and journal.cuts[-1] == trials
        and all(first < last for first, last in pairwise(journal.cuts))
    )


def journal_bytes(journal: Journal) -> bytes:
    """What `read_journal` reads."""
    return json.dumps(asdict(journal)).encode()
