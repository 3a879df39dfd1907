"""A run under the eyes of its user: what is pending runs, and how it ended is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from gradatlas.sweeps.command.options import ERR
from gradatlas.sweeps.errors import FAILURE, INTERRUPTED, PREEMPTED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gradatlas.sweeps.command.voice import Voice
    from gradatlas.sweeps.planning.machine import Node
    from gradatlas.sweeps.running.runs import State
    from gradatlas.sweeps.spec.sweep import Sweep
    from gradatlas.sweeps.store.ledger import Ledger
    from gradatlas.sweeps.store.location import Location


def execute(
    ledger: Ledger,
    sweep: Sweep,
    nodes: Sequence[Node],
    *,
    voice: Voice,
    report: Callable[[Location], None] | None,
    more_points: int = 0,
    take_over: bool = False,
    in_cluster: bool = False,
) -> None:
    """Runs what is pending, and points more in every part; says how it ended.

    `report` writes the report of a run's folder.
    """
    from gradatlas.sweeps.running.runs import complete_plan, extend_run, state

    cpus = sum(node.cpus for node in nodes)
    with ledger.locked(take_over=take_over):
        if more_points:
            sweep = extend_run(ledger, more_points)
        complete_plan(ledger, sweep, nodes)
        if more_points:
            voice.extended(sweep.trials, more_points, ledger.folder)
        before = state(ledger)
        voice.starts(before, cpus, ledger.folder)
        stopped, failures = _run_watched(ledger, sweep, cpus, before, voice=voice, in_cluster=in_cluster)
        after = state(ledger)
        code, is_ours = _exit_code(stopped, after), stopped != "taken over"
        if report and is_ours and code in (0, FAILURE):
            report(ledger.folder)
    voice.ended(after, stopped, code, ledger.folder)
    if code or not is_ours:
        ERR.print(_ending(after, stopped, failures, ledger.folder))
        raise typer.Exit(code)


def _run_watched(
    ledger: Ledger, sweep: Sweep, cpus: int, before: State, *, voice: Voice, in_cluster: bool
) -> tuple[str | None, tuple[str, ...]]:
    """Why the run stopped before its end, if it did, and what failed."""
    from gradatlas.sweeps.running.runs import cost_ahead

    gpus = sweep.schedule.gpus_per_pack > 0
    try:
        with voice.watched(before, cost_ahead(ledger, before), gpus=gpus) as watcher:
            # Ray takes seconds, in which something is on the screen.
            from gradatlas.sweeps.workers.runner import run_packs
            from gradatlas.sweeps.workers.stopping import hangup_as_sigterm

            with hangup_as_sigterm():
                ended = run_packs(ledger, sweep, cpus, watcher, in_cluster=in_cluster)
    except KeyboardInterrupt:
        return "interrupted", ()
    return ended.stopped, ended.failures


def _exit_code(stopped: str | None, after: State) -> int:
    if after.is_complete:
        return 0
    codes = {"interrupted": INTERRUPTED, "preempted": PREEMPTED, "out of time": PREEMPTED}
    return codes.get(stopped or "", FAILURE)


def _ending(after: State, stopped: str | None, failures: tuple[str, ...], folder: Location) -> str:
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
