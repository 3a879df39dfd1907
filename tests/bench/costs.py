"""Seconds of packs against what `sweeps.planning.costs` predicts, by kind: CPU time at one thread.

    python -m tests.bench.costs [KIND …]

Prints measured / predicted for packs of many shapes; words choose the kinds that contain one. Presets are
measured by every fifth of their packs.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator, Sequence

import torch
from threadpoolctl import threadpool_limits

from gradatlas.study.experiment import results
from gradatlas.study.trial import Trial
from gradatlas.sweeps.planning.costs import pack_cost
from gradatlas.sweeps.planning.packing import packs, planned_trials
from gradatlas.sweeps.spec.presets import preset_files
from gradatlas.sweeps.spec.sweep import load_sweep

_EVERY = 5  # a preset's packs of which one is measured

Pack = list[Trial]


def _pack(size: int, **settings: object) -> Pack:
    """Trials that train and do not diverge, so that no step is saved."""
    common = {"learning_rate": 0.01, "steps": 50} | settings
    return [Trial(seed=seed, **common) for seed in range(size)]  # type: ignore[arg-type]


_SHAPES = ((16, 2, 16), (64, 16, 16), (16, 64, 16), (16, 2, 64), (16, 10, 64), (64, 10, 64), (4, 64, 64),
           (16, 32, 64), (8, 4, 256), (8, 16, 256), (128, 4, 32))  # fmt: skip
_FEW = ((32, 10, 16), (16, 10, 64), (64, 10, 64), (16, 4, 256))
_CURVED = ("sigmoid", "tanh", "elu", "selu", "gelu", "silu", "softplus")


def kinds() -> dict[str, list[Pack]]:
    """Packs by the kind of what is special in them."""
    shaped = {
        "plain": [_pack(n, depth=depth, width=width) for n, depth, width in _SHAPES],
        "curved activation": [_pack(16, activation=name) for name in _CURVED],
        "other optimizer": [
            _pack(16, width=width, optimizer=name) for name in ("momentum", "adam") for width in (16, 64)
        ],
        "skip": [_pack(16, skip=name) for name in ("residual", "preactivation", "scaled")],
        "clipping": [_pack(16, **{name: 0.1}) for name in ("clip_norm", "clip_value", "clip_adaptive")],
        "batch size": [_pack(16, batch_size=size) for size in (8, 256)],
        "not trained": [_pack(n, depth=depth, width=width, steps=0) for n, depth, width in _SHAPES],
    }
    for norm in ("batch", "layer"):
        shaped[f"{norm} norm"] = [_pack(n, depth=depth, width=width, norm=norm) for n, depth, width in _FEW]
    for family in ("rnn", "lstm", "gru"):
        sizes = ((16, 8, 32, 30), (64, 32, 32, 10), (16, 32, 64, 10), (64, 32, 32, 0))
        shaped[family] = [
            _pack(n, family=family, depth=depth, width=width, steps=steps, task="copy", activation="tanh")
            for n, depth, width, steps in sizes
        ]
    return shaped


def _of_presets() -> Iterator[tuple[str, list[Pack]]]:
    for name, file in preset_files().items():
        sweep = load_sweep(file)
        cut = packs(planned_trials(sweep), sweep.schedule, 2)
        yield f"preset {name}", [[entry.trial for entry in pack] for pack in cut[::_EVERY]]


def measured(pack: Pack) -> float:
    """CPU seconds of a pack."""
    started = time.process_time()
    results(pack)
    return time.process_time() - started


def _compare(kind: str, cut: Sequence[Pack]) -> None:
    results(cut[0][:1])  # loads the data, and the tables of its activation
    pairs = [(measured(pack), pack_cost(pack)) for pack in cut]
    ratios = [seconds / predicted for seconds, predicted in pairs]
    total = sum(seconds for seconds, _ in pairs) / sum(predicted for _, predicted in pairs)
    print(
        f"{kind:22} {len(cut):3} packs  {total:5.2f} together, median {statistics.median(ratios):5.2f}, "
        f"{min(ratios):.2f} to {max(ratios):.2f}",
        flush=True,
    )


def main() -> None:
    """The command line."""
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    print("measured / predicted")
    with threadpool_limits(1):
        for kind, cut in (*kinds().items(), *_of_presets()):
            if len(sys.argv) == 1 or any(word in kind for word in sys.argv[1:]):
                _compare(kind, cut)


if __name__ == "__main__":
    main()
