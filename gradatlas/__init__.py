"""Sweeps of vanishing and exploding gradients.

    import gradatlas

    run = gradatlas.open("runs/quickstart-20261125-070502")   # the tables of a run, as Polars LazyFrames
    gradatlas.profile(depth=30, activation="tanh")            # one network, measured at initialisation
    gradatlas.theory("tanh", depth=30)                        # what mean-field theory says of it

`SobolSampler`, `RandomSampler` and `GridSampler` are Optuna samplers whose trial k depends on seed and k
alone. The command `gradatlas` runs sweeps. Importing this takes no time: torch, Polars, Optuna and the others
come with the first call that needs them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gradatlas.face import open, profile, theory

if TYPE_CHECKING:
    from gradatlas.analysis.opened import Run
    from gradatlas.sweeps.sampling.pure import GridSampler, RandomSampler, SobolSampler

    __version__: str

__all__ = [
    "GridSampler", "RandomSampler", "Run", "SobolSampler", "__version__", "open", "profile", "theory",
]  # fmt: skip

_CLASSES = {
    "Run": "gradatlas.analysis.opened",
    "GridSampler": "gradatlas.sweeps.sampling.pure",
    "RandomSampler": "gradatlas.sweeps.sampling.pure",
    "SobolSampler": "gradatlas.sweeps.sampling.pure",
}


def __getattr__(name: str) -> Any:
    """What takes time to import."""
    if name in _CLASSES:
        return getattr(import_module(_CLASSES[name]), name)
    if name == "__version__":
        return _version()
    raise AttributeError(f"module 'gradatlas' has no attribute {name!r}")


def __dir__() -> list[str]:
    """With the names that `__getattr__` knows."""
    return sorted({*__all__, *globals()})


def _version() -> str:
    """The installed distribution's; AttributeError where only the code came, as with a cluster's job."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("gradatlas")
    except PackageNotFoundError as error:
        raise AttributeError("gradatlas is not installed here: its code has no version") from error
