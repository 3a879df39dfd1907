"""Mean-field theory of gradients at initialisation: what a wide network should do, layer by layer.

Notation: q^l is the variance of a unit of h^l (with a skip connection: of the stream after block l), σ_w² and
σ_b² the variances of weights (× fan-in) and biases, χ_l the growth of E|δ|² on the step from layer l + 1
down to layer l, so that G = ½ Σ log10 χ_l over the steps of a network. Arrays have an axis of networks that
share a `Structure`; everything else may differ between them. Variances are carried as logarithms.

The one idea: q^{l+1} and χ_l are functions of q^l alone, given by Gaussian expectations of φ, so a network is
iterated from its actual input variance, never from an assumed fixed point. Finite width is in
`study.theory.finite_width`, what happens at infinite depth in `study.theory.critical`.

Sources: Poole et al. (2016), Schoenholz et al. (2017) for plain networks; Yang & Schoenholz (2017) for
residual ones; De & Smith (2020) for scaled branches; Chen, Pennington & Schoenholz (2018) for recurrent
ones; Yang et al. (2019) for batch normalisation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from gradatlas.study.choices.families import FAMILIES
from gradatlas.study.shapes import Float
from gradatlas.study.theory.batch_norm_field import batch_norm_field
from gradatlas.study.theory.gaussian import moments, pair_moments
from gradatlas.study.trial import reject_bad_value

LN10 = np.log(10.0)


@dataclass(frozen=True)
class Structure:
    """What decides which formulas hold; raises ValueError for an unknown name."""

    activation: str
    family: str = "mlp"
    norm: str = "none"
    norm_position: str = "before"
    norm_eps: float = 1e-5
    skip: str = "none"
    batch_size: int = 64

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            reject_bad_value(name, value)

    def missing(self) -> str:
        """Why there is no prediction; empty where there is one."""
        for name, known in (
            ("family", _FAMILIES),
            ("norm", (*BRANCHES, "batch")),
            ("norm_position", _NORM_POSITIONS),
            ("skip", _STEPS),
        ):
            if getattr(self, name) not in known:
                return f"no theory of {name} {getattr(self, name)}"
        if self.norm != "batch":
            return ""
        if self.batch_size <= 3:
            return "batch norm: the expected growth is infinite for batches of 3 or fewer"
        if self.norm_position == "after":
            return "batch norm after the activation normalises what is not Gaussian: no closed form"
        return ""


@dataclass(frozen=True)
class Networks:
    """Numbers of each network, (networks,); raises ValueError for what no network can have.

    `first_variance` is that of h^1, biases included. `drive` is what a recurrent net's input adds to the
    variance in every later step. `first_spread` is the relative variance of |x|² over the inputs, and
    `first_correlation` the mean cosine of h^1 between two inputs.
    """

    depth: np.ndarray
    width: np.ndarray
    weight_variance: np.ndarray
    bias_variance: np.ndarray
    first_variance: np.ndarray
    drive: np.ndarray
    first_spread: np.ndarray
    first_correlation: np.ndarray

    def __post_init__(self) -> None:
        for name in ("depth", "width"):
            _reject(name, "a whole number >= 1", getattr(self, name), getattr(self, name) >= 1)
        weights = self.weight_variance
        _reject("weight_variance", "a finite variance > 0", weights, np.isfinite(weights) & (weights > 0))
        for entry in fields(self)[3:-1]:
            values = getattr(self, entry.name)
            _reject(entry.name, "a finite variance >= 0", values, np.isfinite(values) & (values >= 0))
        cosines = self.first_correlation
        _reject("first_correlation", "a number in -1 … 1", cosines, np.abs(cosines) <= 1)

    def chosen(self, places: np.ndarray | slice) -> Networks:
        """Some of the networks."""
        return Networks(**{name: values[places] for name, values in vars(self).items()})


def _reject(name: str, rule: str, values: np.ndarray, good: np.ndarray) -> None:
    if not np.all(good):
        raise ValueError(f"{name}: must be {rule}, but got {values[~good][0]!r}")


class Branch(NamedTuple):
    """What norm and activation do to a Gaussian of a given variance."""

    mean: np.ndarray  # of what comes out, in units of its root mean square
    log_second: np.ndarray  # ln of its mean square
    log_gain: np.ndarray  # ln of the factor of E|δ|² on the way back through both


def branch(structure: Structure, log_q: Float[np.ndarray, " networks"], *, normed: bool = True) -> Branch:
    """Norm and φ, where a norm is a function of the variance; `normed=False` leaves the norm out."""
    return BRANCHES[structure.norm if normed else "none"](structure, log_q)


def _plain_branch(structure: Structure, log_q: Float[np.ndarray, " networks"]) -> Branch:
    plain = moments(structure.activation, log_q)
    return Branch(plain.mean, plain.log_value, plain.log_derivative)


def _layer_norm_branch(structure: Structure, log_q: Float[np.ndarray, " networks"]) -> Branch:
    log_eps = np.log(structure.norm_eps) if structure.norm_eps else -np.inf
    if structure.norm_position == "before":
        denominator = np.logaddexp(log_q, log_eps)
        there = moments(structure.activation, log_q - denominator)
        return Branch(there.mean, there.log_value, there.log_derivative - denominator)
    there = moments(structure.activation, log_q)
    log_variance = there.log_value + np.log1p(-np.minimum(there.mean**2, 1 - 1e-15))
    denominator = np.logaddexp(log_variance, log_eps)
    return Branch(np.zeros_like(log_q), log_variance - denominator, there.log_derivative - denominator)


# By norm. What stands in none of these tables is not predicted, and `Structure.missing` says so.
BRANCHES: dict[str, Callable[[Structure, np.ndarray], Branch]] = {
    "none": _plain_branch,
    "layer": _layer_norm_branch,
}
_FAMILIES = ("mlp", "rnn")
_NORM_POSITIONS = ("before", "after")


@dataclass
class Stream:
    """The signal at one layer: ln q, mean in units of √q, cosine between two inputs."""

    log_q: np.ndarray
    mean: np.ndarray
    correlation: np.ndarray


class Step(NamedTuple):
    """ln of the growth of E|δ|² through one block, of its part across the batch and of its common part.

    They differ for batch norm alone, whose backward pass takes the common part out.
    """

    across: np.ndarray
    common: np.ndarray


@dataclass(frozen=True)
class Expected:
    """Profiles of each network, (networks, layers), nan beyond its depth: log10 of an RMS.

    `gradient` is that of δ^l relative to δ^L, `forward` that of h^l; `log_q` is ln q^l, `mean` the mean over
    units in units of √q^l.
    """

    depth: np.ndarray
    gradient: np.ndarray
    forward: np.ndarray
    log_q: np.ndarray
    mean: np.ndarray

    def gradient_decades(self) -> np.ndarray:
        """G at infinite width."""
        return self.gradient[:, 0]

    def slope(self) -> np.ndarray:
        """Mean increment, with the ends left out as in a measured profile; nan for L < 3."""
        first = np.where(self.depth >= 10, 2, 0)
        last = self.depth - 1 - first
        rows = np.arange(len(self.depth))
        there = np.clip(last, 0, None)
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = (self.gradient[rows, np.minimum(first, there)] - self.gradient[rows, there]) / (
                last - first
            )
        return np.where(self.depth >= 3, slope, np.nan)


def expected(structure: Structure, networks: Networks) -> Expected:
    """The profiles at infinite width; raises ValueError where there is no theory (`Structure.missing`)."""
    if reason := structure.missing():
        raise ValueError(reason)
    order = np.argsort(-networks.depth, kind="stable")
    those = networks.chosen(order)
    deepest = int(those.depth[0])
    log_q, mean = np.full((2, len(order), deepest), np.nan)
    steps = np.full((2, len(order), max(deepest - 1, 0)), np.nan)
    stream = _first(those)
    for layer in range(deepest):
        there = int((those.depth > layer).sum())
        stream = Stream(*(values[:there] for values in vars(stream).values()))
        log_q[:there, layer], mean[:there, layer] = stream.log_q, stream.mean
        deeper = int((those.depth > layer + 1).sum())
        if deeper:
            stream = Stream(*(values[:deeper] for values in vars(stream).values()))
            step, stream = _step(structure, those.chosen(slice(deeper)), stream, first=layer == 0)
            steps[:, :deeper, layer] = step
    gradient = _backward(structure, those.depth, steps)
    back = np.argsort(order)
    forward = log_q / (2 * LN10)
    return Expected(networks.depth, gradient[back], forward[back], log_q[back], mean[back])


def _first(networks: Networks) -> Stream:
    with np.errstate(divide="ignore"):
        log_q = np.log(networks.first_variance)
    return Stream(log_q, np.zeros_like(log_q), networks.first_correlation)


def _step(structure: Structure, networks: Networks, stream: Stream, *, first: bool) -> tuple[Step, Stream]:
    """The step between a layer and the next: (growth on the way back, the signal at the next layer)."""
    with np.errstate(divide="ignore"):
        log_weight = np.log(networks.weight_variance)
        added = networks.drive if FAMILIES[structure.family].is_recurrent else networks.bias_variance
        log_bias = np.log(added)
    take = _STEPS[structure.skip]
    return take(structure, stream, _BlockVariances(log_weight, log_bias, networks.depth, is_first=first))


class _BlockVariances(NamedTuple):
    """ln of the variances of a block's weights and of what is added to what they make, (networks,)."""

    log_weight: np.ndarray
    log_bias: np.ndarray
    depth: np.ndarray
    is_first: bool


class _Passed(NamedTuple):
    """A branch with what batch norm needs beside: cosine of what comes out, and the two ways back."""

    mean: np.ndarray
    log_second: np.ndarray
    cosine: np.ndarray
    back: Step


def _passed(structure: Structure, stream: Stream, *, normed: bool = True) -> _Passed:
    """Norm and φ on the signal; the cosine is followed where a batch norm asks for it."""
    if structure.norm != "batch":
        found = branch(structure, stream.log_q, normed=normed)
        back = Step(found.log_gain, found.log_gain)
        return _Passed(found.mean, found.log_second, stream.correlation, back)
    if not normed:
        plain = branch(structure, stream.log_q, normed=False)
        cosine = pair_moments(structure.activation, stream.log_q, stream.correlation).values
        return _Passed(plain.mean, plain.log_second, cosine, Step(plain.log_gain, plain.log_gain))
    log_across = stream.log_q + np.log1p(-np.minimum(stream.correlation, 1 - 1e-15))
    field = batch_norm_field(structure.activation, structure.batch_size, structure.norm_eps, log_across)
    return _Passed(field.mean, field.log_second, field.cosine, Step(field.across, field.common))


def _plain_step(structure: Structure, stream: Stream, block: _BlockVariances) -> tuple[Step, Stream]:
    """h' = W f(h) + b. Layer 1 has no norm."""
    log_weight, log_bias = block.log_weight, block.log_bias
    passed = _passed(structure, stream, normed=not block.is_first)
    log_signal = log_weight + passed.log_second
    log_q = np.logaddexp(log_signal, log_bias)
    share = np.exp(log_signal - log_q)
    correlation = 1 - share * (1 - passed.cosine)
    step = Step(log_weight + passed.back.across, log_weight + passed.back.common)
    return step, Stream(log_q, np.zeros_like(log_q), correlation)


def _scaled_step(structure: Structure, stream: Stream, block: _BlockVariances) -> tuple[Step, Stream]:
    """x' = x + (W f(x) + b) / √L."""
    scale = np.log(block.depth)
    scaled = block._replace(log_weight=block.log_weight - scale, log_bias=block.log_bias - scale)
    return _preactivation_step(structure, stream, scaled)


def _preactivation_step(structure: Structure, stream: Stream, block: _BlockVariances) -> tuple[Step, Stream]:
    """x' = x + W f(x) + b: variances add, since W is new in every block."""
    log_weight, log_bias = block.log_weight, block.log_bias
    passed = _passed(structure, stream)
    log_signal = log_weight + passed.log_second
    log_q = np.logaddexp(stream.log_q, np.logaddexp(log_signal, log_bias))
    apart = np.exp(stream.log_q - log_q) * (1 - stream.correlation)
    apart += np.exp(log_signal - log_q) * (1 - passed.cosine)
    return _beside(structure, passed, log_weight), Stream(log_q, stream.mean, 1 - apart)


def _residual_step(structure: Structure, stream: Stream, block: _BlockVariances) -> tuple[Step, Stream]:
    """x' = x + f(W x + b). What comes out may have a mean, the same in every unit, that adds up."""
    log_weight, log_bias = block.log_weight, block.log_bias
    log_signal = log_weight + stream.log_q
    log_inner = np.logaddexp(log_signal, log_bias)
    inner = 1 - np.exp(log_signal - log_inner) * (1 - stream.correlation)
    passed = _passed(structure, Stream(log_inner, np.zeros_like(inner), inner))
    ratio = np.exp((passed.log_second - stream.log_q) / 2)  # RMS of the branch to that of the stream
    growth = 1 + 2 * stream.mean * passed.mean * ratio + ratio**2
    mean = (stream.mean + passed.mean * ratio) / np.sqrt(growth)
    apart = ((1 - stream.correlation) + ratio**2 * (1 - passed.cosine)) / growth
    return _beside(structure, passed, log_weight), Stream(stream.log_q + np.log(growth), mean, 1 - apart)


_STEPS: dict[str, Callable[[Structure, Stream, _BlockVariances], tuple[Step, Stream]]] = {
    "none": _plain_step,
    "residual": _residual_step,
    "preactivation": _preactivation_step,
    "scaled": _scaled_step,
}


def _beside(structure: Structure, passed: _Passed, log_weight: np.ndarray) -> Step:
    """The growth of a gradient that goes both past a branch and through it."""
    across = np.logaddexp(0.0, log_weight + passed.back.across)
    if structure.norm == "batch":
        return Step(across, log_weight + passed.back.common)
    return Step(across, across)


def _backward(structure: Structure, depth: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """log10 RMS δ^l from the growth of each step, δ^L being independent over batch and units."""
    across, common = steps
    gradient = np.full((len(depth), across.shape[1] + 1), np.nan)
    gradient[np.arange(len(depth)), depth - 1] = 0.0
    if structure.norm != "batch":
        total = np.nancumsum(across[:, ::-1], axis=1)[:, ::-1]
        gradient[:, :-1] = np.where(np.isnan(across), gradient[:, :-1], total / (2 * LN10))
        return gradient
    share, has_skip = 1.0 / structure.batch_size, structure.skip != "none"
    log_across, log_common = np.zeros(len(depth)), np.zeros(len(depth))
    for layer in reversed(range(across.shape[1])):
        there = depth > layer + 1
        entering = log_common[there] + common[there, layer]
        log_across[there] += across[there, layer]
        if layer or has_skip:
            log_across[there] = np.logaddexp(log_across[there], entering)
            log_common[there] = log_common[there] if has_skip else -np.inf
        else:  # layer 1 of a plain network has no norm
            log_common[there] = entering
        mixed = np.logaddexp(log_across[there] + np.log1p(-share), log_common[there] + np.log(share))
        gradient[there, layer] = mixed / (2 * LN10)
    return gradient
