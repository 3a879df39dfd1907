"""What a trial costs: the unit of packing, of progress and of forecasts.

Seconds on one core of the machine that the numbers below were measured on (AMD EPYC, one thread, packs of 4
to 128 trials of width 16 to 256 and depth 2 to 64; `python -m tests.bench.costs` compares). On another
machine they are in proportion, about; `sweeps.planning.forecast` measures the factor.

A step through a layer is three products, passes over the signals, passes over the weights. What a pack's
trials share, Python between the operations, counts once for the pack.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradatlas.study.choices.activations import ACTIVATIONS
from gradatlas.study.choices.optimizers import OPTIMIZERS
from gradatlas.study.choices.tasks import task_named
from gradatlas.study.networks.recurrent_cells import CELLS
from gradatlas.study.training.machine_code import is_plain
from gradatlas.study.trial import RECURRENT, Trial

_NANO = 1e-9
# Of training, float32; per multiplication, per element of a signal, per weight.
_PRODUCT = 0.027
_SIGNAL, _CURVED, _NORM, _SKIP, _AUTOGRAD = 1.0, 2.5, 5.0, 1.0, 2.5
_WEIGHT, _SLOT, _SHAPED = 0.7, 1.5, 6.0
# Of training a plain stack, in machine code; of an example, and of a layer.
_PLAIN_PRODUCT, _PLAIN_WEIGHT, _PLAIN_SLOT, _PLAIN_SHAPED = 0.021, 0.35, 0.3, 1.7
_PLAIN_EXAMPLE, _PLAIN_LAYER = 84.0, 560.0
_END_STEPS = 2.5  # the end of training, the test split and how far weights moved, in steps
# Of a profile, float64; a row's own, and theory for each layer.
_PROFILE_PRODUCT, _PROFILE_SIGNAL, _PROFILE_NORM, _DRAWN_WEIGHT = 0.055, 16.0, 12.0, 18.0
_ROW, _ROW_LAYER = 100e3, 20e3
# Of a whole pack: a step, a step through a layer, a layer's profile.
_STEP, _STEP_LAYER, _STEP_NORM, _STEP_SLOT, _PROFILE_LAYER = 600e3, 85e3, 160e3, 45e3, 400e3
_PLAIN_STEP = 35e3


def cost(trial: Trial) -> float:
    """Seconds of a trial's training, profile and row, without what it shares with its pack."""
    signals, weights, drawn = _sizes(trial)
    steps = trial.steps + _END_STEPS if trial.steps else 0.0
    profile = (
        3 * _PROFILE_PRODUCT * trial.batch_size * weights
        + (_PROFILE_SIGNAL + _PROFILE_NORM * (trial.norm != "none")) * signals
        + _DRAWN_WEIGHT * drawn
    )
    row = _ROW + _ROW_LAYER * trial.depth
    return _NANO * (steps * _step(trial, signals, weights, drawn) + profile + row)


def pack_cost(trials: Sequence[Trial]) -> float:
    """Seconds of a pack: its trials' own, and what they share."""
    first, deepest = trials[0], max(trial.depth for trial in trials)
    slots = OPTIMIZERS[first.optimizer].slots
    layer = _STEP_LAYER + _STEP_NORM * (first.norm != "none") + _STEP_SLOT * slots
    step = _PLAIN_STEP if is_plain(first) else _STEP + layer * deepest
    shared = first.steps * step + _PROFILE_LAYER * deepest
    return sum(map(cost, trials)) + _NANO * shared


def _step(trial: Trial, signals: float, weights: float, kept: float) -> float:
    """Nanoseconds of a training step."""
    slots = OPTIMIZERS[trial.optimizer].slots
    is_shaped = trial.clip_value is not None or trial.clip_adaptive is not None
    if is_plain(trial):
        weight = _PLAIN_WEIGHT + _PLAIN_SLOT * slots + _PLAIN_SHAPED * is_shaped
        products = 3 * _PLAIN_PRODUCT * trial.batch_size * weights
        return products + weight * kept + _PLAIN_EXAMPLE * trial.batch_size + _PLAIN_LAYER * trial.depth
    gated = trial.family in ("lstm", "gru")
    is_straight = ACTIVATIONS[trial.activation].leak is not None
    element = (
        _SIGNAL
        + _CURVED * (gated or not is_straight)
        + _NORM * (trial.norm != "none")
        + _SKIP * (trial.skip != "none")
        + _AUTOGRAD * gated
    )
    weight = _WEIGHT + _SLOT * slots + _SHAPED * is_shaped
    return 3 * _PRODUCT * trial.batch_size * weights + element * signals + weight * kept


def _sizes(trial: Trial) -> tuple[float, float, float]:
    """Elements of all signals, weights that an input meets on its way, and weights that there are."""
    task, plane = task_named(trial.task), trial.batch_size * trial.width
    readout = trial.width * task.outputs
    if trial.family in RECURRENT:
        gates = CELLS[trial.family](ACTIVATIONS[trial.activation]).gates
        cell = gates * trial.width * (task.features + trial.width)
        return gates * plane * trial.depth, cell * trial.depth + readout, cell + readout
    weights = trial.width * (task.features + (trial.depth - 1) * trial.width) + readout
    return plane * trial.depth, weights, weights
