"""Gaussian expectations of an activation: what mean-field theory is made of.

φ is an activation, z standard normal, q the variance of a pre-activation h = √q z. `Moments` holds the
expectations that one unit enters, `PairMoments` those of one unit under two inputs whose pre-activations have
correlation c. Both are tables over ln q, made once per activation: a prediction for a hundred thousand
settings interpolates and never integrates. Sizes are logarithms throughout, so a variance of 1e-400 is a
number like any other.

The one idea: the integrand has two scales, that of z and, at h ≈ 1, that of φ. Gauss–Legendre panels
that double from the finer scale on, with an edge wherever φ has a kink (`Activation.kinks`), resolve both.
Gauss–Hermite does not: it is 16 % off for a steep φ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from gradatlas.study.choices.activations import ACTIVATIONS
from gradatlas.study.shapes import Float

_RULE = np.polynomial.legendre.leggauss(16)
_REACH = 12.0  # z beyond which the normal density is below 1e-32
_LOG_Q = np.arange(-48.0, 48.01, 0.0625)  # of the table; outside, logarithms go on as straight lines
_PAIR_LOG_Q = np.arange(-24.0, 24.01, 0.25)
_ANGLES = np.linspace(0.0, 1.0, 65)  # arccos(c) / π: kinks make square roots of 1 − c, but no kinks here
_HERMITE = 96


def nodes(
    q: float, kinks: tuple[float, ...] = ()
) -> tuple[Float[np.ndarray, " nodes"], Float[np.ndarray, " nodes"]]:
    """(z, weights) of a quadrature for E[f(√q z)]; f(h) changes over h ≈ 1 and has kinks, zero among them."""
    first = min(0.5 / np.sqrt(q), 1.0)
    doublings = max(int(np.ceil(np.log2(_REACH / first))), 4)
    edges = np.concatenate(([0.0], _REACH * 2.0 ** np.arange(-doublings, 1)))
    # At both signs of each: the rule is symmetric.
    edges = np.union1d(edges, [z for kink in kinks if (z := abs(kink) / np.sqrt(q)) < _REACH])
    half, middle = np.diff(edges)[:, None] / 2, (edges[1:] + edges[:-1])[:, None] / 2
    z = (middle + half * _RULE[0]).ravel()
    weights = (half * _RULE[1]).ravel() * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    return np.concatenate((-z[::-1], z)), np.concatenate((weights[::-1], weights))


def expectation(
    function: Callable[[np.ndarray], np.ndarray], q: float, *, kinks: tuple[float, ...] = ()
) -> float:
    """E[f(√q z)], f having kinks there; raises ValueError for a variance that is not a finite number >= 0."""
    if not (np.isfinite(q) and q >= 0):
        raise ValueError(f"q: must be a finite variance >= 0, but got {q!r}")
    z, weights = nodes(max(q, np.finfo(float).tiny), kinks)
    return float(weights @ function(np.sqrt(q) * z))


def value_and_derivative(activation: str, h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(φ(h), φ′(h)) in float64."""
    phi, at = ACTIVATIONS[activation], torch.from_numpy(h)
    return phi.value(at, None).numpy(), phi.derivative(at).numpy()


@dataclass(frozen=True)
class Moments:
    """Expectations at each of many variances, (settings,).

    `log_value` is ln E φ², `log_derivative` ln E φ′²; `value_slope` is d ln E φ² / d ln q and so on.
    What has no logarithm is relative to those: `mean` is E φ / √E φ², `fourth_derivative`
    E φ′⁴ / (E φ′²)², `joint` E φ²φ′² / (E φ² E φ′²), `carried` E hφφ′ / √(q Eφ² Eφ′²),
    `stretched` E h²φ′² / (q Eφ′²), `turned` E hφ′ / √(q Eφ′²), `skewed` E φφ′² / (√Eφ² Eφ′²).
    """

    log_value: np.ndarray
    log_derivative: np.ndarray
    value_slope: np.ndarray
    derivative_slope: np.ndarray
    value_curvature: np.ndarray
    derivative_curvature: np.ndarray
    mean: np.ndarray
    fourth_value: np.ndarray
    fourth_derivative: np.ndarray
    joint: np.ndarray
    carried: np.ndarray
    stretched: np.ndarray
    turned: np.ndarray
    skewed: np.ndarray


def moments(activation: str, log_q: Float[np.ndarray, " settings"]) -> Moments:
    """The moments of one unit at variances exp(log_q)."""
    table, step = _moment_table(activation), _LOG_Q[1] - _LOG_Q[0]
    place = (np.clip(log_q, _LOG_Q[0], _LOG_Q[-1]) - _LOG_Q[0]) / step
    first = np.clip(place.astype(int) - 1, 0, len(_LOG_Q) - 4)
    values = np.einsum("ks,skc->cs", cubic_weights(place - first), table[first[:, None] + np.arange(4)])
    beyond = log_q - np.clip(log_q, _LOG_Q[0], _LOG_Q[-1])
    found = Moments(*values)
    found.log_value[:] += found.value_slope * beyond
    found.log_derivative[:] += found.derivative_slope * beyond
    return found


def cubic_weights(x: np.ndarray) -> np.ndarray:
    """Lagrange weights of the nodes 0, 1, 2, 3 at x, (4, settings)."""
    a, b, c, d = x, x - 1, x - 2, x - 3
    return np.stack((-b * c * d / 6, a * c * d / 2, -a * b * d / 2, a * b * c / 6))


@cache
def _moment_table(activation: str) -> np.ndarray:
    """(variances, columns of Moments)."""
    raw = np.array([_raw_moments(activation, q) for q in np.exp(_LOG_Q)])
    value, derivative, mean, fourth, fourth_derivative, joint, carried, stretched, turned, skewed = raw.T
    logs = np.log(np.stack((value, derivative)))
    slopes = np.gradient(logs, _LOG_Q, axis=1)
    curvatures = np.gradient(slopes, _LOG_Q, axis=1)
    return np.stack(
        (
            *logs,
            *slopes,
            *curvatures,
            mean / np.sqrt(value),
            fourth / value**2,
            fourth_derivative / derivative**2,
            joint / (value * derivative),
            carried / np.sqrt(value * derivative),
            stretched / derivative,
            turned / np.sqrt(derivative),
            skewed / (np.sqrt(value) * derivative),
        ),
        axis=1,
    )


def _raw_moments(activation: str, q: float) -> tuple[float, ...]:
    z, weights = nodes(q, ACTIVATIONS[activation].kinks)
    value, slope = value_and_derivative(activation, np.sqrt(q) * z)
    squares, slopes = value**2, slope**2
    integrands = (
        squares, slopes, value, squares**2, slopes**2, squares * slopes, z * value * slope, z * z * slopes,
        z * slope, value * slopes,
    )  # fmt: skip
    return tuple(float(weights @ integrand) for integrand in integrands)


@dataclass(frozen=True)
class PairMoments:
    """Expectations of a unit under two inputs i and j, each relative to its value at i = j, (settings,).

    `values` E φᵢφⱼ / E φ², `derivatives` E φ′ᵢφ′ⱼ / E φ′²; those of squares relative to the product of
    the two means: `squared_values` E φᵢ²φⱼ² / (E φ²)², `squared_derivatives`, `joint` E φᵢ²φ′ⱼ² / …
    """

    values: np.ndarray
    derivatives: np.ndarray
    squared_values: np.ndarray
    squared_derivatives: np.ndarray
    joint: np.ndarray


def pair_moments(
    activation: str, log_q: Float[np.ndarray, " settings"], correlation: Float[np.ndarray, " settings"]
) -> PairMoments:
    """The moments of a unit under two inputs of one variance and a given correlation.

    Interpolated linearly, to about 1e-3: they enter finite-width corrections alone.
    """
    table = _pair_table(activation)
    place = np.clip((log_q - _PAIR_LOG_Q[0]) / 0.25, 0, len(_PAIR_LOG_Q) - 1.001)
    turn = np.arccos(np.clip(correlation, -1.0, 1.0)) / np.pi * (len(_ANGLES) - 1)
    turn = np.minimum(turn, len(_ANGLES) - 1.001)
    row, column = place.astype(int), turn.astype(int)
    y, x = (place - row)[:, None], (turn - column)[:, None]
    low = table[row, column] * (1 - x) + table[row, column + 1] * x
    high = table[row + 1, column] * (1 - x) + table[row + 1, column + 1] * x
    return PairMoments(*(low * (1 - y) + high * y).T)


@cache
def _pair_table(activation: str) -> np.ndarray:
    """(variances, angles, columns of PairMoments), by Mehler's expansion in Hermite polynomials.

    E f(z₁) g(z₂) = Σ aₖ bₖ cᵏ. What the series lacks at c = 1, where the sum is known, goes to its last term.
    """
    powers = np.cos(np.pi * _ANGLES)[:, None] ** np.arange(_HERMITE)
    return np.stack([_pair_row(activation, q, powers) for q in np.exp(_PAIR_LOG_Q)])


def _pair_row(activation: str, q: float, powers: np.ndarray) -> np.ndarray:
    z, weights = nodes(q, ACTIVATIONS[activation].kinks)
    value, slope = value_and_derivative(activation, np.sqrt(q) * z)
    value = value / np.sqrt(weights @ value**2)
    slope = slope / np.sqrt(weights @ slope**2)
    pairs = ((value, value), (slope, slope), (value**2,) * 2, (slope**2,) * 2, (value**2, slope**2))
    basis = _hermite(z) * weights
    columns = []
    for one, other in pairs:
        terms = (basis @ one) * (basis @ other)
        terms[-1] += weights @ (one * other) - terms.sum()
        columns.append(powers @ terms)
    return np.stack(columns, axis=1)


def _hermite(z: np.ndarray) -> np.ndarray:
    """Normalised Hermite polynomials of degree 0, 1, …, (degrees, nodes)."""
    found = [np.ones_like(z), z]
    for degree in range(1, _HERMITE - 1):
        found.append((z * found[-1] - np.sqrt(degree) * found[-2]) / np.sqrt(degree + 1))
    return np.stack(found)
