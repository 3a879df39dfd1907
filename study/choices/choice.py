"""What every value of a parameter that chooses says of itself."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class Choice(Protocol):
    """An entry of a table that a parameter chooses from."""

    @property
    def title(self) -> str:
        """Its name in sentences and figures: "ReLU", "batch norm"."""

    @property
    def meaning(self) -> str:
        """What it is, in a line or a formula, for the reference."""
