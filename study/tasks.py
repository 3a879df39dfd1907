"""Tasks: data to train on, offline and the same on every machine.

Every trial of a task sees the same examples in the same order: a batch depends on the task's seed and the
step alone. A new task is one entry of `TASKS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor

from study.losses import CROSS_ENTROPY, Loss
from study.randomness import stream
from study.shapes import Float

_TASK_SEED = 0


@dataclass(frozen=True)
class Data:
    """Examples and targets, split for training and testing; targets are as the task's loss takes them."""

    inputs: Float[Tensor, "examples ..."]
    targets: Tensor
    test_inputs: Float[Tensor, "test_examples ..."]
    test_targets: Tensor


@dataclass(frozen=True)
class Task:
    """A task by its sizes, known without loading it, and the function that loads it."""

    training_examples: int
    features: int  # of an example, or of one of its time steps
    outputs: int
    loss: Loss
    load: Callable[[], Data]


@cache
def _digits() -> Data:
    """Handwritten digits, 1437 to train and 360 to test, scaled by one mean and one standard deviation."""
    with (files("study") / "data" / "digits.npz").open("rb") as file, np.load(file) as stored:
        pixels, labels = stored["pixels"].astype(np.float64), stored["digits"].astype(np.int64)
    order = stream(_TASK_SEED, "digits split").permutation(len(labels))
    test, training = order[:360], order[360:]
    # One mean and one deviation for all pixels: some pixels are zero in every training image.
    mean, deviation = pixels[training].mean(), pixels[training].std()
    inputs = torch.from_numpy((pixels - mean) / deviation)
    targets = torch.from_numpy(labels)
    return Data(inputs[training], targets[training], inputs[test], targets[test])


TASKS: dict[str, Task] = {
    "digits": Task(training_examples=1437, features=64, outputs=10, loss=CROSS_ENTROPY, load=_digits),
}


def batch_indices(examples: int, batch_size: int, step: int) -> np.ndarray:
    """Which training examples step 0, 1, … sees: every example once per epoch, each epoch in a new order."""
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, places = np.divmod(positions, examples)
    orders = {epoch: _epoch_order(examples, int(epoch)) for epoch in np.unique(epochs)}
    return np.array([orders[epoch][place] for epoch, place in zip(epochs, places, strict=True)])


@cache
def _epoch_order(examples: int, epoch: int) -> np.ndarray:
    return stream(_TASK_SEED, f"epoch {epoch}").permutation(examples)
