"""Weight initialisation schemes.

A scheme draws one matrix of shape (fan_in, fan_out), the transpose of `torch.nn.Linear.weight`, because a
stacked layer computes x @ W. The field's σ_w of a scheme is its standard deviation × √fan_in for a square
matrix, so that Var h = σ_w² · mean(x²). A new scheme is one entry of `INITIALIZERS`.

Sources: Glorot & Bengio (2010), He et al. (2015), LeCun et al. (1998), Saxe et al. (2013).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Initializer:
    """One scheme: `draw(generator, fan_in, fan_out)`, and its σ_w for a layer of that shape.

    σ_w is the root of a pre-activation's variance under inputs of mean square 1.
    """

    title: str
    meaning: str
    draw: Callable[[np.random.Generator, int, int], np.ndarray]
    sigma_w: Callable[[int, int], float]
    uniform_bias: bool = False  # biases U(±1/√fan_in), as torch.nn.Linear draws them
    is_independent: bool = True  # each weight of the others: what finite-width theory is derived for


def _normal(std: Callable[[int, int], float]) -> Callable[[np.random.Generator, int, int], np.ndarray]:
    return lambda generator, fan_in, fan_out: (
        generator.standard_normal((fan_in, fan_out)) * std(fan_in, fan_out)
    )


def _uniform(std: Callable[[int, int], float]) -> Callable[[np.random.Generator, int, int], np.ndarray]:
    def draw(generator: np.random.Generator, fan_in: int, fan_out: int) -> np.ndarray:
        bound = math.sqrt(3.0) * std(fan_in, fan_out)
        return generator.uniform(-bound, bound, (fan_in, fan_out))

    return draw


def _xavier(fan_in: int, fan_out: int) -> float:
    return math.sqrt(2.0 / (fan_in + fan_out))


def _he(fan_in: int, fan_out: int) -> float:
    return math.sqrt(2.0 / fan_in)


def _lecun(fan_in: int, fan_out: int) -> float:
    return math.sqrt(1.0 / fan_in)


def _torch_default(fan_in: int, fan_out: int) -> float:
    return math.sqrt(1.0 / (3.0 * fan_in))


def _orthogonal(generator: np.random.Generator, fan_in: int, fan_out: int) -> np.ndarray:
    """Uniform over matrices with orthonormal rows or columns, whichever are fewer (Haar measure)."""
    tall = generator.standard_normal((max(fan_in, fan_out), min(fan_in, fan_out)))
    q, r = np.linalg.qr(tall)
    q *= np.sign(np.diagonal(r))  # without the signs QR is not uniform (Mezzadri 2007)
    return q if fan_in >= fan_out else q.T


def _root_of(square: Callable[[int, int], float]) -> Callable[[int, int], float]:
    return lambda fan_in, fan_out: math.sqrt(square(fan_in, fan_out))


_ONE, _TWO = _root_of(lambda fan_in, fan_out: 1.0), _root_of(lambda fan_in, fan_out: 2.0)
_GLOROT = _root_of(lambda fan_in, fan_out: 2.0 * fan_in / (fan_in + fan_out))

_XAVIER_NORMAL = "normal, variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010)"
_HE_NORMAL = "normal, variance 2 / fan_in (He et al. 2015)"

INITIALIZERS: dict[str, Initializer] = {
    "xavier": Initializer("Xavier", _XAVIER_NORMAL, _normal(_xavier), _GLOROT),
    "xavier_normal": Initializer("Xavier normal", _XAVIER_NORMAL, _normal(_xavier), _GLOROT),
    "xavier_uniform": Initializer(
        "Xavier uniform", "uniform, of the same variance", _uniform(_xavier), _GLOROT
    ),
    "he": Initializer("He", _HE_NORMAL, _normal(_he), _TWO),
    "he_normal": Initializer("He normal", _HE_NORMAL, _normal(_he), _TWO),
    "he_uniform": Initializer("He uniform", "uniform, of the same variance", _uniform(_he), _TWO),
    "lecun": Initializer("LeCun", "normal, variance 1 / fan_in (LeCun et al. 1998)", _normal(_lecun), _ONE),
    "orthogonal": Initializer(
        "orthogonal",
        "orthonormal rows or columns (Saxe et al. 2013)",
        _orthogonal,
        _root_of(lambda fan_in, fan_out: min(1.0, fan_in / fan_out)),
        is_independent=False,
    ),
    "torch_default": Initializer(
        "PyTorch's default",
        "uniform within ±1 / √fan_in, biases too, as torch.nn.Linear",
        _uniform(_torch_default),
        lambda fan_in, fan_out: 1.0 / math.sqrt(3.0),
        uniform_bias=True,
    ),
    "small_normal": Initializer(
        "small normal",
        "normal, deviation 0.01 at every width",
        _normal(lambda fan_in, fan_out: 0.01),
        lambda fan_in, fan_out: 0.01 * math.sqrt(fan_in),
    ),
}


def sigma_w(init: str, width: int, weight_gain: float, *, fan_in: int | None = None) -> float:
    """σ_w of a hidden layer, square unless it has another `fan_in`: the scheme's own, times the gain."""
    return INITIALIZERS[init].sigma_w(width if fan_in is None else fan_in, width) * weight_gain


def sigma_b(init: str, width: int, bias_std: float, *, fan_in: int | None = None) -> float:
    """σ_b of such a layer: `bias_std` and the scheme's own biases together."""
    own = 1.0 / math.sqrt(3.0 * (width if fan_in is None else fan_in))
    return math.hypot(bias_std, own if INITIALIZERS[init].uniform_bias else 0.0)
