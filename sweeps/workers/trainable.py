"""The Ray Tune trainable: one Ray trial trains one pack and writes its results."""

from __future__ import annotations

import errno
import time
from collections import Counter
from contextlib import suppress
from math import inf
from typing import Any

import numpy as np
import torch
from ray import tune
from threadpoolctl import threadpool_limits

from gradatlas.study.regimes import Limits, regime
from gradatlas.study.training.engine import load_back_ends
from gradatlas.sweeps.store.ledger import Ledger
from gradatlas.sweeps.store.storage import location_of
from gradatlas.sweeps.workers import cluster
from gradatlas.sweeps.workers.pack_run import PackRun

_REPORT_SECONDS = 5.0  # between two reports of a pack's progress; one costs the driver 3 ms
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # what would stop every other pack too


def resources_of(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    """What a pack of a mixed run asks Ray for: a share of a GPU, or CPUs of a node without one."""
    bundle = {"CPU": config["threads"], "GPU": config["gpus"]}
    if config["gpus"]:
        return tune.PlacementGroupFactory([bundle])
    elsewhere = {"ray.io/node-id": f"!in({','.join(config['not_on'])})"}
    return tune.PlacementGroupFactory([bundle], bundle_label_selector=[elsewhere])


class PackTrainable(tune.Trainable):
    """Config: `run` (folder), `pack` (name), `driver` (whose orders count), `limits`, `threads`, `gpus`,
    `is_fitted` (whether what does not fit this worker's memory is halved before it is tried),
    `save_interval`, `max_failures`; `not_on` (ids of nodes) is for Ray. Reports counts alone.

    A report has `pack`, `trials`, `cost`, `progress` (share of the cost) and `done`. The last one has
    `regimes` and `outcomes` (counts) and `failed` (reasons), or `left` (stopped by order), or `failure` (why
    nothing was written) and `no_room`.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """One thread per CPU asked for, of torch and of NumPy's BLAS; no autograd, the engine has its own
        backward passes.
        """
        if not config["gpus"]:
            load_back_ends()  # before a pack takes the memory
        torch.set_num_threads(config["threads"])
        threadpool_limits(config["threads"])
        torch.set_grad_enabled(False)
        # Ray leaves GPUs visible to workers that asked for none, so what was asked for decides.
        self._device = torch.device("cuda" if config["gpus"] else "cpu")
        self._memory = (
            cluster.memory_of_worker(config["gpus"], config["threads"]) if config["is_fitted"] else inf
        )
        self._ledger = Ledger(location_of(config["run"]))  # one for all packs: it has checked the plan
        self._run: PackRun | None = None
        self._answer: str | None = None
        self._asked = -inf

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The actor goes on with another pack."""
        self.config, self._run, self._asked = new_config, None, -inf
        return True

    def step(self) -> dict[str, Any]:
        """Works on the pack until it is done, the driver says stop, or a report is due."""
        report = {"pack": self.config["pack"], "trials": 0, "cost": 0.0, "progress": 0.0, "done": True}
        try:
            return report | self._work(self._ledger)
        except OSError as error:
            if self._run is not None:
                with suppress(OSError):  # the disk may be full for this too
                    self._run.leave()
            return report | {"failure": str(error), "no_room": error.errno in _NO_ROOM}

    def _work(self, ledger: Ledger) -> dict[str, Any]:
        due = time.monotonic() + _REPORT_SECONDS
        while (driver := self._orders(ledger)) == self.config["driver"]:
            run = self._run = self._run or self._opened(ledger)
            run.keep()
            if run.rows is not None:
                return self._summary(run) | {"done": True}
            if time.monotonic() >= due:
                return self._size(run) | {"done": False}
            run.advance()
        if self._run is not None and driver is None:  # else the pack is another driver's now
            self._run.leave()
        return {"left": True}

    def _orders(self, ledger: Ledger) -> str | None:
        """Whose workers may go on; a store, which wants money for the answer, is asked more rarely."""
        if time.monotonic() - self._asked >= ledger.folder.seconds_between_looks:
            self._answer, self._asked = ledger.driver(), time.monotonic()
        return self._answer

    def _opened(self, ledger: Ledger) -> PackRun:
        return PackRun(
            ledger,
            self.config["pack"],
            driver=self.config["driver"],
            device=self._device,
            limits=Limits(**self.config["limits"]),
            save_interval=self.config["save_interval"],
            max_failures=self.config["max_failures"],
            memory=self._memory,
        )

    def _size(self, run: PackRun) -> dict[str, Any]:
        return {"trials": len(run.trials), "cost": run.cost, "progress": run.progress}

    def _summary(self, run: PackRun) -> dict[str, Any]:
        rows = run.rows or []
        decades = np.array([row["gradient_decades"] for row in rows], dtype=float)
        labels = regime(decades, Limits(**self.config["limits"]))
        return self._size(run) | {
            "regimes": dict(Counter(str(label) for label in labels if label is not None)),
            "outcomes": dict(Counter(str(row["outcome"]) for row in rows if row["outcome"] is not None)),
            "failed": [row["failure"] for row in rows if row["failure"] is not None][:1],
        }
