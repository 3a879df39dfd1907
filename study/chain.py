"""A chain of single units: the gradient of its first weight, factor by factor.

Unit l computes z_l = w_l a_{l−1} + b_l and a_l = φ(z_l), with a_0 the input and ŷ = a_L the output. Then

    ∂J/∂w₁ = ∂J/∂ŷ · ∂ŷ/∂z_L · ∂z_L/∂a_{L−1} · ∂a_{L−1}/∂z_{L−1} · … · ∂z₁/∂w₁,

where ∂a_l/∂z_l = φ′(z_l), ∂z_l/∂a_{l−1} = w_l and ∂z₁/∂w₁ is the input. The loss is J = ŷ, whose first
factor is 1, so that the product is the chain's own; with a target it is J = ½ (ŷ − target)².

The one idea: each factor comes from its formula, their product is set beside what autograd finds without
knowing any of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradatlas.study.choices.activations import ACTIVATIONS, Activation
from gradatlas.study.trial import reject_bad_value

_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@dataclass(frozen=True)
class Factor:
    """One factor of ∂J/∂w₁: its textbook name and its value."""

    name: str
    value: float


@dataclass(frozen=True)
class Chain:
    """Signals of the units 1 … L, the loss, the factors from the loss to w₁, and autograd's ∂J/∂w₁."""

    z: tuple[float, ...]
    a: tuple[float, ...]
    loss: float
    factors: tuple[Factor, ...]
    autograd: float

    @property
    def product(self) -> float:
        """The factors' product; 0 or infinite where float64 cannot hold it."""
        return math.prod(factor.value for factor in self.factors)

    @property
    def product_decades(self) -> float:
        """log10 |∂J/∂w₁|, the sum of the factors' logarithms: a number at any length of the chain."""
        values = [abs(factor.value) for factor in self.factors]
        return sum(math.log10(value) for value in values) if all(values) else -math.inf


def chain(
    activation: str,
    *,
    weights: Sequence[float],
    biases: Sequence[float] | None = None,
    input: float,
    target: float | None = None,
) -> Chain:
    """The chain with these weights and biases (default: zeros), in float64; raises ValueError."""
    biases = [0.0] * len(weights) if biases is None else biases
    _reject_bad_chain(activation, weights=weights, biases=biases, input=input, target=target)
    phi = ACTIVATIONS[activation]
    signal = torch.tensor(input, dtype=torch.float64)
    z, a = [], []
    for weight, bias in zip(weights, biases, strict=True):
        z.append(weight * signal + bias)
        signal = phi.value(z[-1], None)
        a.append(signal)
    output = signal.item()
    first = Factor("∂J/∂ŷ", 1.0 if target is None else output - target)
    derivatives = [phi.derivative(value).item() for value in z]
    return Chain(
        z=tuple(value.item() for value in z),
        a=tuple(value.item() for value in a),
        loss=output if target is None else 0.5 * (output - target) ** 2,
        factors=(first, *_unit_factors(derivatives, weights, input)),
        autograd=_by_autograd(phi, weights, biases, input, target),
    )


def _unit_factors(derivatives: Sequence[float], weights: Sequence[float], input: float) -> list[Factor]:
    """The factors of the units L … 1, each its derivative and then the way into it."""
    last = len(weights)
    factors = []
    for unit in range(last, 0, -1):
        here, before = (str(number).translate(_SUBSCRIPTS) for number in (unit, unit - 1))
        output = "ŷ" if unit == last else f"a{here}"
        factors.append(Factor(f"∂{output}/∂z{here}", derivatives[unit - 1]))
        into = Factor(f"∂z{here}/∂a{before}", float(weights[unit - 1]))
        factors.append(into if unit > 1 else Factor("∂z₁/∂w₁", float(input)))
    return factors


def _by_autograd(
    phi: Activation, weights: Sequence[float], biases: Sequence[float], input: float, target: float | None
) -> float:
    """∂J/∂w₁ from torch's own derivatives."""
    first = torch.tensor(weights[0], dtype=torch.float64, requires_grad=True)
    used: list[Tensor | float] = [first, *weights[1:]]
    signal = torch.tensor(input, dtype=torch.float64)
    for weight, bias in zip(used, biases, strict=True):
        signal = phi.value(weight * signal + bias, None)
    loss = signal if target is None else 0.5 * (signal - target) ** 2
    (gradient,) = torch.autograd.grad(loss, first)
    return gradient.item()


def _reject_bad_chain(
    activation: str,
    *,
    weights: Sequence[float],
    biases: Sequence[float],
    input: float,
    target: float | None,
) -> None:
    reject_bad_value("activation", activation)
    if not weights:
        raise ValueError("weights: there must be at least one, but got none")
    if len(biases) != len(weights):
        raise ValueError(
            f"biases: there must be one for each of the {len(weights)} weights, but got {len(biases)}"
        )
    single = {"input": input} | ({} if target is None else {"target": target})
    for name, values in {"weights": weights, "biases": biases, **{k: [v] for k, v in single.items()}}.items():
        for value in values:
            if not math.isfinite(value):
                raise ValueError(f"{name}: must be finite numbers, but got {value!r}")
