"""Examples drawn rather than measured: a random teacher network's answers, two spirals.

Each function gives (inputs, targets) as arrays with examples first, a function of its arguments alone.
"""

from __future__ import annotations

import math

import numpy as np

from gradatlas.study.randomness import stream

_TEACHER_WIDTH = 64
# Of each spiral, and in units of its outer radius. With 1.25 turns a line tells 66 % of the points apart and
# 100 default steps learn more; from 1.75 turns on they do not.
_TURNS, _NOISE = 1.25, 0.04


def teacher_examples(dimension: int, examples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs x ~ N(0, 1) and what a random network v · tanh(W x) answers, of mean 0 and variance 1.

    Scaled so because the answer of the best constant then costs 1, in any dimension.
    """
    inputs = stream(seed, "teacher inputs").standard_normal((examples, dimension))
    network = stream(seed, "teacher network")
    hidden = network.standard_normal((dimension, _TEACHER_WIDTH)) / math.sqrt(dimension)
    readout = network.standard_normal((_TEACHER_WIDTH, 1))
    answers = np.tanh(inputs @ hidden) @ readout
    return inputs, (answers - answers.mean()) / answers.std()


def spiral_examples(examples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of the plane on two interleaved spirals, with which of the two each is from.

    Source: Lang and Witbrock (1988), "Learning to tell two spirals apart"; here with fewer turns, noise, and
    radii that cover the disc evenly.
    """
    numbers = stream(seed, "spirals")
    arms = np.arange(examples) % 2
    radius = np.sqrt(numbers.uniform(0.01, 1.0, examples))
    angle = 2 * np.pi * _TURNS * radius + np.pi * arms
    points = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return points + _NOISE * numbers.standard_normal(points.shape), arms
