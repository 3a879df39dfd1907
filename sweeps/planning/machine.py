"""The machine that a run is on: its memory, and how busy it is."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from gradatlas.study.lazy_torch import torch

# Measured: Ray with the driver, and a worker without its pack, which has 0.3 GiB of its own, 0.4 while it
# compiles machine code, and 0.27 of libraries that all workers share.
RAY_BYTES, WORKER_BYTES = 0.8 * 2**30, 0.5 * 2**30
_GPU_CONTEXT_BYTES = 0.5 * 2**30  # of a process that computes on a GPU
_USABLE = 0.85  # of the memory: predictions are within 10 %, and the rest of the machine lives too

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def available_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    """Bytes of memory that processes here may use together: the machine's, or a container's limit."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *(limit for path in _CGROUP_LIMITS if (limit := _number(Path(path))) is not None)])


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such group, or "max"
        return None


@dataclass(frozen=True)
class Node:
    """What packs may use of a machine; memory in bytes, `gpu_memory` that of its smallest GPU."""

    cpus: int
    gpus: int
    memory: int
    gpu_memory: int


def this_node(cpus: int, *, with_gpus: bool = True) -> Node:
    """This machine, of which so many CPUs are used, and GPUs if packs ask for any: torch counts those."""
    gpus = gpu_count() if with_gpus else 0
    return Node(cpus, gpus, memory_bytes(), gpu_memory_bytes() if gpus else 0)


def gpu_count() -> int:
    """GPUs that torch finds here."""
    return torch.cuda.device_count()


def gpu_memory_bytes() -> int:
    """Bytes of memory of the smallest GPU here; there must be one."""
    return min(torch.cuda.get_device_properties(place).total_memory for place in range(gpu_count()))


def memory_of_pack(node: Node, workers: int, *, gpus_per_pack: float) -> float:
    """Bytes that each of so many packs may take at a time, on a machine or on its share of a GPU."""
    if gpus_per_pack:
        return _USABLE * node.gpu_memory * min(gpus_per_pack, 1.0) - _GPU_CONTEXT_BYTES
    return (_USABLE * node.memory - RAY_BYTES) / workers - WORKER_BYTES


class CpuUse:
    """Shares of the machine's CPU time that were busy, between one question and the next."""

    def __init__(self, source: Path = Path("/proc/stat")) -> None:
        self._source = source
        self._before = self._ticks()

    def _ticks(self) -> tuple[int, int] | None:
        """(busy, all) clock ticks since the machine started; None where Linux does not tell."""
        try:
            ticks = [
                int(word) for word in self._source.read_text(encoding="ascii").split("\n")[0].split()[1:9]
            ]
        except (OSError, ValueError):
            return None
        return sum(ticks) - ticks[3] - ticks[4], sum(ticks)  # idle and waiting for a disk

    def share(self) -> float | None:
        """The busy share since the last call; None where it is not known."""
        before, self._before = self._before, self._ticks()
        if before is None or self._before is None or self._before[1] == before[1]:
            return None
        return (self._before[0] - before[0]) / (self._before[1] - before[1])


def gpu_share() -> float | None:
    """Mean share of the last second in which the GPUs here computed, as the driver tells; None without."""
    try:
        told = subprocess.run(
            ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        ).stdout.split()
        return sum(map(float, told)) / len(told) / 100
    except (OSError, ValueError, ZeroDivisionError, subprocess.SubprocessError):
        return None
