"""Sequences to learn from: inputs (examples, steps, features), one answer due after the last step.

Sources: Hochreiter & Schmidhuber (1997) for the adding problem; Arjovsky, Shah & Bengio (2016) for copy
memory, where all ten symbols are to be repeated.
"""

from __future__ import annotations

import numpy as np

SYMBOLS = 8
_SHOWN = 10

Examples = tuple[np.ndarray, np.ndarray]


def adding(generator: np.random.Generator, examples: int, steps: int) -> Examples:
    """(Inputs of 2 features, targets (examples, 1)) of the adding problem; at least 2 steps.

    Every step shows a number, uniform in [0, 1), and a marker that is 1 at one step of the first half and at
    one of the second, else 0. The answer is the sum of the two marked numbers; the best constant answer, 1,
    costs 1/6.
    """
    numbers, markers = generator.random((examples, steps)), np.zeros((examples, steps))
    half = steps // 2
    for low, high in ((0, half), (half, steps)):
        markers[np.arange(examples), generator.integers(low, high, examples)] = 1.0
    return np.stack((numbers, markers), axis=2), (numbers * markers).sum(axis=1, keepdims=True)


def copy_memory(generator: np.random.Generator, examples: int, steps: int) -> Examples:
    """(Inputs of 9 features, targets 0 … 7): which symbol was the first?

    The first min(10, steps) steps show one of 8 symbols each, all later ones a blank, as one-hot vectors.
    The first symbol must be kept for a delay of steps − 1, and those after it ignored.
    """
    shown = np.full((examples, steps), SYMBOLS)
    shown[:, :_SHOWN] = generator.integers(0, SYMBOLS, shown[:, :_SHOWN].shape)
    return np.eye(SYMBOLS + 1)[shown], shown[:, 0].astype(np.int64)
