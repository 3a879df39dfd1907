"""The order 1/n of a plain network's gradient against the moments of Gaussian matrices."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gradatlas.study.theory.finite_width import batch_of_log_normals
from gradatlas.study.theory.meanfield import Structure
from gradatlas.study.theory.phase import PhasePoint, theory_row


def _second_moments(steps: int, width: int) -> tuple[float, float]:
    """(E|δ|⁴, E|δᵢ|²|δⱼ|²) of independent probes after so many Gaussian matrices of variance 1/n, from 1.

    For fixed a and b Isserlis' theorem gives E|Wᵀa|²|Wᵀb|² = |a|²|b|² + 2⟨a, b⟩²/n and
    E⟨Wᵀa, Wᵀb⟩² = ⟨a, b⟩² (1 + 1/n) + |a|²|b|²/n.
    """
    lengths, product = 1.0, 1 / width
    for _ in range(steps):
        lengths, product = (
            lengths + 2 * product / width,
            product * (1 + 1 / width) + lengths / width,
        )
    return (1 + 2 / width) ** steps, lengths


@pytest.mark.parametrize(("depth", "width"), [(20, 32), (60, 128), (3, 16)])
@pytest.mark.parametrize("batch_size", [1, 64])
def test_the_spread_of_a_linear_network_is_that_of_a_product_of_gaussian_matrices(depth, width, batch_size):
    own, pair = np.log(_second_moments(depth - 1, width))
    row = theory_row(PhasePoint(Structure("linear", batch_size=batch_size), 1.0, width=width), depth=depth)
    _, of_batch = batch_of_log_normals(np.array([own - pair]), batch_size)
    assert row["gradient_sd"] == pytest.approx(math.sqrt(pair + of_batch[0]) / 2 / math.log(10), rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 8])
def test_few_decades_of_a_batch_spread_by_their_number(batch_size):
    variance = np.array([0.0, 0.01, 0.04])
    mean, spread = batch_of_log_normals(variance, batch_size)
    # To first order in the variance; the table is sampled, and known to about 2 %.
    assert mean == pytest.approx(-variance / 2 / batch_size, rel=0.05, abs=1e-12)
    assert spread == pytest.approx(variance / batch_size, rel=0.05, abs=1e-12)
