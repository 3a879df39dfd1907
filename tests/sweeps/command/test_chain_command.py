"""`gradatlas chain`: what it prints and what it refuses."""

from __future__ import annotations

import json
import math

import pytest


def _json(ended):
    assert ended.code == 0

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(ended.out, parse_constant=refuse)


def test_the_terminal_shows_factors_product_and_autograd(command):
    ended = command("chain", "--activation", "sigmoid", "--weights", "1.0,1.0", "--input", "0.5")
    assert ended.code == 0
    lines = ended.out.splitlines()
    names = [line.split()[0] for line in lines if line.startswith("∂")]
    assert names == ["∂J/∂ŷ", "∂ŷ/∂z₂", "∂z₂/∂a₁", "∂a₁/∂z₁", "∂z₁/∂w₁"]
    product, autograd = (
        next(line.split()[place] for line in lines if line.startswith(start))
        for start, place in (("product ", 1), ("autograd", 2))
    )
    first = 1 / (1 + math.exp(-0.5))
    second = 1 / (1 + math.exp(-first))
    expected = second * (1 - second) * first * (1 - first) * 0.5
    assert float(product) == pytest.approx(expected, rel=1e-9)  # ten digits are printed
    assert float(autograd) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("joined", [True, False])
def test_negative_numbers_are_numbers(command, joined):
    pairs = {"--weights": "-1,2", "--biases": "-0.5,.25", "--input": "-3", "--target": "-1e0"}
    given = [f"{k}={v}" for k, v in pairs.items()] if joined else [x for pair in pairs.items() for x in pair]
    found = _json(command("chain", "--activation", "linear", *given, "--json"))
    assert (found["weights"], found["biases"], found["input"]) == ([-1.0, 2.0], [-0.5, 0.25], -3.0)
    assert (found["z"], found["output"], found["target"]) == ([2.5, 5.25], 5.25, -1.0)
    assert found["product"] == found["autograd"] == 6.25 * 2 * -3
    assert [factor["value"] for factor in found["factors"]] == [6.25, 1.0, 2.0, 1.0, -3.0]


def test_numbers_that_json_cannot_hold_are_null(command):
    found = _json(
        command("chain", "--activation", "linear", "--weights", "1e200,1e200", "--input", "1", "--json")
    )
    assert found["output"] is None
    dead = _json(command("chain", "--activation", "relu", "--weights", "-1", "--input", "1", "--json"))
    assert (dead["product"], dead["product_decades"]) == (0.0, None)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"--weights": "1,x"}, "--weights: must be finite numbers separated by commas, but got 'x'"),
        ({"--weights": ""}, "--weights: must be finite numbers separated by commas, but got ''"),
        ({"--weights": "1,nan"}, "--weights: must be finite numbers, but got nan"),
        ({"--biases": "1"}, "--biases: there must be one for each of the 2 weights, but got 1"),
        ({"--input": "x"}, "--input: must be finite numbers, but got 'x'"),
        ({"--target": "inf"}, "--target: must be finite numbers, but got inf"),
        ({"--activation": "sigmod"}, "did you mean 'sigmoid'?"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(command, changed, message):
    given = {"--activation": "sigmoid", "--weights": "1,2", "--input": "1"} | changed
    ended = command("chain", *(x for pair in given.items() for x in pair))
    assert ended.code == 2
    assert ended.out == ""
    assert message in ended.err
    assert len(ended.err.strip().splitlines()) == 1
