"""Finite width: how far G of a plain network lies from mean field on average, and how it spreads over seeds.

A measured G is a logarithm of A = mean over the batch of |δ^1|² / |δ^L|², for one draw of the weights. At
width n the first order in 1/n of its mean and variance has four sources:

- every step multiplies |δ|² by a mean over n units, which scatters. For one input alone its relative variance
  is c/n, c = 3 Eφ′⁴/(Eφ′²)² − 1, and the logarithm of A spreads by √(cL/n) and drifts by −cL/2n. A batch
  averages over B probes, so their directions scatter less: the second moment over pairs of inputs,
  E|δᵢ|²|δⱼ|², is followed together with E⟨δᵢ, δⱼ⟩², which feeds it and begins at 1/n;
- the signal's length scatters too (Eφ⁴/(Eφ²)² − 1 a layer), and χ depends on it; both are means over the
  same units, so they are correlated;
- through the curvature of the maps a scatter shifts the mean;
- the way back uses the matrix of the way forward: along a^l, W^T δ is not random but ⟨W a, δ⟩.

Known for independent weights, no norm, no skip; elsewhere G is mean field's alone and its spread nan. Linear
orthogonal networks have no spread at all.

Sources: Hanin & Nica (2020) for products of random matrices with one probe; Roberts, Yaida & Hanin (2022)
for the order 1/n of the signal. The batch's pairs are worked out here and tested against simulation.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from gradatlas.study.randomness import stream
from gradatlas.study.shapes import Float
from gradatlas.study.theory.gaussian import Moments, PairMoments, moments, pair_moments
from gradatlas.study.theory.meanfield import LN10, Expected, Networks, Structure


def finite_width(
    structure: Structure, networks: Networks, profile: Expected, *, independent: bool
) -> tuple[Float[np.ndarray, " networks"], Float[np.ndarray, " networks"]]:
    """(What finite width adds to the mean of G, its standard deviation over seeds), decades.

    Where it is not derived the first is 0 and the second nan: for norms, skips, and weights that are not
    `independent` of each other (orthogonal matrices).
    """
    count = len(networks.depth)
    plain = structure.family == "mlp" and structure.norm == "none" and structure.skip == "none"
    if plain and not independent and structure.activation == "linear":
        return np.zeros(count), np.zeros(count)
    if not plain or not independent:
        return np.zeros(count), np.full(count, np.nan)
    order = np.argsort(-networks.depth, kind="stable")
    shift, variance = np.zeros(count), np.zeros(count)
    moment = _Accumulated(networks.chosen(order), structure.batch_size)
    for layer in range(int(networks.depth.max()) - 1):
        deeper = int((networks.depth > layer + 1).sum())
        moment.advance(structure.activation, profile.log_q[order[:deeper], layer], deeper)
    shift[order], variance[order] = moment.mean_and_variance()
    return shift / (2 * LN10), np.sqrt(np.maximum(variance, 0.0)) / (2 * LN10)


class _Accumulated:
    """Sums over the layers passed so far; index 0 is of one input with itself, 1 of a pair of inputs."""

    def __init__(self, networks: Networks, batch_size: int) -> None:
        self._networks, self._batch = networks, batch_size
        count = len(networks.depth)
        self._correlation = networks.first_correlation.copy()
        # The deviation of ln q from mean field: its mean, and (co)variances within and between inputs.
        self._length_mean = -networks.first_spread / 2
        self._length = np.stack((networks.first_spread, np.zeros(count)))
        self._mean = np.zeros(count)
        # Of Z = Σ ln χ's dependence on the length: variance, and covariance with the length.
        self._sum, self._with_length = np.zeros((2, count)), np.zeros((2, count))
        self._single = np.zeros(count)  # ln E|δᵢ|⁴
        self._pair, self._pair_scale = np.stack((np.ones(count), np.zeros(count))), np.zeros(count)
        self._directions: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._share = np.ones(count)  # of W a in the variance of h; the first layer's does not matter

    def advance(self, activation: str, log_q: np.ndarray, there: int) -> None:
        """Adds the step of one layer to the first `there` networks."""
        rows = slice(there)
        numbers = self._networks.chosen(rows)
        at = moments(activation, log_q)
        pair = pair_moments(activation, log_q, self._correlation[rows])
        self._add_lengths(at, rows)
        self._add_probes(at, pair, rows)
        self._keep_direction(at, rows)
        with np.errstate(divide="ignore"):
            signal = np.log(numbers.weight_variance) + at.log_value
            share = np.exp(signal - np.logaddexp(signal, np.log(numbers.bias_variance)))
        self._pass_lengths(at, pair, share, rows)
        self._correlation[rows] = 1 - share * (1 - pair.values)
        self._share[rows] = share

    def _add_lengths(self, at: Moments, rows: slice) -> None:
        slope, length = at.derivative_slope, self._length[:, rows]
        self._mean[rows] += slope * self._length_mean[rows] + at.derivative_curvature * length[0] / 2
        self._sum[:, rows] += slope**2 * length + 2 * slope * self._with_length[:, rows]
        self._with_length[:, rows] += slope * length

    def _pass_lengths(self, at: Moments, pair: PairMoments, share: np.ndarray, rows: slice) -> None:
        width = self._networks.width[rows]
        slope = share * at.value_slope
        curvature = share * at.value_curvature + share * (1 - share) * at.value_slope**2
        scatter = np.stack((at.fourth_value, pair.squared_values)) - 1
        joint = np.stack((at.joint, pair.joint)) - 1
        fresh = share**2 * scatter / width
        mean, length = self._length_mean[rows], self._length[:, rows]
        self._length_mean[rows] = slope * mean + curvature * length[0] / 2 - fresh[0] / 2
        self._length[:, rows] = slope**2 * length + fresh
        self._with_length[:, rows] = slope * self._with_length[:, rows] + share * joint / width

    def _add_probes(self, at: Moments, pair: PairMoments, rows: slice) -> None:
        """Multiplies the row (1, 0) of second moments by the step's matrix, from the input's side."""
        width, both = self._networks.width[rows], pair.squared_derivatives
        self._single[rows] += np.log1p((3 * at.fourth_derivative - 1) / width)
        first, second = self._pair[:, rows]
        overlap = pair.derivatives**2 * (1 - 1 / width) + 2 * both / width
        passed = np.stack(
            (
                first * (1 + (both - 1) / width) + second * both / width,
                first * 2 * both / width + second * overlap,
            )
        )
        total = passed.sum(axis=0)
        self._pair[:, rows] = passed / total
        self._pair_scale[rows] += np.log(total)

    def _keep_direction(self, at: Moments, rows: slice) -> None:
        """Keeps what `_direction` needs of this layer when all layers are passed."""
        # Of h = W a + b the part u = W a: E uφφ′ = ρ E hφφ′ and E u²φ′² = ρ² E h²φ′² + ρ(1 − ρ) q Eφ′².
        share = self._share[rows]
        carried = share * at.carried**2
        kappa = at.joint / self._networks.width[rows]
        self._directions.append((kappa, share * at.stretched + 1 - share - carried, carried))

    def _direction(self) -> np.ndarray:
        """Σ ln of what the part of δ along the signal adds to each step, from the last layer to the first.

        ŝ = ⟨W a, δ⟩² in units of its random size is 1 at the last layer; a step multiplies |δ|² by
        1 + κ (ŝ − 1)/n beside mean field's, and ŝ_l = (A_l + B_l ŝ_{l+1}) over that.
        """
        total, along = np.zeros_like(self._mean), np.ones_like(self._mean)
        for kappa, offset, carried in reversed(self._directions):
            rows = slice(len(kappa))
            growth = np.exp(-kappa) + kappa * along[rows]
            along[rows] = (offset + carried * along[rows]) / growth
            total[rows] += np.log(growth)
        return total

    def mean_and_variance(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of ln A, the mean without mean field's value."""
        own = self._single + self._sum[0]
        pair = self._pair_scale + np.log(self._pair[0] + self._pair[1] / self._networks.width) + self._sum[1]
        mean, variance = batch_of_log_normals(np.maximum(own - pair, 0.0), self._batch)
        return self._direction() + self._mean + self._sum[0] / 2 - pair / 2 + mean, pair + variance


_VARIANCES = np.concatenate(([0.0], np.geomspace(1e-4, 1e4, 97)))
_SAMPLES = 4096


def batch_of_log_normals(
    variance: Float[np.ndarray, " networks"], batch_size: int
) -> tuple[Float[np.ndarray, " networks"], Float[np.ndarray, " networks"]]:
    """(Mean, variance) of ln of the mean of `batch_size` independent log-normals of mean 1.

    As long as each varies little they are −v/2B and v/B. Beyond v ≈ ln B the largest of them rules, and the
    moments of the sum, which only unlikely giants make, say nothing about it.
    """
    means, variances = _log_normal_table(batch_size)
    return np.interp(variance, _VARIANCES, means), np.interp(variance, _VARIANCES, variances)


@cache
def _log_normal_table(batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """By sampling, the same numbers at every call and variance: the curves are smooth, to about 2 %."""
    drawn = stream(0, "log-normals").standard_normal((max(_SAMPLES // batch_size, 64), batch_size))
    drawn -= drawn.mean()
    drawn /= drawn.std()
    logs = [_log_mean(drawn * np.sqrt(v) - v / 2) for v in _VARIANCES]
    return np.array([x.mean() for x in logs]), np.array([x.var() for x in logs])


def _log_mean(logs: np.ndarray) -> np.ndarray:
    """ln of the mean of exp along the last axis."""
    largest = logs.max(axis=1, keepdims=True)
    means: np.ndarray = largest + np.log(np.exp(logs - largest).mean(axis=1, keepdims=True))
    return means[:, 0]
