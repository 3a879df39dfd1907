"""The outside truth of every entry that a parameter chooses from, by parameter and name.

Each is torch's own, scikit-learn's, or a formula as its paper writes it. The reference networks are built
from these tables, so an entry without one fails there; `tests/test_completeness.py` asks for one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn

ACTIVATION_MODULES: dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
}
INITS: dict[str, Callable[[Tensor], Tensor]] = {
    "xavier": nn.init.xavier_normal_,
    "xavier_normal": nn.init.xavier_normal_,
    "xavier_uniform": nn.init.xavier_uniform_,
    "he": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
    "he_normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
    "he_uniform": lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"),
    "lecun": lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear"),
    "torch_default": lambda w: nn.init.kaiming_uniform_(w, a=math.sqrt(5)),
    "small_normal": lambda w: nn.init.normal_(w, std=0.01),
    "orthogonal": nn.init.orthogonal_,
}
NORM_MODULES: dict[str, Callable[[int, float], nn.Module]] = {
    "none": lambda width, eps: nn.Identity(),
    "batch": lambda width, eps: nn.BatchNorm1d(width, eps=eps, track_running_stats=False),
    "layer": lambda width, eps: nn.LayerNorm(width, eps=eps),
}
Map = Callable[[Tensor], Tensor]
# φ and norm in their order.
NONLINEAR: dict[str, Callable[[Map, Map], Map]] = {
    "before": lambda phi, norm: lambda x: phi(norm(x)),
    "after": lambda phi, norm: lambda x: norm(phi(x)),
}
# A block of a network of a depth, from its linear map and what follows or precedes that. Without a skip a
# network is a plain stack of both.
BLOCKS: dict[str, Callable[[Map, Map, int], Map] | None] = {
    "none": None,
    "residual": lambda linear, nonlinear, depth: lambda x: x + nonlinear(linear(x)),
    "preactivation": lambda linear, nonlinear, depth: lambda x: x + linear(nonlinear(x)),
    "scaled": lambda linear, nonlinear, depth: lambda x: x + linear(nonlinear(x)) / depth**0.5,
}
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda trial, parameters: torch.optim.SGD(parameters, lr=trial.learning_rate),
    "momentum": lambda trial, parameters: torch.optim.SGD(
        parameters, lr=trial.learning_rate, momentum=trial.momentum
    ),
    "adam": lambda trial, parameters: torch.optim.Adam(
        parameters, lr=trial.learning_rate, betas=(trial.adam_beta1, trial.adam_beta2), eps=trial.adam_eps
    ),
}
FAMILY_MODULES: dict[str, type[nn.Module]] = {
    "mlp": nn.Sequential,
    "rnn": nn.RNN,
    "lstm": nn.LSTM,
    "gru": nn.GRU,
}


def _marked_sum(x: Tensor) -> Tensor:
    """The sum of the numbers that a sequence marks."""
    return (x[..., 0] * x[..., 1]).sum(dim=-1, keepdim=True)


def _first_symbol(x: Tensor) -> Tensor:
    return x[:, 0].argmax(dim=-1)


TASKS: dict[str, Callable[..., Any]] = {
    "digits": load_digits,
    "digit_rows": load_digits,
    "teacher": LinearRegression,  # which must fail on it
    "spirals": KNeighborsClassifier,  # which must not
    "adding": _marked_sum,
    "copy": _first_symbol,
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

ORACLES: dict[str, Mapping[str, Any]] = {
    "family": FAMILY_MODULES,
    "activation": ACTIVATION_MODULES,
    "init": INITS,
    "norm": NORM_MODULES,
    "norm_position": NONLINEAR,
    "skip": BLOCKS,
    "optimizer": OPTIMIZERS,
    "task": TASKS,
    "dtype": DTYPES,
}
