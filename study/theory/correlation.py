"""How alike two inputs become with depth: the correlation map and its fixed point c*.

Two inputs whose pre-activations have variance q* and cosine c have, a layer on, the cosine
f(c) = (σ_w² E φ(√q* z₁) φ(√q* z₂) + σ_b²) / q*, z₁ and z₂ standard normal with correlation c. f is a power
series in c with coefficients that are not negative, so on [0, 1] it is convex, f(1) = 1 and f′(1) = χ:
where χ ≤ 1 any two inputs end up alike, c* = 1, and where χ > 1 they come apart until c* < 1. Near c* a layer
leaves the share f′(c*) of a difference, e-fold in ξ_c = −1 / ln f′(c*) layers. Where c* = 1 that is the
gradient's own depth scale; where c* < 1 it is another and longer one.

Sources: Poole et al. (2016) for the map; Schoenholz et al. (2017) for its depth scale.
"""

from __future__ import annotations

import math

import numpy as np

from gradatlas.study.choices.activations import ACTIVATIONS
from gradatlas.study.theory.gaussian import nodes, value_and_derivative

_HALVINGS = 40
_FLAT = 1e-12  # 1 − f′ that rounding makes


def correlation_map(activation: str, c: float, *, q: float, sigma_w: float, sigma_b: float) -> float:
    """f(c) of a plain network at its fixed point q; raises ValueError outside of -1 … 1 or for a q without.

    An expectation over both in polar form would need a kink's angle; here z₂ = c z₁ + √(1 − c²) z.
    """
    _reject_bad_pair(c, q)
    z, weights = nodes(q, ACTIVATIONS[activation].kinks)
    first = value_and_derivative(activation, np.sqrt(q) * z)[0]
    second = np.sqrt(q) * (c * z[:, None] + np.sqrt(1 - c * c) * z)
    inner = value_and_derivative(activation, second)[0] @ weights
    return float((sigma_w**2 * (weights * first) @ inner + sigma_b**2) / q)


def correlation_slope(activation: str, c: float, *, q: float, sigma_w: float) -> float:
    """f′(c) = σ_w² E φ′(√q z₁) φ′(√q z₂) for −1 < c < 1; raises as `correlation_map` does.

    φ′ may jump where no panel of the quadrature ends, so of z₂ = c z₁ + √(1 − c²) z the expectation over z is
    taken by parts: E φ′(√q z₂) = E z φ(√q z₂) / √(q (1 − c²)).
    """
    _reject_bad_pair(c, q)
    z, weights = nodes(q, ACTIVATIONS[activation].kinks)
    derivative = value_and_derivative(activation, np.sqrt(q) * z)[1]
    apart = np.sqrt(1 - c * c)
    second = value_and_derivative(activation, np.sqrt(q) * (c * z[:, None] + apart * z))[0]
    inner = second @ (weights * z) / (np.sqrt(q) * apart)
    return float(sigma_w**2 * (weights * derivative) @ inner)


def _reject_bad_pair(c: float, q: float) -> None:
    """Raises ValueError for what is not a cosine or not a variance."""
    if not -1 <= c <= 1:
        raise ValueError(f"c: must be a cosine, -1 … 1, but got {c!r}")
    if not (np.isfinite(q) and q > 0):
        raise ValueError(f"q: must be a finite variance > 0, but got {q!r}")


def fixed_correlation(activation: str, *, q: float, chi: float, sigma_w: float, sigma_b: float) -> float:
    """c*, the cosine at which any two inputs end in a deep plain net; raises as `correlation_map` does."""
    if chi <= 1 + 1e-6:  # rounding of a critical network
        correlation_map(activation, 1.0, q=q, sigma_w=sigma_w, sigma_b=sigma_b)
        return 1.0
    low, high = 0.0, 1.0 - 1e-9
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_above = correlation_map(activation, middle, q=q, sigma_w=sigma_w, sigma_b=sigma_b) > middle
        low, high = (middle, high) if is_above else (low, middle)
    return (low + high) / 2


def correlation_depth_scale(
    activation: str, c: float, *, q: float, chi: float, sigma_w: float
) -> float | None:
    """ξ_c in layers, over which two inputs' distance from the fixed point c = c* shrinks by e.

    None in a critical network, where it shrinks more slowly than any exponential. f′(1) is χ.
    """
    left = chi if c == 1 else correlation_slope(activation, c, q=q, sigma_w=sigma_w)
    return -1 / math.log(left) if 0 < left < 1 - _FLAT else None
