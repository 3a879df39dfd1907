"""Labels of the initial gradient and of training. Arrays in, arrays out.

The labels are derived, never stored: change the limits and the map changes without running anything again.

`G` is the number of decades that the gradient gains from the last hidden layer to the first (negative: it
vanishes). Stable is |G| ≤ 1.3 = log10 e³: E|δ|² changes by e⁶ over six depth scales of the gradient,
ξ = 1/|ln χ|. On the vanishing side that is the depth up to which Schoenholz et al. (2017) found networks
trainable. On the exploding side their depth scale is another and longer one, that of the correlation of two
inputs (ξ_c = −1 / ln χ_c at c*, `study.theory.correlation`), so there the limit is a convention.

A label is only as good as the number below it: a cell (all rows of one setting) is *undetermined* where its
median lies within two standard errors of a limit. Beside the regime, which goes by G and so depends on depth,
stands the *phase*, which goes by the slope and does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

REGIMES = ("vanishing", "stable", "exploding")
UNDETERMINED = "undetermined"
PHASES = ("vanishing", "critical", "exploding")
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
    severe: np.ndarray = np.abs(np.asarray(gradient_decades, dtype=float)) > limits.severe_decades
    return severe


_ENOUGH = 5  # rows from which on a sample's deviation counts
_ERRORS = 2.0  # standard errors within which a label is not determined
QUANTILES = (0.1, 0.9)  # of G over the rows of a cell, shown beside its median


def standard_error(rows: np.ndarray, sample_sd: np.ndarray, predicted_sd: np.ndarray) -> np.ndarray:
    """Standard error of each cell's median G: s / √rows, or nan where s is not known.

    s is the larger of the predicted spread (`theory_sd`; nan: none) and, from 5 rows on, the sample's (not
    finite where a gradient is exactly zero: none).
    """
    rows, sample = np.asarray(rows, float), np.asarray(sample_sd, float)
    sample = np.where((rows >= _ENOUGH) & np.isfinite(sample), sample, np.nan)
    with np.errstate(divide="ignore"):
        error: np.ndarray = np.fmax(sample, np.asarray(predicted_sd, float)) / np.sqrt(rows)
    return error


def is_determined(median: np.ndarray, error: np.ndarray, limits: Limits = DEFAULT_LIMITS) -> np.ndarray:
    """Whether each median is over 2 standard errors from both limits; None where either is unknown."""
    median, error = np.asarray(median, float), np.asarray(error, float)
    is_far = np.abs(np.abs(median) - limits.stable_decades) > _ERRORS * error
    determined: np.ndarray = is_far.astype(object)
    determined[np.isnan(median) | np.isnan(error)] = None
    return determined


def cell_regime(median: np.ndarray, error: np.ndarray, limits: Limits = DEFAULT_LIMITS) -> np.ndarray:
    """The label of each cell: that of its median, or "undetermined" within 2 standard errors of a limit."""
    labels = regime(median, limits)
    labels[is_determined(median, error, limits) == False] = UNDETERMINED  # noqa: E712 — None is neither
    return labels


def phase(slope: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Vanishing, critical (within 2 standard errors of zero), exploding, by the slope; None where unknown."""
    slope, error = np.asarray(slope, float), np.asarray(error, float)
    labels = np.full(slope.shape, None, dtype=object)
    labels[np.abs(slope) <= _ERRORS * error] = "critical"
    labels[slope < -_ERRORS * error] = "vanishing"
    labels[slope > _ERRORS * error] = "exploding"
    return labels


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
