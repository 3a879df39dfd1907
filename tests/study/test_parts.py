"""Activations, initialisers, tasks, clipping, labels, parameters: each against its own outside truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from gradatlas.study.activations import ACTIVATIONS
from gradatlas.study.blocks import Layer
from gradatlas.study.clipping import clip_values, gradient_norms, norm_factors
from gradatlas.study.initializers import INITIALIZERS, sigma_b, sigma_w
from gradatlas.study.losses import CROSS_ENTROPY
from gradatlas.study.memory import pack_memory
from gradatlas.study.networks import build
from gradatlas.study.randomness import stream
from gradatlas.study.regimes import Limits, is_severe, outcome, regime
from gradatlas.study.tasks import TASKS, batch_indices
from gradatlas.study.trial import Trial
from tests.study.reference import ACTIVATION_MODULES

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_equal_torchs_with_and_without_a_place_to_write(name):
    h = torch.linspace(-30, 30, 1001, dtype=torch.float64).requires_grad_()
    expected = ACTIVATION_MODULES[name]()(h)
    g = torch.from_numpy(stream(0, "g").standard_normal(1001))
    (expected_gradient,) = torch.autograd.grad(expected, h, g)
    phi, x = ACTIVATIONS[name], h.detach()
    y = phi.value(x, None)
    torch.testing.assert_close(y, expected.detach(), rtol=1e-14, atol=0)
    torch.testing.assert_close(phi.backward(g, x, y, None), expected_gradient, rtol=1e-12, atol=1e-300)
    out = torch.empty_like(x)
    torch.testing.assert_close(phi.backward(g, x, y, out), expected_gradient, rtol=1e-12, atol=1e-300)
    target = x.clone() if phi.in_place else torch.empty_like(x)
    written = phi.value(target if phi.in_place else x, target)
    assert written.data_ptr() == target.data_ptr()
    torch.testing.assert_close(written, y, rtol=0, atol=0)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_what_is_declared_of_an_activation_holds(name):
    phi = ACTIVATIONS[name]
    grid = torch.linspace(-20, 20, 400_001, dtype=torch.float64)
    assert float(phi.derivative(grid).abs().max()) == pytest.approx(phi.largest_derivative, rel=1e-6)
    for lines, size in ((phi.near_zero, 1e-12), (phi.far_out, 1e12)):
        if lines is not None:
            ends = torch.tensor([-size, size], dtype=torch.float64)
            slopes = phi.value(ends, None) / ends
            torch.testing.assert_close(
                slopes, torch.tensor(lines, dtype=torch.float64), atol=1e-11, rtol=1e-11
            )
    if phi.near_zero is None:
        assert float(phi.value(torch.zeros(1), None)) != 0
    if phi.far_out is None:
        assert float(phi.value(torch.tensor([1e6]), None).abs()) <= 1


TORCH_INITS = {
    "xavier_normal": nn.init.xavier_normal_,
    "xavier_uniform": nn.init.xavier_uniform_,
    "he_normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
    "he_uniform": lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"),
    "lecun": lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear"),
    "torch_default": lambda w: nn.init.kaiming_uniform_(w, a=math.sqrt(5)),
    "small_normal": lambda w: nn.init.normal_(w, std=0.01),
    "orthogonal": nn.init.orthogonal_,
}


@pytest.mark.parametrize("name", TORCH_INITS)
@pytest.mark.parametrize("shape", [(300, 200), (200, 300)])
def test_initialisers_draw_from_torchs_distributions(name, shape):
    ours = INITIALIZERS[name].draw(stream(1, name), *shape)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = TORCH_INITS[name](torch.empty(shape[1], shape[0], dtype=torch.float64)).detach().T.numpy()
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


def test_digits_are_scikit_learns_split_once_and_scaled_by_one_mean_and_deviation():
    data, stored = TASKS["digits"].load(), load_digits()
    assert (len(data.inputs), len(data.test_inputs)) == (TASKS["digits"].training_examples, 360)
    pixels = torch.cat([data.inputs, data.test_inputs]).numpy()
    labels = torch.cat([data.targets, data.test_targets]).numpy()
    assert data.inputs.mean().abs() < 1e-12
    assert data.inputs.std(correction=0) == pytest.approx(1.0)
    low, high = pixels.min(), pixels.max()
    restored = np.rint((pixels - low) / (high - low) * 16)
    ours = sorted((label, *image) for label, image in zip(labels, restored, strict=True))
    theirs = sorted((label, *image) for label, image in zip(stored.target, stored.data, strict=True))
    np.testing.assert_array_equal(np.array(ours), np.array(theirs))
    counts = np.bincount(data.targets.numpy()) / len(data.targets)
    assert CROSS_ENTROPY.constant(data.targets) == pytest.approx(-(counts * np.log(counts)).sum())


def test_an_epoch_sees_every_example_once_in_its_own_order():
    steps = [batch_indices(10, 4, step) for step in range(5)]
    flat = np.concatenate(steps)
    assert sorted(flat[:10]) == list(range(10))
    assert sorted(flat[10:20]) == list(range(10))
    assert flat[:10].tolist() != flat[10:20].tolist()
    np.testing.assert_array_equal(batch_indices(10, 4, 3), steps[3])


def test_cross_entropy_equals_torchs():
    logits = torch.from_numpy(stream(0, "logits").standard_normal((3, 7, 5)) * 30).requires_grad_()
    labels = torch.tensor([0, 1, 2, 3, 4, 0, 1])
    expected = torch.stack([nn.functional.cross_entropy(x, labels) for x in logits])
    (gradient,) = torch.autograd.grad(expected.sum(), logits)
    losses, ours = CROSS_ENTROPY.value_and_gradient(logits.detach().clone(), labels)
    torch.testing.assert_close(losses, expected.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(ours, gradient, rtol=1e-10, atol=1e-15)


def _gradients(scales: list[float], dtype: torch.dtype) -> list[Layer]:
    """Two layers of as many trials as scales; the last trial has only the first layer."""
    draw = stream(3, "gradients")
    tensors = [torch.from_numpy(draw.standard_normal((len(scales), 5, 5))) for _ in range(4)]
    factor = torch.tensor(scales, dtype=torch.float64).view(-1, 1, 1)
    w1, b1, w2, b2 = ((t * factor).to(dtype) for t in tensors)
    return [Layer(w1, b1[:, :1]), Layer(w2[:-1], b2[:-1, :1])]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_norms_hold_where_float32_squares_do_not(dtype):
    gradients = _gradients([1.0, 1e-30, 1e25, 3e-42, 1.0], dtype)
    for place, norm in enumerate(gradient_norms(gradients).tolist()):
        parts = [t[place].double().flatten() for g in gradients for t in g.tensors() if place < len(t)]
        assert norm == pytest.approx(float(torch.cat(parts).norm()), rel=1e-6)
        assert norm > 0


def test_a_norm_of_zero_or_infinity_stays_what_it_is():
    gradients = _gradients([0.0, math.inf, 1.0], torch.float32)
    gradients[0].weight[1] = math.inf
    norms = gradient_norms(gradients)
    assert norms[0] == 0 or math.isnan(norms[0])
    assert not math.isfinite(norms[1])
    assert math.isfinite(norms[2])


def test_finite_gradients_of_1e25_are_clipped_and_not_zeroed():
    gradients = _gradients([1e25, 1.0], torch.float32)
    norms = gradient_norms(gradients)
    factors = norm_factors(norms, torch.full((2,), 0.5, dtype=torch.float64))
    assert (norms * factors).tolist() == pytest.approx([0.5, 0.5], rel=1e-5)
    parameter = nn.Parameter(torch.zeros(1))
    parameter.grad = torch.full((1,), 1e25)
    nn.utils.clip_grad_norm_([parameter], 0.5)
    assert parameter.grad.item() == pytest.approx(0.5)  # one element: torch's norm does not square it
    wide = nn.Parameter(torch.zeros(64))
    wide.grad = torch.full((64,), 1e25)
    nn.utils.clip_grad_norm_([wide], 0.5)
    assert wide.grad.abs().max().item() == 0  # the pitfall that this module avoids


def test_value_clipping_leaves_trials_without_a_limit_alone():
    gradients = _gradients([1.0, 1.0, 1.0], torch.float64)
    before = [layer.mapped(torch.clone) for layer in gradients]
    clip_values(gradients, torch.tensor([0.1, math.inf, 0.2], dtype=torch.float64))
    assert gradients[0].weight[0].abs().max() == 0.1
    assert gradients[0].bias[2].abs().max() <= 0.2
    torch.testing.assert_close(gradients[0].weight[1], before[0].weight[1], rtol=0, atol=0)


def test_labels_of_the_gradient():
    g = np.array([-np.inf, -3.1, -1.31, -1.3, 0.0, 1.3, 1.31, 3.1, np.inf, np.nan])
    assert regime(g).tolist() == [*["vanishing"] * 3, *["stable"] * 3, *["exploding"] * 3, None]
    assert is_severe(g).tolist() == [True, True, *[False] * 5, True, True, False]
    assert regime(g, Limits(stable_decades=0.5, severe_decades=1.0))[3] == "vanishing"


def test_labels_of_training():
    labels = outcome(
        first_loss=np.array([2.3, 2.3, 5.0, 2.3, 1.0]),
        final_loss=np.array([0.5, 2.2, 2.2, np.inf, 1.5]),
        constant_loss=2.3,
        diverged=np.array([False, False, False, True, False]),
    )
    # The third fell from 5.0 to the constant predictor's loss: it learned its output bias and no more.
    assert labels.tolist() == ["learned", "stalled", "stalled", "diverged", "stalled"]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"stable_decades": 0.0}, "stable_decades: must be a finite number > 0"),
        ({"stable_decades": 9.0}, "severe_decades: must be >= stable_decades, but 3 < 9"),
    ],
)
def test_limits_out_of_order_are_refused(limits, message):
    with pytest.raises(ValueError, match=message):
        Limits(**limits)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"depth": 0}, "depth: must be a whole number >= 1, but got 0"),
        ({"width": 0}, "width: must be a whole number >= 1"),
        ({"activation": "reul"}, "activation: must be one of .* did you mean 'relu'"),
        ({"weight_gain": math.nan}, "weight_gain: must be a finite number >= 0, but got nan"),
        ({"weight_gain": -1.0}, "weight_gain: must be a finite number >= 0, but got -1.0"),
        ({"learning_rate": 0.0}, "learning_rate: must be a finite number > 0"),
        ({"clip_norm": -1.0}, "clip_norm: must be a positive number or"),
        ({"batch_size": 1, "norm": "batch"}, "batch_size: must be >= 2 with norm 'batch'"),
        ({"batch_size": 1438}, "batch_size: must be <= 1437"),
        ({"seed": -1}, "seed: must be a whole number"),
    ],
)
def test_a_bad_parameter_is_told_with_rule_and_value(setting, message):
    with pytest.raises(ValueError, match=message):
        Trial(**setting)


def test_predicted_memory_grows_as_the_tensors_do():
    base = [Trial(depth=10, width=256, seed=s) for s in range(64)]
    assert pack_memory(base * 4) > 3.5 * pack_memory(base) - 3 * 48 * 2**20
    assert pack_memory([*base, Trial(depth=10, width=256, clip_value=1.0)]) >= pack_memory(base)
