"""What a run ran on: versions and hardware, for the report. Nothing of the environment's variables."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gradatlas.study.records import SCHEMA_VERSION

_PACKAGES = ("torch", "ray", "optuna", "polars", "seaborn", "numpy", "scipy", "numba", "pyarrow")


def environment(run: str, spec: str, cpus: int) -> str:
    """The content of environment.json."""
    described: dict[str, Any] = {
        "gradatlas": _version("gradatlas"),
        "spec": spec,
        "run": run,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "hardware": {
            "cpu": _cpu_name(),
            "cores": os.cpu_count(),
            "cpus_used": cpus,
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "gpus": [],
        },
        "column_version": SCHEMA_VERSION,
    }
    return json.dumps(described, indent=2) + "\n"


def _version(name: str) -> str:
    """A distribution's version. Numba may be missing, and gradatlas where its code came to a cluster with a
    job."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
