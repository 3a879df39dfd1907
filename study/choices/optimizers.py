"""Update rules, with hyperparameters per trial, as torch.optim defines them.

A new optimizer is one entry of `OPTIMIZERS`; its `slots` are the tensors that it keeps beside each
parameter, zero at the start. Rates are (trials, 1, 1) in the parameters' dtype; `clip` is what clipping by
norm multiplies the gradient by. Sources: Polyak (1964); Kingma & Ba (2015).

A rule adds its update to the parameter and, where one is kept, to the sum of all updates so far. The sum
starts at zero, so it holds updates that are too small to change a digit of the parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gradatlas.study.lazy_torch import Tensor, torch

Rates = Mapping[str, Tensor]
Update = Callable[[Sequence[Tensor], Tensor, tuple[Tensor, ...], Rates, int], None]


@dataclass(frozen=True)
class Optimizer:
    """An update rule: `update(targets, gradient, slots, rates, step)` in place, steps from 1.

    The update is added to each of the `targets`, which have the gradient's shape. `rates` names the trial's
    parameters that the rule reads. The gradient may be overwritten.
    """

    title: str
    meaning: str
    update: Update
    slots: int
    rates: tuple[str, ...]


def _sgd(
    targets: Sequence[Tensor], gradient: Tensor, slots: tuple[Tensor, ...], rates: Rates, step: int
) -> None:
    """θ ← θ − η g."""
    rate = rates["learning_rate"] * rates["clip"]
    for target in targets:
        target.addcmul_(gradient, rate, value=-1.0)


def _momentum(
    targets: Sequence[Tensor], gradient: Tensor, slots: tuple[Tensor, ...], rates: Rates, step: int
) -> None:
    """v ← μ v + g, θ ← θ − η v."""
    (velocity,) = slots
    velocity.mul_(rates["momentum"]).addcmul_(gradient, rates["clip"])
    for target in targets:
        target.addcmul_(velocity, rates["learning_rate"], value=-1.0)


def _adam(
    targets: Sequence[Tensor], gradient: Tensor, slots: tuple[Tensor, ...], rates: Rates, step: int
) -> None:
    """m and v are running means of g and g²; θ ← θ − η m̂ / (√v̂ + ε), both without their bias to zero."""
    mean, square = slots
    beta1, beta2 = rates["adam_beta1"], rates["adam_beta2"]
    gradient.mul_(rates["clip"])
    mean.lerp_(gradient, 1 - beta1)
    square.mul_(beta2).addcmul_(gradient.mul(1 - beta2), gradient)
    root = torch.sqrt(square).div_((1 - beta2**step).sqrt()).add_(rates["adam_eps"])
    update = mean.mul(rates["learning_rate"] / (1 - beta1**step)).div_(root)
    for target in targets:
        target.sub_(update)


OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": Optimizer("sgd", "as torch.optim.SGD", _sgd, 0, ("learning_rate",)),
    "momentum": Optimizer(
        "momentum",
        "SGD with momentum (Polyak 1964), as torch.optim.SGD",
        _momentum,
        1,
        ("learning_rate", "momentum"),
    ),
    "adam": Optimizer(
        "adam",
        "Kingma & Ba (2015), as torch.optim.Adam",
        _adam,
        2,
        ("learning_rate", "adam_beta1", "adam_beta2", "adam_eps"),
    ),
}
