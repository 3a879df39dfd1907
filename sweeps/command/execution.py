"""A run under the eyes of its user: what is pending runs, and how it ended is said."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from gradatlas.sweeps.command.options import ERR, OUT
from gradatlas.sweeps.errors import FAILURE, INTERRUPTED, PREEMPTED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gradatlas.sweeps.planning.machine import Node
    from gradatlas.sweeps.running.runs import State
    from gradatlas.sweeps.spec.sweep import Sweep
    from gradatlas.sweeps.store.ledger import Ledger
    from gradatlas.sweeps.store.storage import Place


def print_event(event: str, **values: Any) -> None:
    """An event as a line of JSON."""
    from gradatlas.sweeps.command.display import event_line

    print(event_line(event, **values), flush=True)


def execute(
    ledger: Ledger,
    sweep: Sweep,
    nodes: Sequence[Node],
    *,
    report: Callable[[Place], None] | None,
    json_lines: bool,
    more_points: int = 0,
    take_over: bool = False,
    in_cluster: bool = False,
) -> None:
    """Runs what is pending, and points more in every part; says how it ended.

    `report` writes the report of a run's folder.
    """
    from gradatlas.sweeps.running import runs as life

    cpus = sum(node.cpus for node in nodes)
    with ledger.locked(take_over=take_over):
        if more_points:
            sweep = life.extend_run(ledger, more_points)
        life.complete_plan(ledger, sweep, nodes)
        if more_points and not json_lines:
            more = f"{sweep.trials} trials now, {more_points} points more in every part"
            OUT.print(f"{ledger.folder}: {more}", markup=False)
        before = life.state(ledger)
        if json_lines:
            told = {"done": before.finished, "planned": before.planned, "packs": before.packs}
            print_event("start", run=str(ledger.folder), **told, cpus=cpus)
        stopped, failures = _run_watched(
            ledger, sweep, cpus, before, json_lines=json_lines, in_cluster=in_cluster
        )
        after = life.state(ledger)
        code, is_ours = _exit_code(stopped, after), stopped != "taken over"
        if report and is_ours and code in (0, FAILURE):
            report(ledger.folder)
    if json_lines:
        counts = {"done": after.finished, "planned": after.planned}
        print_event("end", run=str(ledger.folder), **counts, stopped=stopped, code=code)
    if code or not is_ours:
        ERR.print(_ending(after, stopped, failures, ledger.folder))
        raise typer.Exit(code)


def _run_watched(
    ledger: Ledger, sweep: Sweep, cpus: int, before: State, *, json_lines: bool, in_cluster: bool
) -> tuple[str | None, tuple[str, ...]]:
    """Why the run stopped before its end, if it did, and what failed."""
    from gradatlas.sweeps.command.display import Display, JsonLines
    from gradatlas.sweeps.running import runs as life

    counts = before.planned, before.finished, life.cost_ahead(ledger, before)
    gpus = sweep.schedule.gpus_per_pack > 0
    watched = (
        JsonLines(*counts, partial(print, flush=True), gpus=gpus)
        if json_lines
        else Display(*counts, OUT, gpus=gpus)
    )
    try:
        with watched as watcher:
            from gradatlas.sweeps.workers.runner import (
                run_packs,  # Ray takes seconds, in which something is on the screen
            )

            ended = run_packs(ledger, sweep, cpus, watcher, in_cluster=in_cluster)
    except KeyboardInterrupt:
        return "interrupted", ()
    return ended.stopped, ended.failures


def _exit_code(stopped: str | None, after: State) -> int:
    if after.is_complete:
        return 0
    codes = {"interrupted": INTERRUPTED, "preempted": PREEMPTED, "out of time": PREEMPTED}
    return codes.get(stopped or "", FAILURE)


def _ending(after: State, stopped: str | None, failures: tuple[str, ...], folder: Place) -> str:
    """How a run ended that is not complete, and the way on."""
    done = f"{after.finished} of {after.planned} trials are done and kept"
    words = {
        "interrupted": "stopped",
        "preempted": "preempted",
        "out of time": "schedule.time_budget is spent",
    }
    if stopped in words:
        return f"{words[stopped]}: {done}; go on with: gradatlas resume {folder}"
    if stopped == "taken over":
        now = "and it is complete" if after.is_complete else "it goes on there"
        return f"{folder}: another process took the run over; {now}"
    reason = f": {failures[-1]}" if failures else ""
    return (
        f"{after.planned - after.finished} of {after.planned} trials have no result{reason}; "
        f"try again with: gradatlas resume {folder}"
    )
