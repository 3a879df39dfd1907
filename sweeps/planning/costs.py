"""What a trial costs: the unit of packing, of progress and of forecasts.

Seconds on one core of the machine that the numbers were measured on (AMD EPYC, one thread, packs of 4 to 128
trials of width 16 to 256 and depth 2 to 64; `python -m tests.bench.costs` compares). On another machine they
are in proportion, about; `sweeps.planning.forecast` measures the factor.

What a step costs is said by the back end that does it (`study.training.back_ends`): products, passes over the
signals, passes over the weights. What a pack's trials share, Python between the operations, counts once.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradatlas.study.networks.memory import sizes
from gradatlas.study.training.back_ends import back_end_of
from gradatlas.study.training.probing import parts, probe_steps
from gradatlas.study.trial import Trial

START_SECONDS = 14.0  # of a run beside its packs, measured: Ray starts, workers import, Ray stops
_NANO = 1e-9
_END_STEPS = 2.5  # the end of training, the test split and how far weights moved, in steps
_PROBE_STEPS = 0.4  # a batch of the probe, in steps: measured, 0.3 to 0.46
# Of a profile, float64; a row's own, and theory for each layer.
_PROFILE_PRODUCT, _PROFILE_SIGNAL, _PROFILE_NORM, _DRAWN_WEIGHT = 0.055, 16.0, 12.0, 18.0
_ROW, _ROW_LAYER = 100e3, 20e3
_PROFILE_LAYER = 400e3  # of a whole pack


def cost(trial: Trial) -> float:
    """Seconds of a trial's training, profile and row, without what it shares with its pack."""
    size = sizes(trial)
    steps = _steps(trial) + _END_STEPS if trial.steps else 0.0
    profile = (
        3 * _PROFILE_PRODUCT * trial.batch_size * size.weights
        + (_PROFILE_SIGNAL + _PROFILE_NORM * (trial.norm != "none")) * size.signals
        + _DRAWN_WEIGHT * size.parameters
    )
    row = _ROW + _ROW_LAYER * trial.depth
    training = steps * back_end_of(trial).step_cost(trial, size) if steps else 0.0
    return _NANO * (training + profile + row)


def pack_cost(trials: Sequence[Trial]) -> float:
    """Seconds of a pack: its trials' own, and what they share."""
    first, deepest = trials[0], max(trial.depth for trial in trials)
    step = back_end_of(first).pack_step_cost(first, deepest)
    shared = _steps(first) * step + _PROFILE_LAYER * deepest
    return sum(map(cost, trials)) + _NANO * shared


def _steps(trial: Trial) -> float:
    """Training steps, and what the probe between them takes, in steps."""
    batches = len(parts(trial.probe_size, trial.batch_size))
    return trial.steps + _PROBE_STEPS * batches * len(probe_steps(trial.steps, trial.probe_size))


def duration(seconds: float) -> str:
    """For example "75 s", "12 min", "2.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
