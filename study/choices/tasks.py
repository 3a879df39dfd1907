"""Tasks: data to train on, offline and the same on every machine.

Every trial of a task sees the same examples in the same order: a batch depends on the task's seed and the
step alone. A new task is one entry of `TASKS`; `task_named` knows beside them a teacher of any dimension
("teacher:128") and a user's own file ("path/to/data.npz").
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from importlib.resources import files
from pathlib import Path

import numpy as np

from gradatlas.study.choices.losses import CROSS_ENTROPY, SQUARED_ERROR, Loss
from gradatlas.study.choices.own_data import is_file_name, read_examples
from gradatlas.study.choices.sequences import SYMBOLS, Examples, adding, copy_memory
from gradatlas.study.choices.synthetic import spiral_examples, teacher_examples
from gradatlas.study.lazy_torch import Tensor, torch
from gradatlas.study.randomness import stream
from gradatlas.study.shapes import Float

_TASK_SEED = 0
_TEACHER_EXAMPLES, _SPIRAL_EXAMPLES = 5120, 2000
_TEACHER_DIMENSION = 64
_LARGEST_TEACHER = 2**16  # dimensions; its examples take 2.5 GiB


@dataclass(frozen=True)
class Data:
    """Examples and targets, split for training and testing; targets are as the task's loss takes them."""

    inputs: Float[Tensor, "examples ..."]
    targets: Tensor
    test_inputs: Float[Tensor, "test_examples ..."]
    test_targets: Tensor


@dataclass(frozen=True)
class Task:
    """A task by its sizes, known without loading it, and the function that loads it.

    A sequence has at least `least_steps` time steps; it is loaded for as many as the depth, or has `steps` of
    its own. A flat task has none.
    """

    title: str
    meaning: str
    training_examples: int
    features: int  # of an example, or of one of its time steps
    outputs: int
    loss: Loss
    load: Callable[..., Data]  # of the number of time steps for a sequence, else of nothing
    least_steps: int | None = None
    steps: int | None = None

    @property
    def is_sequence(self) -> bool:
        """Whether an example has time steps."""
        return self.least_steps is not None

    def data(self, depth: int) -> Data:
        """The task's data for trials of this depth."""
        return self.load(depth) if self.is_sequence else self.load()


@cache
def _digits() -> Data:
    """Handwritten digits, 1437 to train and 360 to test, scaled by one mean and one standard deviation."""
    with (files("gradatlas.study") / "data" / "digits.npz").open("rb") as file, np.load(file) as stored:
        pixels, labels = stored["pixels"].astype(np.float64), stored["digits"].astype(np.int64)
    return _split(pixels, labels, "digits split")


def _split(features: np.ndarray, targets: np.ndarray, purpose: str) -> Data:
    """A fifth of the examples to test, the rest to train, scaled by one mean and one standard deviation."""
    order = stream(_TASK_SEED, purpose).permutation(len(targets))
    test, training = np.split(order, [_test_examples(len(order))])
    features = features.astype(np.float64)
    # One mean and one deviation for all features: some may be the same in every training example.
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = features[training].mean(), features[training].std()
    if not np.isfinite(deviation) or deviation <= 1e-12 * abs(mean):
        raise ValueError(
            f"features must differ, by a finite amount, but the deviation of the training examples is "
            f"{deviation:g} around {mean:g}; scale them to about 1"
        )
    inputs, answers = torch.from_numpy((features - mean) / deviation), torch.from_numpy(targets)
    return Data(inputs[training], answers[training], inputs[test], answers[test])


def _test_examples(examples: int) -> int:
    return -(-examples // 5)


@lru_cache(maxsize=4)
def _teacher_data(dimension: int) -> Data:
    return _split(*teacher_examples(dimension, _TEACHER_EXAMPLES, _TASK_SEED), "teacher split")


def _teacher(dimension: int) -> Task:
    """Regression on a random network's answers to Gaussian inputs."""
    if dimension > _LARGEST_TEACHER:
        raise ValueError(
            f"teacher:N: N must be <= {_LARGEST_TEACHER} dimensions, but is {dimension}; take fewer"
        )
    training = _TEACHER_EXAMPLES - _test_examples(_TEACHER_EXAMPLES)
    title = "teacher" if dimension == _TEACHER_DIMENSION else f"teacher:{dimension}"
    meaning = f"answers of a fixed random tanh network to N(0, 1) in {dimension} dimensions"
    return Task(title, meaning, training, dimension, 1, SQUARED_ERROR, partial(_teacher_data, dimension))


@cache
def _spirals() -> Data:
    return _split(*spiral_examples(_SPIRAL_EXAMPLES, _TASK_SEED), "spirals split")


@lru_cache(maxsize=16)
def _task_of_file(path: str, *version: int) -> Task:
    """The task of a user's file; a file that changed has another version."""
    features, labels = examples = read_examples(Path(path))
    values = labels.astype(np.float64).reshape(len(labels), -1)
    try:
        data = _split(features, labels.astype(np.int64) if examples.are_classes else values, "own data split")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    _reject_constant(data.targets, path, "classes" if examples.are_classes else "values")
    outputs = int(labels.max()) + 1 if examples.are_classes else values.shape[1]
    loss = CROSS_ENTROPY if examples.are_classes else SQUARED_ERROR
    title = Path(path).stem
    return Task(title, "your own", len(data.inputs), features.shape[1], outputs, loss, lambda: data)


def _reject_constant(targets: Tensor, path: str, noun: str) -> None:
    if (targets == targets[0]).all():
        raise ValueError(
            f"{path}: labels must be of at least two {noun} among the {len(targets)} training examples, but "
            f"all are {targets[0].tolist()}; add examples"
        )


def _digit_rows(steps: int) -> Data:
    """The digits' images, one row of 8 pixels at each of 8 steps, from the top."""
    data = _digits()
    rows, test_rows = (images.reshape(len(images), steps, -1) for images in (data.inputs, data.test_inputs))
    return replace(data, inputs=rows, test_inputs=test_rows)


_SEQUENCES, _TEST_SEQUENCES = 1024, 256


def _loader(name: str, draw: Callable[[np.random.Generator, int, int], Examples]) -> Callable[[int], Data]:
    """The function that draws a task's sequences of a given number of steps."""

    # Sequences of a thousand steps take 90 MB: those of the last two lengths are kept.
    @lru_cache(maxsize=2)
    def load(steps: int) -> Data:
        examples = draw(stream(_TASK_SEED, f"{name} {steps}"), _SEQUENCES + _TEST_SEQUENCES, steps)
        inputs, targets = (torch.from_numpy(array) for array in examples)
        return Data(inputs[:_SEQUENCES], targets[:_SEQUENCES], inputs[_SEQUENCES:], targets[_SEQUENCES:])

    return load


TASKS: dict[str, Task] = {
    "digits": Task(
        "digits",
        "8 × 8 pixels to one of 10 digits",
        training_examples=1437,
        features=64,
        outputs=10,
        loss=CROSS_ENTROPY,
        load=_digits,
    ),
    "teacher": _teacher(_TEACHER_DIMENSION),
    "spirals": Task(
        "spirals",
        "points of the plane to one of two interleaved spirals",
        training_examples=1600,
        features=2,
        outputs=2,
        loss=CROSS_ENTROPY,
        load=_spirals,
    ),
    "digit_rows": Task(
        "digit rows",
        "the digits, a row of 8 pixels at each of 8 time steps",
        training_examples=1437,
        features=8,
        outputs=10,
        loss=CROSS_ENTROPY,
        load=_digit_rows,
        least_steps=8,
        steps=8,
    ),
    "adding": Task(
        "adding",
        "the sum of the two marked numbers of a sequence (Hochreiter & Schmidhuber 1997)",
        _SEQUENCES,
        features=2,
        outputs=1,
        loss=SQUARED_ERROR,
        load=_loader("adding", adding),
        least_steps=2,
    ),
    "copy": Task(
        "copy",
        "the first symbol of a sequence, after a delay (Arjovsky et al. 2016)",
        _SEQUENCES,
        features=SYMBOLS + 1,
        outputs=SYMBOLS,
        loss=CROSS_ENTROPY,
        load=_loader("copy", copy_memory),
        least_steps=1,
    ),
}


_TEACHER_NAME = re.compile(r"teacher:([1-9]\d{0,8})")
OTHER_TASKS = "teacher:DIMENSION, or the path of an .npz or .parquet file"


def is_task_name(name: str) -> bool:
    """Whether a name beside `TASKS` can be a task's; a file may still be missing or unfit."""
    return _TEACHER_NAME.fullmatch(name) is not None or is_file_name(name)


def task_named(name: str | None) -> Task:
    """The task of a name; raises ValueError where there is none, or where its file cannot be one."""
    if name in TASKS:
        return TASKS[name]
    if name is not None and (teacher := _TEACHER_NAME.fullmatch(name)):
        return _teacher(int(teacher[1]))
    if name is None or not is_file_name(name):
        raise ValueError(f"must be one of {', '.join(TASKS)}, {OTHER_TASKS}, but got {name!r}")
    try:
        found = os.stat(name)
    except OSError as error:
        raise ValueError(f"{name}: cannot be read: {error.strerror}; check the path") from None
    return _task_of_file(os.path.abspath(name), found.st_mtime_ns, found.st_size)


def batch_indices(examples: int, batch_size: int, step: int) -> np.ndarray:
    """Which training examples step 0, 1, … sees: every example once per epoch, each epoch in a new order."""
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, places = np.divmod(positions, examples)
    orders = {epoch: _epoch_order(examples, int(epoch)) for epoch in np.unique(epochs)}
    return np.array([orders[epoch][place] for epoch, place in zip(epochs, places, strict=True)])


@cache
def _epoch_order(examples: int, epoch: int) -> np.ndarray:
    return stream(_TASK_SEED, f"epoch {epoch}").permutation(examples)
