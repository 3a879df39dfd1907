"""Update rules, with hyperparameters per trial. A new optimizer is one entry of `OPTIMIZERS`."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from study.shapes import Float

Update = Callable[[Tensor, Tensor, Tensor], None]


def _sgd(
    parameter: Float[Tensor, "trials rows columns"],
    gradient: Float[Tensor, "trials rows columns"],
    step_size: Float[Tensor, "trials 1 1"],
) -> None:
    """θ ← θ − η g, in place."""
    parameter.addcmul_(gradient, step_size, value=-1.0)


OPTIMIZERS: dict[str, Update] = {"sgd": _sgd}
