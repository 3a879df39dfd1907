"""Mean-field theory of batch normalisation before the activation, for batches of any size above 3.

The values x of a unit over a batch of B are Gaussian, with variance a around a common part that the norm
takes out. So what it puts out is √B times a uniformly random direction u among those orthogonal to (1, …, 1):
whatever a is, and independent of the deviation v = mean (x − mean x)² that it divided by. Expectations
over u need one angle for a single example and two for a pair.

On the way back through φ and norm a gradient with covariance α (I − 11ᵀ/B) + γ 11ᵀ/B over the batch becomes
one with γ = 0: a new α = `across`·α + `common`·γ, the common part goes. The norm's `eps` enters as if v
were its mean, which it is within a relative 1/B.

Source: Yang et al. (2019), "A mean field theory of batch normalization".
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from gradatlas.study.shapes import Float
from gradatlas.study.theory.gaussian import cubic_weights, value_and_derivative

_RULE = np.polynomial.legendre.leggauss(24)
_LOG_RATIOS = np.arange(-16.0, 40.01, 0.5)  # ln of variance over eps


class BatchNormField(NamedTuple):
    """What norm and φ do, (networks,), as `study.theory.meanfield.Branch`; `cosine` is of two outputs."""

    mean: np.ndarray
    log_second: np.ndarray
    cosine: np.ndarray
    across: np.ndarray
    common: np.ndarray


def batch_norm_field(
    activation: str, batch_size: int, eps: float, log_across: Float[np.ndarray, " networks"]
) -> BatchNormField:
    """Norm and φ for units whose values over a batch have variance exp(log_across) around a common part."""
    share = (batch_size - 1) / batch_size
    with np.errstate(divide="ignore"):
        log_ratio = log_across + np.log(share) - np.log(eps) if eps else np.full_like(log_across, np.inf)
    ratio = np.clip(log_ratio, _LOG_RATIOS[0], _LOG_RATIOS[-1])
    place = (ratio - _LOG_RATIOS[0]) / (_LOG_RATIOS[1] - _LOG_RATIOS[0])
    first = np.clip(place.astype(int) - 1, 0, len(_LOG_RATIOS) - 4)
    table = _table(activation, batch_size)
    mean, second, cosine, across, common = np.einsum(
        "ks,skc->cs", cubic_weights(place - first), table[first[:, None] + np.arange(4)]
    )
    # E 1/v is (B − 1)/(B − 3) times 1/E v; where eps rules there is nothing to fluctuate.
    shrunk = log_across + np.log(share * (batch_size - 3) / (batch_size - 1))
    back = -(np.logaddexp(shrunk, np.log(eps)) if eps else shrunk)
    return BatchNormField(mean, np.log(second), cosine, np.log(across) + back, np.log(common) + back)


@cache
def _table(activation: str, batch_size: int) -> np.ndarray:
    """(ratios of variance to eps, columns of BatchNormField without the norm's factor 1 / (v + eps))."""
    shrinkage = np.sqrt(1 / (1 + np.exp(-_LOG_RATIOS)))
    return np.array([_sphere(activation, batch_size, kappa) for kappa in shrinkage])


def _sphere(activation: str, size: int, kappa: float) -> tuple[float, ...]:
    """The expectations where the norm puts out κ u."""
    u, other, weights = _pairs(size)
    (value, slope), (value2, slope2) = (value_and_derivative(activation, kappa * x) for x in (u, other))
    mean, second = (weights * value).sum(), (weights * value**2).sum()
    cosine = (weights * value * value2).sum() / second
    squares, stretched = (weights * slope**2).sum(), (weights * (slope * u) ** 2).sum()
    pair = (weights * slope * slope2).sum()
    stretched_pair = (weights * slope * u * slope2 * other).sum()
    omega = 2 * kappa**2 - kappa**4
    trace = (size - 1) * squares - omega * stretched
    common = (size - 1) * (squares - pair) - omega * (stretched + (size - 1) * stretched_pair)
    across = (trace - common / size) / (size - 1)
    smallest = np.finfo(float).tiny  # a linear unit has no common part at all
    return mean / np.sqrt(second), second, cosine, across, max(common / size / (size - 1), smallest)


@cache
def _pairs(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(u_i, u_j, weights): coordinates of two examples, with a node of the rule's edge at zero of both."""
    reach = min(np.pi / 2, 12.0 / np.sqrt(size))
    theta, theta_weights = (x.ravel() for x in _panels(np.array([0.0]), reach))
    theta_weights = theta_weights * np.cos(theta) ** (size - 3)
    rho = -1.0 / (size - 1)
    at_zero = -rho * np.tan(theta) / np.sqrt(1 - rho**2)
    phi, phi_weights = _panels(np.arcsin(np.clip(at_zero, -np.sin(reach), np.sin(reach))), reach)
    phi_weights = phi_weights * np.cos(phi) ** (size - 4)
    phi_weights /= phi_weights.sum(axis=1, keepdims=True)
    weights = theta_weights[:, None] * phi_weights
    first = np.sin(theta)[:, None]
    second = rho * first + np.sqrt(1 - rho**2) * np.cos(theta)[:, None] * np.sin(phi)
    radius = np.sqrt(size - 1)
    return radius * np.broadcast_to(first, second.shape), radius * second, weights / weights.sum()


def _panels(middle: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of [−reach, reach] in four panels, two on each side of a middle, (middles, nodes)."""
    edges = np.stack(
        (
            np.full_like(middle, -reach),
            (middle - reach) / 2,
            middle,
            (middle + reach) / 2,
            np.full_like(middle, reach),
        ),
        axis=1,
    )
    half, centre = np.diff(edges, axis=1)[..., None] / 2, (edges[:, 1:] + edges[:, :-1])[..., None] / 2
    nodes, weights = centre + half * _RULE[0], half * _RULE[1]
    return nodes.reshape(len(middle), -1), weights.reshape(len(middle), -1)
