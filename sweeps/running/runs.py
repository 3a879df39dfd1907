"""The life of a run: a sweep file becomes a run folder, its packs run, what is there is told."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from gradatlas.sweeps.errors import UserError, reason_of
from gradatlas.sweeps.planning.machine import Node, available_cpus, gpu_count, this_node
from gradatlas.sweeps.planning.packing import (
    Planned,
    Progress,
    capacity,
    capacity_beside_gpus,
    packs,
    planned_trials,
)
from gradatlas.sweeps.running.starting import new_run
from gradatlas.sweeps.sampling.samplers import is_learning
from gradatlas.sweeps.spec.sweep import Sweep, dump_sweep, extended_sweep, load_sweep, parse_sweep
from gradatlas.sweeps.spec.task_files import npz_bytes, stored_names
from gradatlas.sweeps.store.ledger import Ledger
from gradatlas.sweeps.store.location import Location
from gradatlas.sweeps.store.storage import location_of


def usable_cpus(sweep: Sweep, asked: int | None) -> int:
    """CPUs for the local Ray; raises UserError where a pack fits on no worker and Ray would wait for ever."""
    cpus = asked or sweep.schedule.cpus or available_cpus()
    gpus = gpu_count() if sweep.schedule.gpus_per_pack else 0  # torch counts them
    if sweep.schedule.cpus_per_pack > cpus:
        raise UserError(
            f"schedule.cpus_per_pack: must be <= the {cpus} CPUs of the run, but got "
            f"{sweep.schedule.cpus_per_pack}"
        )
    if sweep.schedule.gpus_per_pack > gpus:
        raise UserError(
            f"schedule.gpus_per_pack: must be <= the {gpus} GPUs that torch finds here, but got "
            f"{sweep.schedule.gpus_per_pack:g}"
        )
    return cpus


def run_folder(sweep: Sweep, spec: Path, *, runs: str | Path | Location | None, name: str | None) -> Location:
    """Where a new run goes: RUNS/NAME, by default named after the spec and the time."""
    if name is None:
        name = f"{spec.stem}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    if not re.fullmatch(r"[\w][\w.+-]*", name):
        raise UserError(
            f"--name: must be letters, digits, '.', '_', '+' or '-' without a path, but got {name!r}; "
            "--runs names the folder"
        )
    return location_of(sweep.storage.runs if runs is None else runs).expanduser() / name


def create_run(
    folder: Path | Location, sweep: Sweep, spec: str, cpus: int, nodes: Sequence[Node] | None = None
) -> Ledger:
    """The folder of a new run, its plan written; nothing is left behind where that fails.

    `nodes`: the machines that packs are cut for, by default this one.
    """
    with new_run(folder, spec, cpus) as ledger:
        plan_run(ledger, sweep, nodes or [this_node(cpus)])
    return ledger


def plan_run(ledger: Ledger, sweep: Sweep, nodes: Sequence[Node]) -> None:
    """Makes a new folder, which the caller holds, a run: copies of the user's files, plan, `sweep.toml`."""
    folder, stored = ledger.folder, stored_names(sweep.document)
    try:
        for original, name in stored.items():
            ledger.write_data(name, npz_bytes(Path(original)))
        if is_learning(sweep.search.sampler):
            from gradatlas.sweeps.running.learning import Learner  # Optuna, which takes its time

            Learner(ledger, sweep, capacity(sweep.schedule, nodes)[0]).next_packs()
        else:
            ledger.write_plan(_packed(sweep, planned_trials(sweep), nodes), stored)
        ledger.write_sweep(dump_sweep(sweep, folder.name, stored))
    except OSError as error:
        raise UserError(f"{folder}: plan and data cannot be written: {reason_of(error)}") from None


def _packed(sweep: Sweep, planned: list[Planned], nodes: Sequence[Node]) -> list[list[Planned]]:
    """Trials in packs that fit these machines."""
    schedule = sweep.schedule
    beside = capacity_beside_gpus(schedule, nodes)
    return packs(planned, schedule, *capacity(schedule, nodes), beside=beside)


def complete_plan(ledger: Ledger, sweep: Sweep, nodes: Sequence[Node]) -> None:
    """Plans the points that `sweep.toml` has beyond the plan; a learning sampler does so while it runs.

    The caller holds the run. What is planned stays as it is; new points get the numbers that follow, in packs
    cut for these machines.
    """
    if is_learning(sweep.search.sampler):
        return
    plan = ledger.plan()
    points = dict(plan.group_by("part").agg(pl.col("point").n_unique()).collect().iter_rows())
    row = plan.select(pl.col("trial", "point").max() + 1, packs=pl.col("pack").n_unique()).collect()
    more = planned_trials(sweep, Progress(points, row["trial"][0], row["point"][0]))
    if more:
        plans = len(list(ledger.plans.glob("*.parquet")))
        ledger.write_plan(
            _packed(sweep, more, nodes),
            stored_names(sweep.document),
            plan=plans,
            first_pack=row["packs"][0],
        )


def extend_run(ledger: Ledger, points: int) -> Sweep:
    """Lets a run's `sweep.toml` ask for more points in every part; raises UserError where it cannot have any.

    The caller holds the run. `complete_plan` plans them, now or after a kill.
    """
    sweep = sweep_of(ledger, may_import=True)
    if sweep.search.sampler == "grid":
        raise UserError(
            f"{ledger.folder}: a grid has no further points; run it with more levels under a new --name"
        )
    text = extended_sweep(ledger.sweep_file.read_text(encoding="utf-8"), sweep, points)
    parse_sweep(
        tomllib.loads(text), "sweep.toml", folder=ledger.here("", "data")
    )  # more than a sampler takes?
    ledger.write_sweep(text)
    return sweep_of(ledger, may_import=True)


def sweep_of(ledger: Ledger, *, may_import: bool = False) -> Sweep:
    """The sweep that a run was made from.

    `may_import`: a sampler by import path is imported, which runs code; only who runs packs needs it.
    """
    sweep = load_sweep(ledger.here("", "data") / "sweep.toml", may_import=may_import)
    if "name" not in sweep.document:  # which every run's has
        raise UserError("sweep.toml: is damaged: it must have a name; put it back from a copy")
    return sweep


@dataclass(frozen=True)
class State:
    """What a run folder holds."""

    planned: int  # trials in the end; a learning sampler has not proposed all of them from the start
    proposed: int  # trials in the plan so far
    finished: int
    packs: int
    finished_packs: int
    outcomes: dict[str, int]
    damaged: tuple[str, ...]  # files that are left out, and what is wrong with each

    @property
    def is_complete(self) -> bool:
        """Whether every planned trial has its row."""
        return self.finished == self.planned


def state(ledger: Ledger) -> State:
    """Counts from the ledger alone, also while the run is going on."""
    sizes = ledger.pack_sizes()
    finished, faults = ledger.results_found()
    here = sorted(finished & set(sizes))
    outcomes = ledger.results.value_counts("outcome", [f"{pack}.parquet" for pack in here])
    asked, fault = _trials_asked_for(ledger)
    return State(
        planned=max(asked, sum(sizes.values())),
        proposed=sum(sizes.values()),
        finished=sum(size for pack, size in sizes.items() if pack in finished),
        packs=len(sizes),
        finished_packs=len(here),
        outcomes=dict(sorted(outcomes.items())),
        damaged=(*fault, *sorted(f"results/{_shown(name)}: {wrong}" for name, wrong in faults.items())),
    )


def _shown(name: str) -> str:
    """A file's name with what is not UTF-8 in it escaped."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _trials_asked_for(ledger: Ledger) -> tuple[int, tuple[str, ...]]:
    """Trials that `sweep.toml` asks for; 0 and what is wrong with it where the plan counts alone."""
    try:
        return sweep_of(ledger).trials, ()
    except UserError as error:
        return 0, (str(error),)


def cost_ahead(ledger: Ledger, now: State) -> float:
    """Predicted cost of what has no result yet; trials not yet proposed count as the mean of the others."""
    return ledger.pending_cost() + (now.planned - now.proposed) * ledger.mean_cost()
