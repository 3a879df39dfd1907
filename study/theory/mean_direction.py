"""What the mean of a residual stream does to its gradient: two directions out of n that outgrow the rest.

In x' = x + φ(W x + b) the branch's mean depends on |x|, so on average the Jacobian is I + κ 1̂ x̂ᵀ, and the
gradient's components along 1̂ = (1, …, 1)/√n and along the signal x̂ = x/|x| feed each other while the signal's
own mean grows. Mean field does not see two directions of n, but they grow faster than the others: for ReLU
with σ_w = 1.2 and width 64 they make two of the seven decades that 40 layers gain.

Followed from the last layer to the first: e = E|δ|²/n, and the second moments C of v = (1̂·δ, x̂·δ). In a
block u = W x is what the forward pass fixed and r = u φ′; of W the rest is new. With r̂ = r/|x|,

    δ_before = δ + (new part of W)ᵀ φ′δ + x̂ (r̂·δ),

and 1̂·δ, x̂·δ, r̂·δ follow from v up to what lies outside of the span of 1̂ and x̂'. Checked against simulation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from gradatlas.study.shapes import Float
from gradatlas.study.theory.gaussian import moments
from gradatlas.study.theory.meanfield import LN10, Expected, Networks, Structure


class _Block(NamedTuple):
    """Inner products in a block, (networks, …); 1̂ and x̂' (the signal after it) are the basis."""

    gain: Float[np.ndarray, " networks"]  # σ_w² Eφ′²
    basis: Float[np.ndarray, "networks 2 2"]  # of the basis with itself
    followed: Float[np.ndarray, "networks 3 3"]  # of 1̂, x̂, r̂ with themselves
    between: Float[np.ndarray, "networks 3 2"]  # of 1̂, x̂, r̂ with the basis
    squared: Float[np.ndarray, "networks 2 2"]  # of the basis after φ′, per Eφ′²


def with_mean_direction(structure: Structure, networks: Networks, profile: Expected) -> Expected:
    """The profile with what the stream's mean adds; other structures' profiles as they are."""
    if structure.skip != "residual" or structure.norm != "none":
        return profile
    depth = profile.depth
    gradient = np.where(np.isnan(profile.gradient), np.nan, 0.0)
    log_e, moment = np.zeros(len(depth)), np.zeros((len(depth), 2, 2))
    for layer in reversed(range(gradient.shape[1] - 1)):
        starting, there = depth == layer + 2, depth > layer + 1
        moment[starting] = _gram(profile.mean[starting, layer + 1])
        ends = slice(layer, layer + 2)
        block = _block(
            structure, networks.chosen(there), profile.log_q[there, ends], profile.mean[there, ends]
        )
        growth, moment[there] = _back(block, moment[there], networks.width[there])
        log_e[there] += np.log(growth)
        gradient[there, layer] = log_e[there] / (2 * LN10)
    return replace(profile, gradient=gradient)


def _matrix(*entries: np.ndarray, columns: int) -> np.ndarray:
    return np.stack(entries, axis=1).reshape(len(entries[0]), len(entries) // columns, columns)


def _gram(cosine: np.ndarray) -> np.ndarray:
    """Of two unit vectors."""
    one = np.ones_like(cosine)
    return _matrix(one, cosine, cosine, one, columns=2)


def _block(structure: Structure, networks: Networks, log_p: np.ndarray, means: np.ndarray) -> _Block:
    (before, after), (mean, mean_after) = log_p.T, means.T
    log_weight = np.log(networks.weight_variance)
    with np.errstate(divide="ignore"):
        inner = np.logaddexp(log_weight + before, np.log(networks.bias_variance))
    share = np.exp(log_weight + before - inner)  # of u in h = u + b
    at = moments(structure.activation, inner)
    gain = np.exp(log_weight + at.log_derivative)
    size, shrink = np.exp((at.log_value - before) / 2), np.exp((before - after) / 2)  # RMS φ and x, x and x'
    kappa = np.sqrt(share * gain) * at.turned  # 1̂·r̂: E uφ′/√p, with E uφ′ = share · E hφ′
    # r̂·x̂': E uφ′(x + φ) over √(p p').
    signal = shrink * (mean * kappa + size * np.sqrt(share * gain) * at.carried)
    overlap = np.minimum(shrink * (1 + mean * at.mean * size), 1.0)
    stretched = gain * (share * at.stretched + 1 - share)
    one = np.ones_like(kappa)
    skewed = shrink * (mean + size * at.skewed)
    squared = shrink**2 * (1 + 2 * mean * size * at.skewed + size**2 * at.joint)
    return _Block(
        gain,
        _gram(mean_after),
        _matrix(one, mean, kappa, mean, one, mean * kappa, kappa, mean * kappa, stretched, columns=3),
        _matrix(one, mean_after, mean, overlap, kappa, signal, columns=2),
        _matrix(one, skewed, skewed, squared, columns=2),
    )


def _back(block: _Block, moment: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(Growth of e through the block, C before it in units of the new e)."""
    inverse = np.linalg.pinv(block.basis, hermitian=True)
    inside = np.trace(inverse @ moment, axis1=1, axis2=2)  # |δ|² within the span
    bulk = np.maximum(1 - inside / width, 0.0)
    dual = inverse @ moment @ inverse
    left = block.followed - block.between @ inverse @ block.between.transpose(0, 2, 1)
    known = block.between @ dual @ block.between.transpose(0, 2, 1) + bulk[:, None, None] * left
    passed = bulk + (dual * block.squared).sum(axis=(1, 2)) / width  # |φ′δ|² per n Eφ′² e
    fresh = block.gain * (1 - 1 / width) * passed
    growth = 1 + fresh + (known[:, 2, 2] + 2 * known[:, 1, 2]) / width
    mean = block.followed[:, 0, 1]
    onto = np.zeros((len(width), 2, 3))
    onto[:, 0, 0], onto[:, 0, 2] = 1.0, mean
    onto[:, 1, 1], onto[:, 1, 2] = 1.0, 1.0
    moved = onto @ known @ onto.transpose(0, 2, 1)
    moved[:, 0, 0] += block.gain * passed * (1 - mean**2)
    return growth, moved / growth[:, None, None]
