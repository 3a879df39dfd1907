"""How large networks are, and how much memory a pack takes, before it is built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gradatlas.study.choices.activations import ACTIVATIONS
from gradatlas.study.choices.families import FAMILIES
from gradatlas.study.choices.optimizers import OPTIMIZERS
from gradatlas.study.choices.structures import block_kinds
from gradatlas.study.trial import Trial


class Sizes(NamedTuple):
    """How much a trial's step works on."""

    signals: float  # elements of all layers' outputs
    weights: float  # that an input meets on its way
    parameters: float  # that there are


def sizes(trial: Trial) -> Sizes:
    """The sizes of a trial's network on its task."""
    plane = trial.batch_size * trial.width
    features, readout = trial.features, trial.width * trial.outputs
    family = FAMILIES[trial.family]
    if family.is_recurrent:
        cell = family.gates * trial.width * (features + trial.width)
        return Sizes(family.gates * plane * trial.depth, cell * trial.depth + readout, cell + readout)
    weights = trial.width * (features + (trial.depth - 1) * trial.width) + readout
    return Sizes(plane * trial.depth, weights, weights)


_BESIDE = 48 * 2**20  # bytes of the BLAS' own buffers, measured; the same for packs of any size


def pack_memory(trials: Sequence[Trial]) -> int:
    """Peak bytes of a pack's tensors: of its float64 profile or its float32 training, whichever is more."""
    first = trials[0]
    if FAMILIES[first.family].is_recurrent:
        return _recurrent_memory(trials)
    plane = first.batch_size * first.width  # elements of one trial's signal at one layer
    # Layers 2 … L are alike: a sum over them would take as long as the depth is large.
    later = sum(trial.depth - 1 for trial in trials)
    parameters = first.width * (len(trials) * (first.features + 1) + later * (first.width + 1))
    parameters += len(trials) * first.outputs * (first.width + 1)
    signals = plane * (len(trials) * _tensors_kept(first, 1) + later * _tensors_kept(first, 2))
    rows = len(trials) * plane * (3 if first.skip == "none" else 4)  # the readout's and the backward pass's
    # The profile holds its parameters and what they were drawn as, or the signals and the probe.
    profile = 8 * (parameters + max(parameters, signals + rows + len(trials) * plane))
    turned = len(trials) * first.width**2  # one layer's weights, transposed for the gradient at its input
    return _BESIDE + max(profile, 4 * (_copies(trials) * parameters + signals + rows + turned))


def _copies(trials: Sequence[Trial]) -> int:
    """Tensors of a parameter's size: itself, its gradient, the sum of its updates, the optimizer's, a
    gradient's copy."""
    shaped = any(trial.clip_value is not None or trial.clip_adaptive is not None for trial in trials)
    return 3 + OPTIMIZERS[trials[0].optimizer].slots + shaped


def _recurrent_memory(trials: Sequence[Trial]) -> int:
    """The same of recurrent nets; each step keeps its states, gates and what they are made of."""
    first = trials[0]
    cell = FAMILIES[first.family]
    plane = first.batch_size * first.width
    hidden = first.width * (cell.gates * (first.features + first.width) + cell.biases)
    parameters = len(trials) * (hidden + first.outputs * (first.width + 1))
    signals = len(trials) * first.depth * plane * (cell.kept + cell.biases)
    profile = 8 * (2 * parameters + signals)
    training = 4 * (_copies(trials) * parameters + signals + len(trials) * first.depth * plane * cell.biases)
    return _BESIDE + max(profile, training)


def _tensors_kept(trial: Trial, layer: int) -> int:
    """Signals that one layer writes and keeps for the backward pass."""
    kinds = block_kinds(layer=layer, norm=trial.norm, norm_position=trial.norm_position, skip=trial.skip)
    overwritten = ACTIVATIONS[trial.activation].in_place and kinds[0] != "activation"
    kept = {"linear": 1, "norm": 2, "activation": 0 if overwritten else 1}
    return sum(kept[kind] for kind in kinds) + (trial.skip != "none" and layer > 1)
