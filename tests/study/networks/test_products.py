"""Stacked matrix products, by both libraries whatever the processor."""

import numpy as np
import pytest
import torch

from gradatlas.study.networks import products
from gradatlas.study.networks.products import affine, multiply, multiply_transposed

SHAPES = [
    (1, 1, 1, 1),
    (1, 5, 7, 1),
    (3, 1, 4, 2),
    (9, 32, 17, 33),
    (2, 33, 128, 5),
    (2, 40, 129, 4),
    (5, 32, 64, 120),
]


@pytest.fixture(params=[False, True], ids=["torch", "numpy"])
def library(request, monkeypatch):
    monkeypatch.setattr(products, "NUMPY_IS_FASTER", request.param)


def drawn(*shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_products_are_those_of_a_loop_in_float64(library, shape, dtype):
    trials, batch, inner, columns = shape
    x, weight = drawn(trials, batch, inner, dtype=dtype), drawn(trials, inner, columns, dtype=dtype)
    bias, g = drawn(trials, 1, columns, dtype=dtype), drawn(trials, batch, columns, dtype=dtype)
    found = (
        affine(x, weight, bias, g.new_full(g.shape, torch.nan)),
        multiply(x.transpose(1, 2), g, weight.new_full(weight.shape, torch.nan)),
        multiply_transposed(g, weight, x.new_full(x.shape, torch.nan)),
    )
    x64, w64, b64, g64 = (tensor.double().numpy() for tensor in (x, weight, bias, g))
    expected = (
        [x64[i] @ w64[i] + b64[i] for i in range(trials)],
        [x64[i].T @ g64[i] for i in range(trials)],
        [g64[i] @ w64[i].T for i in range(trials)],
    )
    rounding = {torch.float64: 1e-13, torch.float32: 1e-5, torch.bfloat16: 2e-2}[dtype]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.double().numpy(), np.stack(other), rtol=rounding, atol=20 * rounding)


@pytest.mark.parametrize("shape", [*SHAPES[2:], (5, 32, 64, 48)])
def test_a_product_has_the_same_bits_alone_and_in_a_stack(library, shape):
    trials, batch, inner, columns = shape
    if not products.NUMPY_IS_FASTER and columns % 16:
        pytest.skip("MKL's kernels round their tails differently")
    x, weight = drawn(trials, batch, inner).float(), drawn(trials, inner, columns).float()
    bias, g = drawn(trials, 1, columns).float(), drawn(trials, batch, columns).float()

    def all_three(rows):
        return (
            affine(x[rows], weight[rows], bias[rows], torch.empty_like(g[rows])),
            multiply(x[rows].transpose(1, 2), g[rows], torch.empty_like(weight[rows])),
            multiply_transposed(g[rows], weight[rows], torch.empty_like(x[rows])),
        )

    stacked = all_three(slice(None))
    for trial in range(trials):
        for whole, alone in zip(stacked, all_three(slice(trial, trial + 1)), strict=True):
            assert torch.equal(whole[trial], alone[0])


def test_one_input_seen_by_all_trials_is_not_copied_for_them(library):
    x, weight = drawn(4, 3), drawn(5, 3, 2)
    found = affine(x.expand(5, 4, 3), weight, weight.new_zeros(5, 1, 2), weight.new_empty(5, 4, 2))
    np.testing.assert_allclose(found.numpy(), x.numpy() @ weight.numpy(), rtol=1e-13)


def test_overflow_is_infinite_without_a_warning(library):
    huge = torch.full((2, 40, 3), 1e30)
    assert multiply(huge, huge.transpose(1, 2), torch.empty(2, 40, 40)).isinf().all()
    assert multiply_transposed(huge, torch.full((2, 4, 3), 1e30), torch.empty(2, 40, 4)).isinf().all()


def test_a_lone_column_has_the_bits_that_it_has_in_a_stack(library):
    x, weight, bias = drawn(4, 64, 64).float(), drawn(4, 64, 1).float(), drawn(4, 1, 1).float()
    stacked = affine(x, weight, bias, torch.empty(4, 64, 1))
    for trial in range(4):
        rows = slice(trial, trial + 1)
        alone = affine(x[rows], weight[rows], bias[rows], torch.empty(1, 64, 1))
        assert torch.equal(alone[0], stacked[trial])
