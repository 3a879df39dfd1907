"""What a sweep will take, said before it starts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from heapq import heapreplace

import torch
from threadpoolctl import threadpool_limits

from gradatlas.study.experiment import results
from gradatlas.study.networks.memory import pack_memory
from gradatlas.study.trial import Trial
from gradatlas.sweeps.planning.costs import START_SECONDS, duration, pack_cost
from gradatlas.sweeps.planning.machine import RAY_BYTES, WORKER_BYTES, Node
from gradatlas.sweeps.planning.packing import (
    Planned,
    batch_points,
    capacity,
    capacity_beside_gpus,
    packs,
    planned_trials,
)
from gradatlas.sweeps.sampling.samplers import is_learning
from gradatlas.sweeps.spec.sweep import Sweep

_TRIAL = Trial(depth=6, steps=10, activation="tanh", learning_rate=0.01)  # of the pack that is timed here


def forecast(sweep: Sweep, nodes: Sequence[Node]) -> str:
    """Rows, packs, memory and time as lines of text.

    The time is that of a machine which does nothing else, from what a small pack takes on this one.
    """
    schedule = sweep.schedule
    workers, room = capacity(schedule, nodes)
    learns = is_learning(sweep.search.sampler)
    planned = planned_trials(_as_random(sweep) if learns else sweep)
    beside = capacity_beside_gpus(schedule, nodes)
    cut = packs(planned, schedule, workers, room, beside=beside)
    largest = max(pack_memory([entry.trial for entry in pack]) for pack in cut)
    if schedule.gpus_per_pack:
        time_taken = "not predicted: what packs take is known of CPUs alone"
    else:
        time_taken = f"about {duration(_run_seconds(cut, workers, slowness()))} without the report"
    memory = len(nodes) * RAY_BYTES + workers * (WORKER_BYTES + largest)
    sizes = sorted(len(pack) for pack in cut)
    if learns:
        batch = batch_points(sweep, workers, on_gpu=schedule.gpus_per_pack > 0)
        search = [
            f"search  {sweep.search.sampler} proposes {batch} points at a time, as results come; the packs "
            "below are those of random points, and its own time comes on top"
        ]
    else:
        search = []
    return "\n".join(
        (
            f"rows    {len(planned)}",
            *search,
            f"packs   {len(cut)}, of {sizes[0]} to {sizes[-1]} trials, on {workers} workers"
            + (f" with a GPU and {beside[0]} without" if beside[0] else ""),
            f"memory  about {memory / 2**30:.1f} GiB ({largest / 2**20:.0f} MiB in the largest pack)",
            f"time    {time_taken}",
        )
    )


def core_seconds(sweep: Sweep) -> float:
    """Seconds of one core that the packs of a sweep take on the machine that costs were measured on.

    For a sampler that does not learn.
    """
    cut = packs(planned_trials(sweep), sweep.schedule, workers=2)
    return sum(pack_cost([entry.trial for entry in pack]) for pack in cut)


def _run_seconds(cut: Sequence[Sequence[Planned]], workers: int, slowness: float) -> float:
    work = [pack_cost([entry.trial for entry in pack]) for pack in cut]
    return START_SECONDS + _makespan(work, workers) * slowness


def _as_random(sweep: Sweep) -> Sweep:
    """The same sweep by a sampler that needs no results."""
    return replace(sweep, search=sweep.search.model_copy(update={"sampler": "random"}))


def _makespan(work: Sequence[float], workers: int) -> float:
    """When the last pack ends, each given to the worker that is free first."""
    ends = [0.0] * workers
    for seconds in work:
        heapreplace(ends, ends[0] + seconds)
    return max(ends)


def slowness() -> float:
    """Seconds of one thread here for one of `planning.costs`: the least over half a second of packs."""
    pack = [replace(_TRIAL, seed=seed) for seed in range(16)]
    threads, grad = torch.get_num_threads(), torch.is_grad_enabled()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    with threadpool_limits(1):
        results(pack)  # loads the data
        taken = [_seconds_of(pack) for _ in range(9)]
    torch.set_num_threads(threads)
    torch.set_grad_enabled(grad)
    return min(taken) / pack_cost(pack)


def _seconds_of(pack: Sequence[Trial]) -> float:
    """CPU seconds: what else the machine does now is not what it does then."""
    started = time.process_time()
    results(pack)
    return time.process_time() - started
