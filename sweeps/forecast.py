"""What a sweep will take, said before it starts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from study.memory import pack_memory
from sweeps.learning import batch_points
from sweeps.machine import RAY_BYTES, WORKER_BYTES, Node
from sweeps.packing import capacity, cost, packs, planned_trials
from sweeps.samplers import is_learning
from sweeps.spec import Sweep

# Measured over packs of 64 to 256 trials: the engine's share of the bare products' rate, and what a run
# takes beside its packs.
_ENGINE_SHARE = 0.5
_START_SECONDS = 12.0


def forecast(sweep: Sweep, nodes: Sequence[Node]) -> str:
    """Rows, packs, memory and time as lines of text; the time is calibrated on this machine in 0.3 s."""
    schedule = sweep.schedule
    workers, room = capacity(schedule, nodes)
    learns = is_learning(sweep.search.sampler)
    planned = planned_trials(_as_random(sweep) if learns else sweep)
    cut = packs(planned, schedule, workers, room)
    largest = max(pack_memory([entry.trial for entry in pack]) for pack in cut)
    work = sum(cost(entry.trial) for entry in planned)
    seconds = _START_SECONDS + work / (
        _products_per_second() * _ENGINE_SHARE * workers * schedule.cpus_per_pack
    )
    memory = len(nodes) * RAY_BYTES + workers * (WORKER_BYTES + largest)
    sizes = sorted(len(pack) for pack in cut)
    if learns:
        batch = batch_points(sweep, workers)
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
            f"packs   {len(cut)}, of {sizes[0]} to {sizes[-1]} trials, on {workers} workers",
            f"memory  about {memory / 2**30:.1f} GiB ({largest / 2**20:.0f} MiB in the largest pack)",
            f"time    about {_duration(seconds)} without the report",
        )
    )


def _as_random(sweep: Sweep) -> Sweep:
    """The same sweep by a sampler that needs no results."""
    return replace(sweep, search=sweep.search.model_copy(update={"sampler": "random"}))


def _products_per_second() -> float:
    """Multiplications per second of one thread in the products that training is made of."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    x, w = torch.ones(64, 64, 64), torch.ones(64, 64, 64)
    torch.bmm(x, w)
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < 0.3:
        torch.bmm(x, w)
        count += 1
    torch.set_num_threads(threads)
    return count * 64**4 / (time.perf_counter() - started)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
