"""The back ends that train packs: which trials each takes, and what its steps cost. The first fit is taken.

Which one it is depends on the trial, the number format and the device, never on the pack. A new back end is
one entry of `BACK_ENDS` and a module with `engine(trial, device)`, which is imported when it is needed: this
module is read where nothing is trained.

Costs are nanoseconds on one core of the machine that they were measured on (AMD EPYC, one thread, packs of 4
to 128 trials of width 16 to 256 and depth 2 to 64; `python -m tests.bench.costs` compares).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

from gradatlas.study.choices.activations import ACTIVATIONS
from gradatlas.study.choices.families import FAMILIES
from gradatlas.study.choices.losses import CROSS_ENTROPY, SQUARED_ERROR
from gradatlas.study.choices.optimizers import OPTIMIZERS
from gradatlas.study.choices.tasks import task_named
from gradatlas.study.networks.memory import Sizes
from gradatlas.study.trial import Trial

# Of stacked operations; per multiplication, per element of a signal, per weight.
_PRODUCT = 0.027
_SIGNAL, _CURVED, _NORM, _SKIP, _AUTOGRAD = 1.0, 2.5, 5.0, 1.0, 2.5
_WEIGHT, _SLOT, _SHAPED = 0.7, 1.5, 6.0
_STEP, _STEP_LAYER, _STEP_NORM, _STEP_SLOT = 600e3, 85e3, 160e3, 45e3  # of a pack: a step, and of a layer
# Of machine code; of an example, and of a layer; a step of a pack.
_PLAIN_PRODUCT, _PLAIN_WEIGHT, _PLAIN_SLOT, _PLAIN_SHAPED = 0.021, 0.35, 0.3, 1.7
_PLAIN_EXAMPLE, _PLAIN_LAYER, _PLAIN_STEP = 84.0, 560.0, 35e3


@dataclass(frozen=True)
class BackEnd:
    """One way to train packs.

    `takes(trial, dtype, device_type)` says whether it can; `step_cost(trial, sizes)` are nanoseconds of one
    trial's step, `pack_step_cost(trial, depth)` what a step of a pack costs beside, whose deepest trial has
    this depth.
    """

    name: str
    module: str
    needs: tuple[str, ...]  # modules that may be missing
    takes: Callable[[Trial, str, str], bool]
    step_cost: Callable[[Trial, Sizes], float]
    pack_step_cost: Callable[[Trial, int], float]


def back_ends(trial: Trial, *, dtype: str | None = None, device: str = "cpu") -> Iterator[BackEnd]:
    """Those that can train such a trial here, best first; in its own dtype unless another is given."""
    form = trial.dtype if dtype is None else dtype
    for back_end in BACK_ENDS:
        if back_end.takes(trial, form, device) and all(map(_is_installed, back_end.needs)):
            yield back_end


def back_end_of(trial: Trial) -> BackEnd:
    """The one that trains such a trial on a CPU, in its own dtype."""
    return next(back_ends(trial))


@cache
def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:
        return False


def _is_plain(trial: Trial, dtype: str, device: str) -> bool:
    """Whether a trial is a plain stack: a perceptron of straight lines without norms and skips."""
    return (
        device == "cpu"
        and dtype in ("float32", "float64")
        and trial.family == "mlp"
        and trial.norm == trial.skip == "none"
        and ACTIVATIONS[trial.activation].leak is not None
        and task_named(trial.task).loss in (CROSS_ENTROPY, SQUARED_ERROR)
        and trial.optimizer in ("sgd", "momentum", "adam")
    )


def _shapes_gradients(trial: Trial) -> bool:
    return trial.clip_value is not None or trial.clip_adaptive is not None


def _plain_step_cost(trial: Trial, sizes: Sizes) -> float:
    slots, shaped = OPTIMIZERS[trial.optimizer].slots, _shapes_gradients(trial)
    weight = _PLAIN_WEIGHT + _PLAIN_SLOT * slots + _PLAIN_SHAPED * shaped
    products = 3 * _PLAIN_PRODUCT * trial.batch_size * sizes.weights
    signals = _PLAIN_EXAMPLE * trial.batch_size + _PLAIN_LAYER * trial.depth
    return products + weight * sizes.parameters + signals


def _stacked_step_cost(trial: Trial, sizes: Sizes) -> float:
    gated = FAMILIES[trial.family].gates > 1
    is_straight = ACTIVATIONS[trial.activation].leak is not None
    element = (
        _SIGNAL
        + _CURVED * (gated or not is_straight)
        + _NORM * (trial.norm != "none")
        + _SKIP * (trial.skip != "none")
        + _AUTOGRAD * gated
    )
    slots, shaped = OPTIMIZERS[trial.optimizer].slots, _shapes_gradients(trial)
    weight = _WEIGHT + _SLOT * slots + _SHAPED * shaped
    products = 3 * _PRODUCT * trial.batch_size * sizes.weights
    return products + element * sizes.signals + weight * sizes.parameters


def _stacked_pack_step_cost(trial: Trial, depth: int) -> float:
    slots = OPTIMIZERS[trial.optimizer].slots
    return _STEP + depth * (_STEP_LAYER + _STEP_NORM * (trial.norm != "none") + _STEP_SLOT * slots)


BACK_ENDS = (
    BackEnd(
        "machine code",
        module="gradatlas.study.training.machine_code",
        needs=("numba", "scipy", "threadpoolctl"),
        takes=_is_plain,
        step_cost=_plain_step_cost,
        pack_step_cost=lambda trial, depth: _PLAIN_STEP,
    ),
    BackEnd(
        "stacked operations",
        module="gradatlas.study.training.stacked",
        needs=(),
        takes=lambda trial, dtype, device: True,
        step_cost=_stacked_step_cost,
        pack_step_cost=_stacked_pack_step_cost,
    ),
)
