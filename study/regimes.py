"""Labels of the initial gradient and of training. Arrays in, arrays out.

The labels are derived, never stored: change the limits and the map changes without running anything again.

`G` is the number of decades that the gradient gains from the last hidden layer to the first (negative: it
vanishes). Stable is |G| ≤ 1.3 = log10 e³: the depth up to which Schoenholz et al. (2017) found networks
trainable is six depth scales, over which E|δ|² changes by e⁶.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

REGIMES = ("vanishing", "stable", "exploding")
OUTCOMES = ("learned", "stalled", "diverged", "failed")


@dataclass(frozen=True)
class Limits:
    """The limits that the labels depend on."""

    stable_decades: float = 1.3  # |G| up to which a gradient counts as stable
    severe_decades: float = 3.0  # |G| beyond which it vanishes or explodes severely
    learned_share: float = 0.9  # of the constant predictor's loss, which a net that learned is below
    diverged_factor: float = 1e6  # times the first loss, above which training has diverged

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name}: must be a finite number > 0, but got {value!r}")
        if self.severe_decades < self.stable_decades:
            raise ValueError(
                "severe_decades: must be >= stable_decades, but "
                f"{self.severe_decades:g} < {self.stable_decades:g}"
            )


DEFAULT_LIMITS = Limits()


def regime(gradient_decades: np.ndarray, limits: Limits = DEFAULT_LIMITS) -> np.ndarray:
    """The label of each G (vanishing, stable, exploding); None where G is not a number."""
    g = np.asarray(gradient_decades, dtype=float)
    labels = np.full(g.shape, None, dtype=object)
    labels[np.abs(g) <= limits.stable_decades] = "stable"
    labels[g < -limits.stable_decades] = "vanishing"
    labels[g > limits.stable_decades] = "exploding"
    return labels


def is_severe(gradient_decades: np.ndarray, limits: Limits = DEFAULT_LIMITS) -> np.ndarray:
    """Whether each |G| is beyond the severe limit."""
    return np.abs(np.asarray(gradient_decades, dtype=float)) > limits.severe_decades


def outcome(
    *,
    first_loss: np.ndarray,
    final_loss: np.ndarray,
    constant_loss: float,
    diverged: np.ndarray,
    limits: Limits = DEFAULT_LIMITS,
) -> np.ndarray:
    """The label of each trial (learned, stalled, diverged).

    Learned: the final loss (mean of the last min(20, steps) training losses) is below the first loss *and*
    at most `learned_share` of the best constant predictor's: a net that learned only its output bias has
    not learned.
    """
    first_loss, final_loss = np.asarray(first_loss, float), np.asarray(final_loss, float)
    learned = (final_loss < first_loss) & (final_loss <= limits.learned_share * constant_loss)
    labels = np.where(learned, "learned", "stalled").astype(object)
    labels[np.asarray(diverged, bool)] = "diverged"
    return labels
