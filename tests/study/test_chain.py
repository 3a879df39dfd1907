"""The chain of single units against closed forms and torch.nn."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gradatlas.study.chain import chain
from gradatlas.study.choices.activations import ACTIVATIONS
from tests.study.oracles import ACTIVATION_MODULES

_NUMBER = st.floats(-3.0, 3.0, allow_subnormal=False)


def test_the_factors_have_their_textbook_names():
    names = [factor.name for factor in chain("sigmoid", weights=[1.0, 1.0], input=0.5).factors]
    assert names == ["∂J/∂ŷ", "∂ŷ/∂z₂", "∂z₂/∂a₁", "∂a₁/∂z₁", "∂z₁/∂w₁"]
    long = [factor.name for factor in chain("tanh", weights=[1.0] * 12, input=0.5).factors]
    assert long[1:5] == ["∂ŷ/∂z₁₂", "∂z₁₂/∂a₁₁", "∂a₁₁/∂z₁₁", "∂z₁₁/∂a₁₀"]
    assert len(long) == 2 * 12 + 1


def test_a_sigmoid_chain_held_at_zero_loses_a_quarter_per_unit():
    # Biases that put every z at 0: a = 1/2 and φ′ = 1/4 everywhere.
    units, weight, x = 5, 3.0, 2.0
    found = chain(
        "sigmoid", weights=[weight] * units, biases=[-weight * x] + [-weight / 2] * (units - 1), input=x
    )
    assert found.z == (0.0,) * units
    assert found.a == (0.5,) * units
    assert found.product == pytest.approx(x * 0.25**units * weight ** (units - 1), rel=1e-14)
    assert [factor.value for factor in found.factors] == [1.0, *[0.25, weight] * (units - 1), 0.25, x]


def test_a_chain_too_long_for_float64_keeps_its_logarithm():
    units, weight = 1000, 0.5
    biases = [-weight] + [-weight / 2] * (units - 1)
    found = chain("sigmoid", weights=[weight] * units, biases=biases, input=1.0)
    assert found.product == found.autograd == 0.0
    expected = units * math.log10(0.25) + (units - 1) * math.log10(weight)
    assert found.product_decades == pytest.approx(expected, rel=1e-12)


def test_a_dead_unit_passes_nothing():
    found = chain("relu", weights=[1.0, -1.0, 1.0], input=2.0)
    assert found.product == found.autograd == 0.0
    assert found.product_decades == -math.inf


@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@given(
    units=st.lists(st.tuples(_NUMBER, _NUMBER), min_size=1, max_size=5),
    x=_NUMBER,
    target=st.none() | _NUMBER,
)
def test_product_and_autograd_are_those_of_torch_nn(activation, units, x, target):
    weights, biases = [weight for weight, _ in units], [bias for _, bias in units]
    found = chain(activation, weights=weights, biases=biases, input=x, target=target)
    layers = [nn.Linear(1, 1, dtype=torch.float64) for _ in units]
    for layer, weight, bias in zip(layers, weights, biases, strict=True):
        nn.init.constant_(layer.weight, weight)
        nn.init.constant_(layer.bias, bias)
    pairs = [nn.Sequential(layer, ACTIVATION_MODULES[activation]()) for layer in layers]
    output = nn.Sequential(*pairs)(torch.tensor([[x]], dtype=torch.float64)).squeeze()
    loss = output if target is None else 0.5 * (output - target) ** 2
    loss.backward()
    expected = layers[0].weight.grad.item()
    # About 20 roundings of 1e-16, in ŷ − target and 1 − y² against numbers up to 10 times as large.
    assert found.loss == pytest.approx(loss.item(), rel=1e-12, abs=1e-13)
    assert found.autograd == pytest.approx(expected, rel=1e-10, abs=1e-13)
    assert found.product == pytest.approx(expected, rel=1e-10, abs=1e-13)


def test_the_loss_is_the_output_or_half_the_squared_error():
    plain = chain("linear", weights=[2.0, 3.0], input=1.0)
    assert (plain.loss, plain.product, plain.factors[0].value) == (6.0, 3.0, 1.0)
    aimed = chain("linear", weights=[2.0, 3.0], input=1.0, target=4.0)
    assert (aimed.loss, aimed.product, aimed.factors[0].value) == (2.0, 6.0, 2.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"activation": "sigmod"}, "activation: must be one of .* did you mean 'sigmoid'"),
        ({"weights": []}, "weights: there must be at least one"),
        ({"biases": [0.0]}, "biases: there must be one for each of the 2 weights, but got 1"),
        ({"weights": [1.0, math.nan]}, "weights: must be finite numbers, but got nan"),
        ({"input": math.inf}, "input: must be finite numbers, but got inf"),
        ({"target": math.inf}, "target: must be finite numbers, but got inf"),
    ],
)
def test_a_wrong_call_is_refused(call, message):
    right = {"activation": "sigmoid", "weights": [1.0, 2.0], "biases": [0.0, 0.0], "input": 1.0}
    arguments = right | call
    with pytest.raises(ValueError, match=message):
        chain(arguments.pop("activation"), **arguments)
