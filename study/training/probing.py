"""Fixed examples, whose loss is taken between the steps of training: at which steps, and in which batches.

A minibatch's loss changes from step to step with its examples. Where the examples stay the same, what changes
are the parameters alone: a loss that swings to and fro is an oscillation of training, not noise of sampling.
"""

from __future__ import annotations

from typing import NamedTuple

_MOST = 128  # measurements that are written down


def probe_steps(steps: int, probe_size: int) -> list[int]:
    """The numbers of steps done at which the probe's loss is taken: before the first step and after each, of
    more than 128 the first 64 and the last 64; none without examples or without steps."""
    if steps == 0 or probe_size == 0:
        return []
    if steps < _MOST:
        return list(range(steps + 1))
    # Two runs without gaps: whether a loss swings from step to step shows in neighbours alone.
    half = _MOST // 2
    return [*range(half), *range(steps + 1 - half, steps + 1)]


class Part(NamedTuple):
    """A batch of some examples, and which of it count: the examples first … last − 1."""

    start: int  # of the batch
    first: int
    last: int


def parts(examples: int, size: int) -> list[Part]:
    """Batches of exactly `size` examples in which each of the first `examples` counts once.

    A last batch that they do not fill begins earlier, or, where they are fewer than a batch, takes in those
    that come after them. So a batch norm sees as many examples as in training, and products have the shapes
    of training, whose last bits do not depend on the pack.

    >>> [tuple(part) for part in parts(150, 64)]
    [(0, 0, 64), (64, 64, 128), (86, 128, 150)]
    """
    return [
        Part(max(min(first, examples - size), 0), first, min(first + size, examples))
        for first in range(0, examples, size)
    ]
