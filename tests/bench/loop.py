"""The packs of a run through the engine alone, in two processes without Ray, search or results.

    python -m tests.bench.loop RUN PACKS

Prints, as JSON, the trials and the seconds that each process took for its packs, imports left out.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from pathlib import Path

import torch

from gradatlas.study.experiment import results
from gradatlas.sweeps.store.ledger import Ledger


def _share(run: str, packs: list[str]) -> tuple[int, float]:
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    ledger = Ledger(Path(run))
    trials = [ledger.pack_trials(pack) for pack in packs]
    started = time.perf_counter()
    for pack in trials:
        results(pack)
    return sum(map(len, trials)), time.perf_counter() - started


def main() -> None:
    """The command line."""
    run, count = sys.argv[1], int(sys.argv[2])
    packs = list(Ledger(Path(run)).pack_sizes())[:count]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        print(json.dumps(pool.starmap(_share, [(run, packs[0::2]), (run, packs[1::2])], chunksize=1)))


if __name__ == "__main__":
    main()
