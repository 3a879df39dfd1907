"""A claim: one question of the study with the verdict that the data give.

A verdict comes from a stated rule on an interval, never from prose.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["yes", "no", "depends", "undecided", "not tested"]

_KEYS = ("id", "question", "verdict", "depends_on", "effect", "unit", "interval", "n", "figure", "answer")


@dataclass(frozen=True)
class Claim:
    """A question, its verdict and what it rests on.

    `id`: the question's number, with a letter where it has parts. `depends_on`: on what a verdict "depends"
    hangs. `effect` in `unit` with its 95 % `interval`, from `n` trials. `figure`: a name in
    `analysis.figures.FIGURES`. `answer`: one or two plain sentences with the numbers. `to_run`: what would
    test it, where this run does not. `rule`: from which interval to which verdict.
    """

    id: str
    question: str
    verdict: Verdict
    depends_on: str = ""
    effect: float | None = None
    unit: str = ""
    interval: tuple[float, float] | None = None
    n: int = 0
    figure: str | None = None
    answer: str = ""
    to_run: str = ""
    rule: str = ""

    @property
    def said(self) -> str:
        """The verdict in words: 'yes', 'it depends on activation'."""
        if self.verdict != "depends":
            return self.verdict
        return f"it depends on {self.depends_on}" if self.depends_on else "it depends"

    def as_json(self) -> dict[str, Any]:
        """The keys that `gradatlas claims --json` prints."""
        values = asdict(self)
        return {name: values[name] for name in _KEYS}
