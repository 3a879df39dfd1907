"""Whether a training loss swings, from the loss on one fixed batch after every step.

The loss of minibatches cannot tell: it turns at two of three steps for noise alone. On a fixed batch two
things can be seen. *Alternation*: of the loss's differences, how strongly each is undone by the next,
−Σ dₜ dₜ₊₁ / Σ dₜ². It is near −1 for a loss that falls smoothly, 0 for a random walk, 0.5 for noise around a
level and 1 for a loss that goes up and down with period two. *Peak*: the largest loss over the first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEAST_LOSSES = 10  # below which nothing is said of a trial
ALTERNATES = 2 / 3  # alternation from which on it is more than noise around a level, which has 0.5
PEAKS = 2.0  # times the first loss


def alternation(losses: Sequence[float | None], steps: Sequence[int]) -> float:
    """−Σ dₜ dₜ₊₁ / Σ dₜ² of the differences d of losses at consecutive steps, in −1 … 1.

    `steps`: after how many steps each loss was taken; across a gap there is no difference. nan where fewer
    than `LEAST_LOSSES` losses are finite or nothing changes. Losses from the first that is not finite on are
    left out.
    """
    values = _finite(losses)
    if len(values) < LEAST_LOSSES or not values.any():
        return np.nan
    changes = np.diff(values / np.abs(values).max())
    changes[np.diff(steps[: len(values)]) != 1] = np.nan
    largest = np.nanmax(np.abs(changes))
    if not largest > 0:
        return np.nan
    changes /= largest
    pairs = changes[1:] * changes[:-1]
    return float(np.clip(-np.nanmean(pairs) / np.nanmean(changes**2), -1.0, 1.0))


def peak(losses: Sequence[float | None]) -> float:
    """The largest loss over the first; inf where a loss is infinite or missing, nan for too few losses."""
    if len(losses) < 2 or losses[0] is None or not np.isfinite(losses[0]) or losses[0] <= 0:
        return np.nan
    values = np.array([np.inf if loss is None or np.isnan(loss) else loss for loss in losses], float)
    return float(values.max() / losses[0])


def _finite(losses: Sequence[float | None]) -> np.ndarray:
    """The losses up to the first that is not finite."""
    values = np.array([np.nan if loss is None else loss for loss in losses], float)
    bad = np.flatnonzero(~np.isfinite(values))
    return values[: bad[0]] if len(bad) else values


def swings(losses: Sequence[float | None], steps: Sequence[int]) -> bool | None:
    """Whether the loss alternates more than noise does, or passes twice its first value; None if unknown."""
    measured = alternation(losses, steps), peak(losses)
    if np.isnan(measured).all():
        return None
    return measured[0] >= ALTERNATES or measured[1] >= PEAKS
