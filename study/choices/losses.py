"""Losses of stacked outputs, each with its gradient and what a constant predictor would reach."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from gradatlas.study.lazy_torch import Tensor, torch
from gradatlas.study.shapes import Float, Int


@dataclass(frozen=True)
class Loss:
    """A loss; outputs have axes (trials, batch, outputs), targets are shared by the trials.

    `value_and_gradient(outputs, targets)` gives each trial's mean loss and the gradient at its outputs, which
    may be overwritten; `constant(targets)` is the loss of the best constant predictor; `correct(outputs,
    targets)` says whether each answer is right (trials, batch), where that can be said.
    """

    name: str
    value_and_gradient: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    constant: Callable[[Tensor], float]
    correct: Callable[[Tensor, Tensor], Tensor] | None


def _cross_entropy(
    logits: Float[Tensor, "trials batch classes"], labels: Int[Tensor, " batch"]
) -> tuple[Float[Tensor, " trials"], Float[Tensor, "trials batch classes"]]:
    """Mean cross-entropy in nats."""
    # In elementary steps: torch's softmax takes 80 times as long as exp over an axis as short as this.
    chosen = labels.expand(len(logits), -1).unsqueeze(-1)
    shifted = logits.sub_(logits.amax(dim=-1, keepdim=True))
    picked = shifted.gather(-1, chosen)
    gradient = shifted.exp_()
    sums = gradient.sum(dim=-1, keepdim=True)
    losses = (sums.log() - picked).mean(dim=(1, 2))
    gradient.div_(sums).scatter_add_(-1, chosen, gradient.new_full((), -1.0).expand(chosen.shape))
    return losses, gradient.div_(len(labels))


def _entropy(labels: Int[Tensor, " examples"]) -> float:
    shares = torch.bincount(labels).double() / len(labels)
    return float(-torch.xlogy(shares, shares).sum())


def _is_chosen(
    logits: Float[Tensor, "trials batch classes"], labels: Int[Tensor, " batch"]
) -> Float[Tensor, "trials batch"]:
    return (logits.argmax(dim=-1) == labels).double()


CROSS_ENTROPY = Loss("cross-entropy", _cross_entropy, _entropy, _is_chosen)


def _squared_error(
    outputs: Float[Tensor, "trials batch outputs"], targets: Float[Tensor, "batch outputs"]
) -> tuple[Float[Tensor, " trials"], Float[Tensor, "trials batch outputs"]]:
    """Mean squared error over examples and outputs."""
    error = outputs - targets.to(outputs.dtype)
    return error.square().mean(dim=(1, 2)), error.mul_(2.0 / math.prod(targets.shape))


def _variance(targets: Float[Tensor, "examples outputs"]) -> float:
    """The mean over outputs: the best constant has a value of its own for each."""
    return float(targets.double().var(dim=0, correction=0).mean())


SQUARED_ERROR = Loss("squared error", _squared_error, _variance, None)
