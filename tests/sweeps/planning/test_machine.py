"""What a machine has, against what Linux says of it and by hand."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gradatlas.sweeps.planning import machine
from gradatlas.sweeps.planning.machine import Node, gpu_share, memory_bytes, memory_of_pack

GIB = 2**30


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="only Linux tells its memory there")
def test_memory_is_that_of_the_machine_where_no_group_limits_it(monkeypatch, tmp_path):
    (tmp_path / "max").write_text("max\n")
    monkeypatch.setattr(machine, "_CGROUP_LIMITS", (str(tmp_path / "max"), str(tmp_path / "absent")))
    name, kibibytes, _ = Path("/proc/meminfo").read_text().split("\n")[0].split()
    assert name == "MemTotal:"
    assert memory_bytes() == int(kibibytes) * 1024


def test_memory_is_the_least_limit_of_a_group_that_is_below_the_machines(monkeypatch, tmp_path):
    limits = {"low": 3 * GIB, "lower": 2 * GIB, "beyond": 2**62}
    for name, limit in limits.items():
        (tmp_path / name).write_text(f"{limit}\n")
    monkeypatch.setattr(machine, "_CGROUP_LIMITS", tuple(str(tmp_path / name) for name in limits))
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 16 * GIB // 4096}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)
    assert memory_bytes() == 2 * GIB
    monkeypatch.setattr(machine, "_CGROUP_LIMITS", (str(tmp_path / "beyond"),))
    assert memory_bytes() == 16 * GIB


def test_packs_share_what_ray_and_the_workers_leave_of_85_percent():
    node = Node(cpus=4, gpus=1, memory=16 * GIB, gpu_memory=80 * GIB)
    # (0.85 · 16 − 0.8) / 4 − 0.5
    assert memory_of_pack(node, 4, gpus_per_pack=0.0) == pytest.approx(2.7 * GIB)
    # 0.85 · 80 / 2 − 0.5
    assert memory_of_pack(node, 4, gpus_per_pack=0.5) == pytest.approx(33.5 * GIB)
    assert memory_of_pack(node, 4, gpus_per_pack=2.0) == memory_of_pack(node, 1, gpus_per_pack=1.0)


def test_the_share_of_gpus_is_the_mean_of_what_the_driver_says(monkeypatch, tmp_path):
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\nprintf '50\\n100\\n'\n")
    driver.chmod(driver.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert gpu_share() == pytest.approx(0.75)
    driver.write_text("#!/bin/sh\nexit 9\n")
    assert gpu_share() is None
    driver.write_text("#!/bin/sh\n")
    assert gpu_share() is None
