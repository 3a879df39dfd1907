"""Plans: every trial of a sweep with its identity, cut into packs of about equal cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from study.activations import ACTIVATIONS
from study.cells import CELLS
from study.randomness import trial_seeds
from study.tasks import task_named
from study.trial import PARAMETERS, RECURRENT, Trial, trial_of
from sweeps.errors import UserError
from sweeps.search import SAMPLERS, distributions
from sweeps.spec import Part, Schedule, Sweep

# With 32 packs per worker the last ones to finish leave a worker idle for at most about 3 % of the run.
_PACKS_PER_WORKER = 32
# Below 16 trials the Python around the stacked operations shows; beyond 256 nothing is gained on a CPU.
_SMALLEST, _LARGEST = 16, 256


@dataclass(frozen=True)
class Planned:
    """A trial with its identity in the run."""

    number: int
    part: str
    point: int
    draw: int
    repetition: int
    trial: Trial

    def row(self, pack: str) -> dict[str, Any]:
        """The identity and parameter columns of the results."""
        identity = {
            "trial": self.number,
            "part": self.part,
            "point": self.point,
            "draw": self.draw,
            "repetition": self.repetition,
            "seed": self.trial.seed,
            "pack": pack,
        }
        return identity | {name: getattr(self.trial, name) for name in PARAMETERS}


def trial_of_row(row: dict[str, Any]) -> Trial:
    """The trial that a row of a plan describes."""
    return Trial(**{entry.name: row[entry.name] for entry in fields(Trial)})


def planned_trials(sweep: Sweep) -> list[Planned]:
    """Every trial of the sweep, numbered 0 … N − 1; a function of the sweep alone."""
    seeds = trial_seeds(sweep.search.seed, np.arange(sweep.trials))
    planned: list[Planned] = []
    first_point = 0
    for part in sweep.parts:
        planned.extend(_part_trials(sweep, part, first_point, len(planned), seeds))
        first_point += part.points
    return planned


def _part_trials(
    sweep: Sweep, part: Part, first_point: int, first: int, seeds: np.ndarray
) -> Iterable[Planned]:
    draws = sweep.search.nuisance_draws
    sampler = SAMPLERS[sweep.search.sampler](
        distributions(part.space), seed=sweep.search.seed, nuisance=part.nuisance, draws=draws, name=part.name
    )
    for index, proposal in enumerate(sampler.proposals(0, part.points * draws)):
        point, draw = divmod(index, draws)
        for repetition in range(part.seeds):
            number = first + index * part.seeds + repetition
            try:
                trial = trial_of({**part.fixed, **proposal, "seed": int(seeds[number])})
            except ValueError as error:  # a rule between parameters that meet at few points only
                chosen = ", ".join(f"{name} = {value!r}" for name, value in proposal.items())
                raise UserError(f"part {part.name}, point {point} ({chosen}): {error}") from None
            yield Planned(number, part.name, first_point + point, draw, repetition, trial)


def cost(trial: Trial) -> float:
    """Multiplications of a trial's training and profile, the unit of packing."""
    task = task_named(trial.task)
    if trial.family in RECURRENT:
        gates = CELLS[trial.family](ACTIVATIONS[trial.activation]).gates
        hidden = gates * trial.depth * (task.features + trial.width)
    else:
        hidden = task.features + (trial.depth - 1) * trial.width
    weights = trial.width * (hidden + task.outputs)
    profile_steps = 4.0  # float64, and as much measuring as multiplying
    return 3.0 * trial.batch_size * weights * (trial.steps + profile_steps)


def packs(planned: Sequence[Planned], schedule: Schedule, workers: int) -> list[list[Planned]]:
    """The trials in packs, the costliest pack first; inside a pack one pack key, deepest first.

    Trials of like depth go together: a layer that only few trials of a pack have is a small product.
    """
    groups: dict[tuple, list[Planned]] = {}
    for entry in sorted(planned, key=lambda entry: (-entry.trial.depth, entry.number)):
        groups.setdefault(entry.trial.pack_key(), []).append(entry)
    if schedule.pack_size == "auto":
        share = sum(cost(entry.trial) for entry in planned) / (_PACKS_PER_WORKER * workers)
        cut = [pack for group in groups.values() for pack in _cut_by_cost(group, share)]
    else:
        size = schedule.pack_size
        cut = [group[at : at + size] for group in groups.values() for at in range(0, len(group), size)]
    return sorted(cut, key=lambda pack: -sum(cost(entry.trial) for entry in pack))


def _cut_by_cost(group: Sequence[Planned], share: float) -> Iterable[list[Planned]]:
    pack: list[Planned] = []
    spent = 0.0
    for entry in group:
        full = spent >= share and len(pack) >= _SMALLEST
        if full or len(pack) == _LARGEST:
            yield pack
            pack, spent = [], 0.0
        pack.append(entry)
        spent += cost(entry.trial)
    if pack:
        yield pack


def pack_name(number: int) -> str:
    """The name of the n-th pack of a run."""
    return f"pack-{number:06d}"
