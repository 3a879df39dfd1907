"""Init schemes against torch's distributions and their own σ."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gradatlas.study.choices.initializers import INITIALIZERS, sigma_b, sigma_w
from gradatlas.study.networks.perceptrons import build
from gradatlas.study.randomness import stream
from gradatlas.study.trial import Trial
from tests.study.oracles import INITS

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", INITS)
@pytest.mark.parametrize("shape", [(300, 200), (200, 300)])
def test_initialisers_draw_from_torchs_distributions(name, shape):
    ours = INITIALIZERS[name].draw(stream(1, name), *shape)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = INITS[name](torch.empty(shape[1], shape[0], dtype=torch.float64)).detach().T.numpy()
    assert ours.shape == shape
    # A sample's standard deviation from 60 000 draws is known to 0.3 %; a uniform's bound much better.
    assert ours.std() == pytest.approx(theirs.std(), rel=0.015)
    assert abs(ours.mean()) < 5 * ours.std() / math.sqrt(ours.size)
    for share in (0.01, 0.25, 0.9):
        spread = 5 * math.sqrt(share * (1 - share) / ours.size) * 2
        assert (ours <= np.quantile(theirs, share)).mean() == pytest.approx(share, abs=spread)


def test_orthogonal_matrices_are_orthogonal():
    for rows, columns in ((6, 6), (9, 4), (4, 9)):
        w = INITIALIZERS["orthogonal"].draw(stream(0, "q"), rows, columns)
        small = w.T @ w if rows >= columns else w @ w.T
        np.testing.assert_allclose(small, np.eye(min(rows, columns)), atol=1e-14)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_sigmas_are_those_of_the_drawn_hidden_layers(name):
    trials = [Trial(depth=3, width=200, init=name, weight_gain=1.7, bias_std=0.3, steps=0, seed=5)]
    layer = build(trials, dtype=torch.float64, device=CPU).layers[2]
    measured = float(layer.weight.std()) * math.sqrt(200)
    assert measured == pytest.approx(sigma_w(name, 200, 1.7), rel=0.02)
    biases = [
        build([Trial(depth=2, width=200, init=name, bias_std=0.3, seed=s)], dtype=torch.float64, device=CPU)
        for s in range(40)
    ]
    spread = float(torch.cat([network.layers[1].bias.flatten() for network in biases]).std())
    assert spread == pytest.approx(sigma_b(name, 200, 0.3), rel=5 / math.sqrt(2 * 8000))
