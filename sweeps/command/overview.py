"""The commands that read run folders, or nothing: status, list, export, presets."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradatlas.sweeps.command.options import ERR, OUT, RunArgument, RunsOption
from gradatlas.sweeps.command.streams import json_text
from gradatlas.sweeps.errors import UserError, masked

if TYPE_CHECKING:
    from gradatlas.sweeps.running.runs import State


def _compute_nothing() -> None:
    """Keeps NumPy's BLAS from starting threads in a command that multiplies no matrices.

    They are a third of the processor time of `status`.
    """
    if "numpy" not in sys.modules:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def status(
    run: RunArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object.")] = False,
) -> None:
    """Progress of a run, from its folder alone, also of one that is still running."""
    _compute_nothing()
    from gradatlas.sweeps.running.runs import state
    from gradatlas.sweeps.store.ledger import Ledger

    now = state(Ledger.opened(run))
    if as_json:
        print(json_text({"run": str(run), "complete": now.is_complete} | vars(now)))
    else:
        OUT.print("\n".join(_status_lines(run, now)), markup=False)


def _status_lines(run: Path, now: State) -> list[str]:
    done = "complete" if now.is_complete else "not complete"
    lines = [
        f"{run}: {done}, {now.finished} of {now.planned} trials, {now.finished_packs} of {now.packs} packs"
    ]
    if now.proposed < now.planned:
        lines.append(f"proposed so far: {now.proposed} of {now.planned} trials")
    if now.outcomes:
        lines.append("training: " + ", ".join(f"{count} {label}" for label, count in now.outcomes.items()))
    lines += [f"left out: {fault}" for fault in now.damaged]
    if not now.is_complete:
        lines.append(f"go on with: gradatlas resume {run}")
    return lines


def export(
    run: RunArgument,
    storage: Annotated[
        str,
        typer.Option(
            "--optuna-storage",
            metavar="URL",
            help="journal://FILE or a file's name (Optuna's journal), sqlite:///FILE.db or another database.",
        ),
    ],
) -> None:
    """Write a run's finished trials into an Optuna storage, for Optuna Dashboard."""
    from gradatlas.sweeps.running.optuna_export import export as write
    from gradatlas.sweeps.running.runs import sweep_of
    from gradatlas.sweeps.store.ledger import Ledger

    ledger = Ledger.opened(run)
    sweep = sweep_of(ledger)
    for fault in ledger.results_found()[1].items():
        ERR.print("warning: left out: results/{}: {}".format(*fault), markup=False)
    written = 0
    with ERR.status("export …") as status:

        def show(count: int) -> None:
            nonlocal written
            written += count
            status.update(f"export: {written} trials")

        studies = write(ledger, sweep, storage, show)
    for name, count in studies.items():
        OUT.print(f"study {name}: {count} trials, in {masked(storage)}", markup=False)


def list_runs(
    runs: RunsOption = "runs",
) -> None:
    """List the runs of a folder."""
    _compute_nothing()
    from gradatlas.sweeps.running.runs import state
    from gradatlas.sweeps.store.ledger import Ledger

    folders = sorted(path.parent for path in runs.glob("*/sweep.toml") if path.is_file())
    if not folders:
        OUT.print(f"no runs in {runs}; start one with: gradatlas run quickstart", markup=False)
    for folder in folders:
        try:
            now = state(Ledger(folder))
        except UserError as error:  # the other runs are there all the same
            OUT.print(f"{error}", markup=False)
            continue
        mark = "complete" if now.is_complete else "not complete"
        OUT.print(f"{folder}  {now.finished}/{now.planned} trials  {mark}", markup=False)


def presets() -> None:
    """List the sweeps that come with gradatlas, and about how long each takes on as many CPUs as here."""
    _compute_nothing()
    from gradatlas.sweeps.planning.costs import START_SECONDS, duration
    from gradatlas.sweeps.planning.machine import available_cpus
    from gradatlas.sweeps.spec.presets import core_seconds, preset_files
    from gradatlas.sweeps.spec.sweep import load_sweep

    cpus = available_cpus()
    for name, path in preset_files().items():
        sweep, seconds = load_sweep(path), START_SECONDS + core_seconds()[name] / cpus
        OUT.print(
            f"{name}: {sweep.question} ({sweep.trials} trials, about {duration(seconds)})", markup=False
        )
    OUT.print(f"Times for {cpus} CPUs like those that costs were measured on; --dry-run times this machine.")
