"""What trains a pack, whichever back end does it: the state that steps change, and the seam to the back ends.

A window is a stretch of steps at whose end the host asks which trials diverged. An engine does the steps of a
window; what it did is read from what it wrote down and from the state. `study.training.back_ends` decides
which engine a pack gets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from gradatlas.study.networks.model import Model, ParameterGroup, Workspace
from gradatlas.study.training.back_ends import BACK_ENDS, back_ends
from gradatlas.study.trial import Trial

CLIPS = ("clip_adaptive", "clip_value", "clip_norm")
AT_STEPS = ("losses", "norms_before", "norms_after", "cosines")  # what is written down at every step


@dataclass
class TrainingState:
    """Everything that steps read and change, of the trials still in training.

    `updates` has a tensor for each hidden weight, of its shape: the sum of all updates so far, in float32 at
    least. A weight of size 1 cannot hold an update of 1e-9 in float32, its sum can. What the sum of a trial
    that diverged holds means nothing.

    `columns` has a number for each trial, by name, in float64: `CLIPS` (infinity: off), the optimizer's
    rates, `first_loss`, and `diverged_step` (int64, -1 while a trial is running).
    """

    trial: Trial  # any of them, for what they share
    network: Model
    slots: list[
        list[ParameterGroup]
    ]  # what the optimizer keeps: slots of groups, as the network's parameters
    updates: list[Tensor]
    columns: dict[str, Tensor]
    clips_in_use: frozenset[str]  # those of `CLIPS` that any of the trials has
    steps_done: int
    diverged_factor: float  # times the first loss, above which a trial has diverged
    workspace: Workspace

    def selected(self, rows: Tensor) -> TrainingState:
        """The state of some of the trials; `rows` holds their indices in rising order, at least one."""
        return replace(
            self,
            network=self.network.selected(rows),
            slots=[_selected(slot, rows) for slot in self.slots],
            updates=[total[kept] for total in self.updates if len(kept := rows[rows < len(total)])],
            columns={name: column[rows] for name, column in self.columns.items()},
        )


def _selected(groups: Sequence[ParameterGroup], rows: Tensor) -> list[ParameterGroup]:
    """The rows of some trials, of each group that one of them has."""
    kept = [group.mapped(lambda tensor: tensor[rows[rows < len(tensor)]]) for group in groups]
    return [group for group in kept if all(len(tensor) for tensor in group.named().values())]


class Batches(NamedTuple):
    """What each step of a window sees; the first axis counts steps."""

    inputs: Tensor  # (steps, batch, …)
    targets: Tensor  # (steps, batch) labels, or (steps, batch, outputs) values


class Probe(NamedTuple):
    """The examples whose loss is taken between steps, in batches of the training's size."""

    batches: Batches
    counted: Sequence[tuple[int, int]]  # the rows of each batch that count, first and behind the last


class Window(NamedTuple):
    """What steps wrote down, (steps, trials) for each name of `AT_STEPS`, and whether a trial diverged.

    Entries of steps that come after a trial's divergence mean nothing.
    """

    recorded: Mapping[str, Tensor]
    has_diverged: bool


@runtime_checkable
class Engine(Protocol):
    """Does the steps of packs whose trials share a pack key."""

    @property
    def longest_window(self) -> int:
        """Steps after which it is best asked which trials diverged."""

    def steps(self, state: TrainingState, batches: Batches) -> Window:
        """Trains through batches, from `state.steps_done` on; writes into the state's tensors.

        A trial that diverges keeps the parameters that it had at that step; `first_loss` and `diverged_step`
        are noted for each trial. The caller advances `steps_done` and drops trials.
        """

    def probe_losses(self, state: TrainingState, probe: Probe) -> Tensor:
        """The mean loss of each trial over the probe as the parameters are now, (trials,) in float64.

        Takes the arithmetic of a training step, and changes nothing.
        """


def load_back_ends() -> None:
    """Imports what packs on a CPU may be trained with: libraries that take seconds and memory."""
    for back_end in BACK_ENDS:
        with suppress(ImportError):
            import_module(back_end.module)


def engine_of(trial: Trial, *, dtype: torch.dtype, device: torch.device) -> Engine:
    """The engine of packs of such a trial; the same for all trials of a pack key."""
    name = str(dtype).removeprefix("torch.")
    for back_end in back_ends(trial, dtype=name, device=device.type):
        try:
            module: Any = import_module(back_end.module)
        except ImportError:  # what it needs is there and does not work
            continue
        engine: Engine = module.engine(trial, device)
        return engine
    raise ValueError(f"dtype: no engine trains in {name} on {device.type}")
