"""torch, imported when it is first used: names and rules of parameters must not wait seconds for it.

Modules that commands read before anything is computed take `torch` and `Tensor` from here. Annotations are
never evaluated, except by the tests' type checker, which loads the real thing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["Tensor", "torch"]


class _Lazy:
    """A module's attributes, each looked up once."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(import_module(self._name), attribute)
        setattr(self, attribute, value)
        return value


if TYPE_CHECKING or "jaxtyping" in sys.modules:
    import torch
    from torch import Tensor
else:
    torch, Tensor = _Lazy("torch"), Any
