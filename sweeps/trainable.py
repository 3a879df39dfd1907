"""The Ray Tune trainable: one Ray trial trains one pack and writes its results."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray import tune

from study.experiment import results
from study.regimes import Limits, regime
from sweeps.ledger import Ledger
from sweeps.packing import cost


class PackTrainable(tune.Trainable):
    """Config: `run` (folder), `pack` (name), `limits`, `threads`, `gpus`; reports counts alone."""

    def setup(self, config: dict[str, Any]) -> None:
        """One torch thread per CPU asked for; no autograd, the engine has its own backward passes."""
        torch.set_num_threads(config["threads"])
        torch.set_grad_enabled(False)
        # Ray leaves GPUs visible to workers that asked for none, so what was asked for decides.
        self._device = torch.device("cuda" if config["gpus"] else "cpu")

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The actor goes on with another pack."""
        self.config = new_config
        return True

    def step(self) -> dict[str, Any]:
        """Runs the whole pack."""
        ledger, pack = Ledger(Path(self.config["run"])), self.config["pack"]
        limits = Limits(**self.config["limits"])
        trials = ledger.pack_trials(pack)
        rows = results(trials, device=self._device, limits=limits)
        ledger.write_result(pack, rows)
        decades = np.array([row["gradient_decades"] for row in rows], dtype=float)
        return {
            "done": True,
            "pack": pack,
            "trials": len(rows),
            "cost": sum(map(cost, trials)),
            "regimes": dict(Counter(str(label) for label in regime(decades, limits))),
            "outcomes": dict(Counter(str(row["outcome"]) for row in rows)),
        }
