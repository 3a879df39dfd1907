"""What is measured of a stack, layer by layer, and what the measurement of every family shares.

The probe is a linear loss ℓ = Σ_i ⟨c_i, h^L_i⟩ over the inputs i, its c_i drawn independently for each input
and unit, so δ^L = c. All in float64. RMS is the root mean square per element, over inputs and units; a decade
is a factor of ten. Arrays have axes (trials, layers), first layer first, and hold nan beyond a trial's depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from gradatlas.study.choices.activations import Activation, lines
from gradatlas.study.randomness import stream
from gradatlas.study.shapes import Float
from gradatlas.study.trial import Trial

# Within these decades the product of a signal and a gradient can be squared: 1e280 is below float64's 1e308.
EXACT = 70.0


_SATURATED = 0.01  # |φ′| below this share of its maximum


# Decades of the smallest positive and the largest number of each format.
_FORMATS = {
    name: (np.log10(info.smallest_normal * info.eps), np.log10(info.max))
    for name, info in (
        ("float32", torch.finfo(torch.float32)),
        ("bfloat16", torch.finfo(torch.bfloat16)),
        ("float16", torch.finfo(torch.float16)),
    )
}


@dataclass(frozen=True)
class Profile:
    """Measurements by layer, axes (trials, layers); log10 of an RMS or of a ratio of two, or a share.

    The factors at layer l belong to the step from δ^{l+1} to δ^l: of the weights, of φ′ and of a norm. In a
    net without skip they add up to the step; with a skip they describe its branch.
    """

    depths: np.ndarray
    gradient: np.ndarray
    forward: np.ndarray
    weight_gradient: np.ndarray
    weight_factor: np.ndarray
    derivative_factor: np.ndarray
    norm_factor: np.ndarray
    saturated: np.ndarray
    dead: np.ndarray
    summed_weight_gradient: np.ndarray | None = None  # (trials,): of W_hh over all time steps; recurrent nets
    cell_gradient: np.ndarray | None = None  # of an LSTM's cell state

    def _decades(self, profile: np.ndarray, first: int = 0) -> np.ndarray:
        """First layer (that has a value) minus last layer of each trial."""
        last = profile[np.arange(len(profile)), self.depths - 1]
        with np.errstate(invalid="ignore"):  # -inf − -inf: both ends are zero
            decades: np.ndarray = profile[:, first] - last
        return decades

    @property
    def gradient_decades(self) -> np.ndarray:
        """G = log10(RMS δ^1 / RMS δ^L); negative where the gradient vanishes on its way to the input."""
        return self._decades(self.gradient)

    @property
    def forward_decades(self) -> np.ndarray:
        """F = log10(RMS h^L / RMS h^1); negative where the signal vanishes."""
        return -self._decades(self.forward)

    @property
    def weight_gradient_decades(self) -> np.ndarray:
        """G_w = log10(RMS ∂ℓ/∂W^1 / RMS ∂ℓ/∂W^L).

        No measure of vanishing: in a net of linear or ReLU units without biases it is the same for every
        weight scale, since ⟨W, ∂ℓ/∂W⟩ is the same in all layers. In a recurrent net from time step 2 on: the
        first step contributes nothing to ∂ℓ/∂W_hh.
        """
        recurrent = self.summed_weight_gradient is not None and self.weight_gradient.shape[1] > 1
        return self._decades(self.weight_gradient, int(recurrent))

    def slopes(self) -> tuple[np.ndarray, np.ndarray]:
        """(gradient_slope, its standard error): decades per layer towards the input; nan for L < 3.

        Mean of the increments log10 RMS δ^l − log10 RMS δ^{l+1}, without 2 at each end from L = 10 on. The
        log-profile is a random walk in depth, so the error is the increments' deviation / √count; the
        residuals of a line fit would come out nine times too small.
        """
        slope = np.full(len(self.depths), np.nan)
        error = slope.copy()
        for place, depth in enumerate(self.depths):
            if depth < 3:
                continue
            with np.errstate(invalid="ignore"):
                increments = -np.diff(self.gradient[place, :depth])
                increments = increments[2:-2] if depth >= 10 else increments
                slope[place] = increments.mean()
                error[place] = increments.std(ddof=1) / np.sqrt(len(increments))
        return slope, error

    def survival(self) -> dict[str, np.ndarray]:
        """For each number format: through how many layers a δ^L of RMS 1 stays representable."""
        relative = self.gradient - self.gradient[np.arange(len(self.depths)), self.depths - 1][:, None]
        layers = np.arange(self.gradient.shape[1])
        counts = {}
        for name, (smallest, largest) in _FORMATS.items():
            lost = ~((relative >= smallest) & (relative <= largest)) & (layers < self.depths[:, None])
            deepest_lost = np.where(lost, layers, -1).max(axis=1)
            counts[name] = self.depths - 1 - deepest_lost
        return counts


def probes(trials: Sequence[Trial], batch: int) -> Float[Tensor, "trials batch width"]:
    """The coefficients c of each trial's linear loss."""
    shape = (batch, trials[0].width)
    return torch.from_numpy(np.stack([stream(t.seed, "probe").standard_normal(shape) for t in trials]))


def root_mean_square(x: Tensor) -> Tensor:
    """Root mean square of each trial's elements."""
    norms = torch.linalg.vector_norm(x, dim=(1, 2))
    rms: Tensor = norms / (x.shape[1] * x.shape[2]) ** 0.5
    return rms


def unit_shares(activation: Activation, h: Tensor, y: Tensor) -> dict[str, Float[Tensor, " trials"]]:
    """Shares: `saturated` values, |φ′(h)| below 1 % of its maximum, and `dead` units, φ′ = 0 on all inputs.

    h is (trials, batch, units), y = φ(h).
    """
    derivative = activation.backward(torch.ones_like(y), h, y, None).abs_()
    dead = (derivative.amax(dim=1) == 0).double().mean(dim=1)
    saturated = derivative.lt_(_SATURATED * activation.largest_derivative)  # in place: ones and zeros
    return {"saturated": saturated.mean(dim=(1, 2)), "dead": dead}


def far_from_one(activation: Activation, scale: Tensor) -> Activation:
    """The activation as it acts on x · 10^scale in units of 10^scale: straight lines where scale ≠ 0."""
    near, far = activation.near_zero, activation.far_out

    def slopes(x: Tensor) -> Tensor:
        small = lines(x, near) if near is not None else torch.zeros_like(x)
        large = lines(x, far) if far is not None else torch.zeros_like(x)
        return torch.where(scale < 0, small, large)

    def value(x: Tensor, out: Tensor | None) -> Tensor:
        return torch.where(scale == 0, activation.value(x, None), slopes(x) * x)

    def backward(g: Tensor, x: Tensor, y: Tensor, out: Tensor | None) -> Tensor:
        exact = activation.backward(g, x, y, None)
        result = torch.where(scale == 0, exact, slopes(x) * g)
        return result if out is None else out.copy_(result)

    return replace(activation, value=value, backward=backward, in_place=False)
