"""Plans: every trial of a sweep with its identity, cut into packs of about equal cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from gradatlas.study.networks.memory import pack_memory
from gradatlas.study.randomness import trial_seeds
from gradatlas.study.trial import PARAMETERS, Trial, trial_of
from gradatlas.sweeps.errors import UserError
from gradatlas.sweeps.planning.costs import cost
from gradatlas.sweeps.planning.machine import Node, memory_of_pack

if TYPE_CHECKING:  # workers import this file and need neither Optuna nor scipy: half a second of each start
    from gradatlas.sweeps.spec.parts import Part
    from gradatlas.sweeps.spec.spec_tables import Schedule
    from gradatlas.sweeps.spec.sweep import Sweep


@dataclass(frozen=True)
class _Sizes:
    """How large "auto" packs are: trials, and packs of each worker."""

    packs_per_worker: int
    tiny: int
    small: int
    largest: int


# With 32 packs per worker the last ones to finish leave a worker idle for at most about 3 % of the run. Below
# 16 trials the Python around the stacked operations shows; 4 are still better than a long tail. Beyond 128
# nothing is gained on a CPU.
_ON_CPU = _Sizes(packs_per_worker=32, tiny=4, small=16, largest=128)
# A GPU takes as long for one small net as for hundreds: few packs, as large as its memory holds.
_ON_GPU = _Sizes(packs_per_worker=8, tiny=64, small=256, largest=8192)
_BLOCK = 4096  # points that are proposed at a time
# What a whole GPU does in small stacked products, in CPUs. An estimate: it decides how a mixed plan is cut,
# and who takes which pack until both kinds of workers have reported how fast they are.
GPU_IN_CPUS = 100.0
_LONG = 3.0  # shares of a worker's packs that one pack may cost before it is cut at `tiny` trials
_REST = 0.1  # share of a worker's packs that is too little for a pack of its own


@dataclass(frozen=True)
class Planned:
    """A trial with its identity in the run."""

    number: int
    part: str
    point: int
    draw: int
    repetition: int
    trial: Trial
    cost: float  # predicted, as `planning.costs.cost` counts

    def row(self, pack: str) -> dict[str, Any]:
        """The columns of a plan: identity, parameters and cost."""
        identity = {
            "trial": self.number,
            "part": self.part,
            "point": self.point,
            "draw": self.draw,
            "repetition": self.repetition,
            "seed": self.trial.seed,
            "pack": pack,
        }
        return identity | {name: getattr(self.trial, name) for name in PARAMETERS} | {"cost": self.cost}


def trial_of_row(row: dict[str, Any]) -> Trial:
    """The trial that a row of a plan describes; what is null, as in plans of earlier versions, is default."""
    given = {entry.name: row[entry.name] for entry in fields(Trial)}
    return Trial(**{name: value for name, value in given.items() if value is not None})


@dataclass(frozen=True)
class Progress:
    """How much is planned already: points of each part, and the numbers that come next."""

    points: Mapping[str, int] = field(default_factory=dict)
    trial: int = 0
    point: int = 0


def planned_trials(sweep: Sweep, before: Progress = Progress()) -> list[Planned]:
    """Every trial of the sweep beyond those planned before, numbered on from there.

    A function of the sweep and of what is planned alone; for the samplers that do not learn.
    """
    from gradatlas.sweeps.sampling.pure import pure_sampler

    planned: list[Planned] = []
    first_point = before.point
    for part in sweep.parts:
        known = before.points.get(part.name, 0)
        sampler = pure_sampler(
            sweep.search.sampler,
            part.space,
            seed=sweep.search.seed,
            nuisance=part.nuisance,
            draws=sweep.search.nuisance_draws,
            name=part.name,
        )
        for first in range(known, part.points, _BLOCK):
            count = min(_BLOCK, part.points - first)
            proposals = sampler.proposals(first * sampler.draws, count * sampler.draws)
            number, point = before.trial + len(planned), first_point + first - known
            planned.extend(trials_of_points(sweep, part, proposals, number=number, point=point))
        first_point += max(part.points - known, 0)
    return planned


def trials_of_points(
    sweep: Sweep, part: Part, proposals: Sequence[Mapping[str, Any]], *, number: int, point: int
) -> Iterator[Planned]:
    """The trials of proposals, each one draw, numbered from `number` on at points from `point` on."""
    draws = sweep.search.nuisance_draws
    seeds = trial_seeds(sweep.search.seed, number + np.arange(len(proposals) * part.seeds))
    for index, proposal in enumerate(proposals):
        place, draw = divmod(index, draws)
        for repetition in range(part.seeds):
            offset = index * part.seeds + repetition
            try:
                trial = trial_of({**part.fixed, **proposal, "seed": int(seeds[offset])})
            except ValueError as error:  # a rule between parameters that meet at few points only
                chosen = ", ".join(f"{name} = {value!r}" for name, value in proposal.items())
                raise UserError(f"part {part.name}, point {point + place} ({chosen}): {error}") from None
            yield Planned(number + offset, part.name, point + place, draw, repetition, trial, cost(trial))


def slots_of(schedule: Schedule, cpus: int, gpus: int) -> int:
    """Packs that a node holds at a time, on its GPUs if it has any and packs ask for them."""
    bounds = [cpus // schedule.cpus_per_pack]
    if schedule.gpus_per_pack and gpus:
        # Shares of a GPU do not add up across GPUs: at 0.4 a GPU holds two packs.
        share = schedule.gpus_per_pack
        bounds.append(gpus * int(1 / share + 1e-9) if share <= 1 else gpus // int(share))
    return min(bounds)


def worker_count(schedule: Schedule, *, cpus: int, gpus: int) -> int:
    """Packs that run at a time on one machine; at least one."""
    slots = slots_of(schedule, cpus, gpus) if gpus or not schedule.gpus_per_pack else 0
    return max(1, min(slots, schedule.concurrency or slots))


def capacity(schedule: Schedule, nodes: Sequence[Node]) -> tuple[int, float]:
    """(packs that run at a time on these machines, bytes that a pack may take on the smallest of them)."""
    asked = [node for node in nodes if node.gpus or not schedule.gpus_per_pack]
    slots = [(node, slots_of(schedule, node.cpus, node.gpus)) for node in asked]
    used = [(node, count) for node, count in slots if count] or [(nodes[0], 1)]
    workers = sum(count for _, count in used)
    memory = min(memory_of_pack(*place, gpus_per_pack=schedule.gpus_per_pack) for place in used)
    return min(workers, schedule.concurrency or workers), memory


def capacity_beside_gpus(schedule: Schedule, nodes: Sequence[Node]) -> tuple[int, float]:
    """The same of the nodes without a GPU where packs ask for GPUs; no workers for other schedules.

    The CPUs of a node with GPUs feed them: packs of CPUs alone there could keep a GPU without a CPU.
    """
    without = [node for node in nodes if schedule.gpus_per_pack and not node.gpus]
    slots = [(node, slots_of(schedule, node.cpus, 0)) for node in without]
    used = [(node, count) for node, count in slots if count]
    memory = min((memory_of_pack(*place, gpus_per_pack=0.0) for place in used), default=inf)
    return sum(count for _, count in used), memory


def cpus_of_gpu_pack(schedule: Schedule) -> float:
    """CPU workers that together do as much as a worker on its share of a GPU, as estimated."""
    return GPU_IN_CPUS * schedule.gpus_per_pack / schedule.cpus_per_pack


def packs(
    planned: Sequence[Planned],
    schedule: Schedule,
    workers: int,
    memory: float = inf,
    *,
    beside: tuple[int, float] = (0, inf),
) -> list[list[Planned]]:
    """The trials in packs, the costliest pack first; inside a pack one pack key, deepest first.

    Trials of like depth go together: a layer that only few trials of a pack have is a small product. "auto"
    packs take at most `memory` bytes each, as predicted, and leave no worker idle for long at the end.
    `beside` tells of workers without a GPU beside those on GPUs: what they will do of the work, which is the
    end of cheap packs, is cut for them.
    """
    if schedule.pack_size != "auto":
        size = schedule.pack_size
        cut = [group[at : at + size] for group in _groups(planned) for at in range(0, len(group), size)]
        return _costliest_first(cut)
    sizes = _ON_GPU if schedule.gpus_per_pack else _on_cpus(len(planned), workers)
    whole = _costliest_first(_cut(planned, sizes, workers, memory))
    if not beside[0]:
        return whole
    share = beside[0] / (beside[0] + workers * cpus_of_gpu_pack(schedule))
    kept, rest = _without_end(whole, share)
    return _costliest_first([*kept, *_cut(rest, _on_cpus(len(rest), beside[0]), *beside)])


def _groups(planned: Sequence[Planned]) -> list[list[Planned]]:
    """The trials of each pack key, deepest first."""
    groups: dict[tuple[Any, ...], list[Planned]] = {}
    for entry in sorted(planned, key=lambda entry: (-entry.trial.depth, entry.number)):
        groups.setdefault(entry.trial.pack_key(), []).append(entry)
    return list(groups.values())


def _cost(pack: Sequence[Planned]) -> float:
    return sum(entry.cost for entry in pack)


def _costliest_first(cut: list[list[Planned]]) -> list[list[Planned]]:
    return sorted(cut, key=lambda pack: -_cost(pack))


def _cut(planned: Sequence[Planned], sizes: _Sizes, workers: int, memory: float) -> list[list[Planned]]:
    """The trials in packs of about equal cost that fit the memory."""
    share = _cost(planned) / (sizes.packs_per_worker * workers)
    by_cost = (pack for group in _groups(planned) for pack in _cut_by_cost(group, share, sizes))
    return [part for pack in by_cost for part in _fitting(pack, memory)]


def _without_end(cut: Sequence[list[Planned]], share: float) -> tuple[list[list[Planned]], list[Planned]]:
    """The packs without a share of the cost, taken from the cheap end; and the trials of that share."""
    kept, taken = [list(pack) for pack in cut], []
    left = share * sum(map(_cost, cut))
    while kept and kept[-1][-1].cost <= left:
        entry = kept[-1].pop()
        taken.append(entry)
        left -= entry.cost
        if not kept[-1]:
            kept.pop()
    return kept, taken


def _on_cpus(trials: int, workers: int) -> _Sizes:
    """The sizes on CPUs; where trials are few, packs so small that each worker gets two."""
    return replace(_ON_CPU, tiny=min(_ON_CPU.tiny, max(1, trials // (2 * workers))))


def _cut_by_cost(group: Sequence[Planned], share: float, sizes: _Sizes) -> Iterator[list[Planned]]:
    """Packs of about a share each; a few cheap trials left at the end join the pack before them."""
    pack: list[Planned] = []
    full: list[Planned] = []
    spent = 0.0
    for entry in group:
        enough = sizes.tiny if spent >= _LONG * share else sizes.small
        if (spent >= share and len(pack) >= enough) or len(pack) == sizes.largest:
            if full:
                yield full
            full, pack, spent = pack, [], 0.0
        pack.append(entry)
        spent += entry.cost
    if len(pack) < sizes.tiny and spent < _REST * share and len(full) + len(pack) <= sizes.largest:
        full, pack = full + pack, []
    yield from filter(None, (full, pack))


def _fitting(pack: list[Planned], memory: float) -> Iterator[list[Planned]]:
    """The pack, halved until each part is predicted to fit; a lone trial is tried whatever it takes."""
    if len(pack) == 1 or pack_memory([entry.trial for entry in pack]) <= memory:
        yield pack
        return
    middle = len(pack) // 2
    for half in (pack[:middle], pack[middle:]):
        yield from _fitting(half, memory)


def pack_name(number: int) -> str:
    """The name of the n-th pack of a run."""
    return f"pack-{number:06d}"


# Trials of a batch: small enough that a sampler learns often, large enough that stacking pays.
_BATCH_ON_CPU, _BATCH_ON_GPU = 32, 256


_BATCHES = 8  # of each worker, at the least, where a run is short


def batch_points(sweep: Sweep, workers: int, *, on_gpu: bool) -> int:
    """Points that are proposed at a time: a pack's worth of trials."""
    schedule, draws = sweep.schedule, sweep.search.nuisance_draws
    largest = _BATCH_ON_GPU if on_gpu else _BATCH_ON_CPU
    size = schedule.pack_size if schedule.pack_size != "auto" else largest
    trials_of_point = max(part.seeds for part in sweep.parts) * draws
    share = sum(part.points for part in sweep.parts) // (_BATCHES * workers)
    return max(1, min(size // trials_of_point, share))
