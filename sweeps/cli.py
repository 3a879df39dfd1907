"""The command. Heavy libraries are imported inside the commands that need them."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer._click.exceptions import NoArgsIsHelpError, UsageError  # typer offers only their subclasses
from typer.core import TyperCommand

from sweeps import chain, jobs, submit, theory
from sweeps.errors import FAILURE, INTERRUPTED, PREEMPTED, USER_ERROR, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from sweeps.ledger import Ledger
    from sweeps.machine import Node
    from sweeps.runs import State
    from sweeps.spec import Sweep
    from sweeps.storage import Place

app = typer.Typer(
    name="gradatlas",
    help="Sweeps of vanishing and exploding gradients: run them, resume them, report on them.",
    epilog="Start with: gradatlas run quickstart",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_out = Console(highlight=False, soft_wrap=True)
_err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)


def _place(text: str) -> Any:
    """A folder or URL given on the command line."""
    from sweeps.storage import place_of

    try:
        return place_of(text)
    except UserError as error:
        raise typer.BadParameter(str(error)) from None


RunArgument = Annotated[
    Any, typer.Argument(metavar="RUN", parser=_place, help="A run's folder or URL.", show_default=False)
]
RunsOption = Annotated[
    Any, typer.Option(metavar="DIR", parser=_place, help="Folder or URL of the runs.", show_default=False)
]
Address = Annotated[
    str | None,
    typer.Option(metavar="auto|HOST:PORT", help="Run on an existing Ray cluster that this machine is in."),
]
TakeOver = Annotated[
    bool, typer.Option("--take-over", help="Take a run at a URL from a process that is dead or cut off.")
]
NoReport = Annotated[bool, typer.Option("--no-report", help="Leave the report out.")]
JsonOutput = Annotated[bool, typer.Option("--json-lines", help="Write an event a line, as JSON.")]


def main() -> None:
    """Runs the command; a user's mistake is one line and exit code 2."""
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except NoArgsIsHelpError:  # the help has been printed
        sys.exit(USER_ERROR)
    except UsageError as error:
        command = error.ctx.command_path if error.ctx else "gradatlas"
        _err.print(f"{command}: {_sentence(error.format_message())}; see: {command} --help")
        sys.exit(USER_ERROR)
    except UserError as error:
        _err.print(f"gradatlas: {error}")
        sys.exit(USER_ERROR)
    except OverflowError as error:
        _err.print(f"gradatlas: a number is too large to compute with: {error}")
        sys.exit(USER_ERROR)
    except OSError as error:
        _err.print(f"gradatlas: {error.filename or 'a file'}: {error.strerror}")
        sys.exit(FAILURE)


def _sentence(message: str) -> str:
    """What the command line's parser says, as our own messages read."""
    return (message[:1].lower() + message[1:]).rstrip(".")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"gradatlas {version('gradatlas')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="A preset's name or a sweep file (TOML).")],
    runs: RunsOption = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the run; must be new.")] = None,
    cpus: Annotated[int | None, typer.Option(metavar="N", min=1, help="CPUs to use. Default: all.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key, e.g. search.points=64. Repeatable."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run, and start nothing.")
    ] = False,
    address: Address = None,
    go_on: Annotated[
        bool, typer.Option("--resume", help="Go on with the run of this --name where there is one.")
    ] = False,
    take_over: TakeOver = False,
    no_report: NoReport = False,
    json_lines: JsonOutput = False,
) -> None:
    """Run a sweep on this machine, or on a cluster, and write its report."""
    from sweeps import runs as life
    from sweeps.spec import load_sweep

    file = life.spec_file(spec)
    sweep = load_sweep(file, tuple(overrides or ()))
    folder = life.run_folder(sweep, file, runs=runs, name=name)
    if go_on:
        if name is None:
            raise UserError("--resume: goes on with the run of a name; add --name NAME")
        if not dry_run and life.is_begun(folder):
            resume(folder, cpus, no_report, json_lines, take_over, address)
            return
    with _machines(sweep, cpus, address) as nodes:
        used = sum(node.cpus for node in nodes)
        if dry_run:
            from sweeps.forecast import forecast

            _out.print(forecast(sweep, nodes), markup=False)
            return
        ledger = life.create_run(folder, sweep, spec, used, nodes)
        if not json_lines:
            where = f"{used} CPUs" + (f" of {len(nodes)} nodes" if address else "")
            _out.print(f"{sweep.trials} trials on {where}, into {folder}", markup=False)
        _execute(ledger, sweep, used, report=not no_report, json_lines=json_lines, in_cluster=bool(address))


@contextmanager
def _machines(sweep: Sweep, cpus: int | None, address: str | None) -> Iterator[list[Node]]:
    """The machines that packs run on; a cluster is joined for as long as this lasts."""
    from sweeps import runs as life
    from sweeps.machine import this_node

    if address is None:
        yield [this_node(life.usable_cpus(sweep, cpus))]
        return
    if cpus is not None:
        raise UserError("--cpus: is for a Ray of this machine alone; leave it or --address")
    from sweeps import cluster

    with cluster.joined(address):
        yield cluster.nodes()


@app.command()
def resume(
    run: RunArgument,
    cpus: Annotated[int | None, typer.Option(metavar="N", min=1)] = None,
    no_report: NoReport = False,
    json_lines: JsonOutput = False,
    take_over: TakeOver = False,
    address: Address = None,
) -> None:
    """Go on with a run that was stopped; a finished one is left as it is."""
    from sweeps import runs as life
    from sweeps.ledger import Ledger

    ledger = Ledger.opened(run)
    sweep = life.sweep_of(ledger)
    now = life.state(ledger)
    if now.is_complete:
        planned = now.planned
        if json_lines:
            _print_event("end", run=str(run), done=planned, planned=planned, stopped=None, code=0)
        else:
            _out.print(f"{run}: all {planned} trials are done; nothing to resume", markup=False)
        return
    with _machines(sweep, cpus, address) as nodes:
        used = sum(node.cpus for node in nodes)
        _execute(
            ledger,
            sweep,
            used,
            report=not no_report,
            json_lines=json_lines,
            take_over=take_over,
            in_cluster=address is not None,
        )


@app.command()
def extend(
    run: RunArgument,
    points: Annotated[int, typer.Option(metavar="N", min=1, help="Points more, in every part of the sweep.")],
    cpus: Annotated[int | None, typer.Option(metavar="N", min=1)] = None,
    no_report: NoReport = False,
    json_lines: JsonOutput = False,
) -> None:
    """Add points to a run, finished or not, and run what has no result; what is there stays."""
    from sweeps import runs as life
    from sweeps.ledger import Ledger

    ledger = Ledger.opened(run)
    with ledger.locked():
        used = life.usable_cpus(life.sweep_of(ledger), cpus)
        sweep = life.extend_run(ledger, points)
        life.complete_plan(ledger, sweep, used)
    if not json_lines:
        _out.print(f"{run}: {sweep.trials} trials now, {points} points more in every part", markup=False)
    _execute(ledger, sweep, used, report=not no_report, json_lines=json_lines)


def _print_event(event: str, **values: Any) -> None:
    from sweeps.display import event_line

    print(event_line(event, **values), flush=True)


def _execute(
    ledger: Ledger,
    sweep: Sweep,
    cpus: int,
    *,
    report: bool,
    json_lines: bool,
    take_over: bool = False,
    in_cluster: bool = False,
) -> None:
    """Runs what is pending, says how it ended, writes the report."""
    from sweeps import runs as life

    with ledger.locked(take_over=take_over):
        life.complete_plan(ledger, sweep, cpus)
        before = life.state(ledger)
        if json_lines:
            told = {"done": before.finished, "planned": before.planned, "packs": before.packs}
            _print_event("start", run=str(ledger.folder), **told, cpus=cpus)
        stopped, failures = _run_watched(
            ledger, sweep, cpus, before, json_lines=json_lines, in_cluster=in_cluster
        )
        after = life.state(ledger)
        code = _exit_code(stopped, after)
        if report and code in (0, FAILURE):
            _write_report(ledger.folder, None, json_lines=json_lines)
    if json_lines:
        counts = {"done": after.finished, "planned": after.planned}
        _print_event("end", run=str(ledger.folder), **counts, stopped=stopped, code=code)
    if code:
        _err.print(_ending(after, stopped, failures, ledger.folder))
        raise typer.Exit(code)


def _run_watched(
    ledger: Ledger, sweep: Sweep, cpus: int, before: State, *, json_lines: bool, in_cluster: bool
) -> tuple[str | None, tuple[str, ...]]:
    """Why the run stopped before its end, if it did, and what failed."""
    from functools import partial

    from sweeps import runs as life
    from sweeps.display import Display, JsonLines
    from sweeps.runner import run_packs

    counts = before.planned, before.finished, life.cost_ahead(ledger, before)
    gpus = sweep.schedule.gpus_per_pack > 0
    watched = (
        JsonLines(*counts, partial(print, flush=True), gpus=gpus)
        if json_lines
        else Display(*counts, _out, gpus=gpus)
    )
    try:
        with watched as watcher:
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
        return f"{folder}: another process took the run over; it goes on there"
    reason = f": {failures[-1]}" if failures else ""
    return (
        f"{after.planned - after.finished} of {after.planned} trials have no result{reason}; "
        f"try again with: gradatlas resume {folder}"
    )


def _reported(folder: Place, out: Path | None, say: Callable[[str], None]) -> Place:
    """Where the report was written: made from a local copy, and put back, where the run is at a URL."""
    from html import escape
    from shlex import quote

    from analysis.report import write_report
    from analysis.tables import NoResultsError
    from sweeps.storage import local_copy, upload

    with local_copy(folder, "plans", "results") as local:
        if local == folder:
            return write_report(local, out, say)
        try:
            written = write_report(local, out, say)
        except NoResultsError as error:
            raise NoResultsError(str(error).replace(str(local), str(folder))) from None
        page = written.read_text(encoding="utf-8").replace(str(local), escape(quote(str(folder))))
        written.write_text(page, encoding="utf-8")
        if out is not None:
            return out
        upload(local / "report", folder / "report")
    return folder / "report" / "report.html"


def _write_report(folder: Place, out: Path | None, *, json_lines: bool = False) -> None:
    import logging

    from analysis.tables import NoResultsError

    # The analysis names files that it cannot read as warnings of its logger.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("warning: %(message)s"))
    logger = logging.getLogger("analysis")
    logger.addHandler(handler)
    try:
        with _err.status("report …") as status:
            written = _reported(folder, out, lambda doing: status.update(f"report: {doing}"))
    except NoResultsError as error:
        raise UserError(str(error)) from None
    except ValueError as error:
        raise UserError(f"{folder}: {error}") from None
    except OSError as error:
        place = out or error.filename or folder
        raise UserError(f"{place}: the report cannot be written: {error.strerror}") from None
    finally:
        logger.removeHandler(handler)
    if json_lines:
        _print_event("report", file=str(written))
    else:
        _out.print(f"report: {written}", markup=False)


@app.command()
def report(
    run: RunArgument,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where the HTML goes.")] = None,
) -> None:
    """Write the report of a run, finished or not."""
    from sweeps import runs as life
    from sweeps.ledger import Ledger

    ledger = Ledger.opened(run)
    if out is not None and (out.is_dir() or not out.name):
        raise UserError(f"--out {out}: must be a file's name, but is a folder")
    try:
        life.sweep_of(ledger)
    except UserError as error:
        _err.print(f"warning: {run}/{error}; the report takes the default limits")
    _write_report(ledger.folder, out)


def _no_results(run: Place) -> AbstractContextManager[None]:
    """Turns what the analysis cannot read into the user's message."""
    from contextlib import contextmanager

    @contextmanager
    def told() -> Iterator[None]:
        from analysis.tables import NoResultsError

        try:
            yield
        except NoResultsError as error:
            raise UserError(str(error)) from None
        except ValueError as error:
            raise UserError(f"{run}: {error}") from None

    return told()


@app.command()
def claims(
    run: RunArgument, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """Answer the study's questions from a run: verdict, effect, interval, trials."""
    from analysis import tables
    from analysis.claims import claims as claims_of
    from sweeps import analyse

    with _no_results(run):
        limits = tables.sweep_limits(tables.read_sweep(_name_of(run)))
        found = claims_of(tables.labelled(tables.scan_results(_name_of(run))[0], limits), limits)
    if as_json:
        print(analyse.claims_json(found))
    else:
        analyse.print_claims(found, _out)


@app.command()
def tables(
    run: RunArgument,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder that the tables go to.")],
) -> None:
    """Write a run's tables as Parquet and CSV: trials, layers, cells, regions, boundaries, claims, …"""
    from analysis.export import write_tables
    from sweeps import analyse

    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: must be a folder, but is a file")
    with _no_results(run), _err.status("tables …") as status:
        files = write_tables(_name_of(run), out, lambda doing: status.update(f"tables: {doing}"))
    analyse.print_files(files, _rows, _out)


def _rows(file: Path) -> int:
    import polars as pl

    return pl.scan_parquet(file, glob=False).select(pl.len()).collect().item()


@app.command()
def compare(first: RunArgument, second: RunArgument) -> None:
    """Put two runs side by side: shares, critical lines, answers."""
    from analysis.comparing import compare as compared
    from sweeps import analyse

    with _no_results(first):
        found = compared(_name_of(first), _name_of(second))
    analyse.print_comparison(found, _out)


def _name_of(run: Place) -> Path | str:
    """A run as the analysis names it: a folder, or a URL."""
    return run if isinstance(run, Path) else str(run)


@app.command()
def status(
    run: RunArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object.")] = False,
) -> None:
    """Say how far a run is, from its folder alone, also while it goes on."""
    import json

    from sweeps import runs as life
    from sweeps.ledger import Ledger

    now = life.state(Ledger.opened(run))
    if as_json:
        print(json.dumps({"run": str(run), "complete": now.is_complete} | vars(now), ensure_ascii=False))
    else:
        _out.print("\n".join(_status_lines(run, now)), markup=False)


def _status_lines(run: Path, now: State) -> list[str]:
    done = "complete" if now.is_complete else "not complete"
    lines = [
        f"{run}: {done}, {now.finished} of {now.planned} trials, {now.finished_packs} of {now.packs} packs"
    ]
    if now.proposed < now.planned:
        lines.append(f"proposed so far: {now.proposed} of {now.planned} trials")
    if now.outcomes:
        lines.append("training: " + ", ".join(f"{count} {label}" for label, count in now.outcomes.items()))
    lines += [f"cannot be read: {path}" for path in now.damaged]
    if not now.is_complete:
        lines.append(f"go on with: gradatlas resume {run}")
    return lines


@app.command()
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
    from sweeps import runs as life
    from sweeps.export import export as write
    from sweeps.ledger import Ledger

    ledger = Ledger.opened(run)
    sweep = life.sweep_of(ledger)
    written = 0
    with _err.status("export …") as status:

        def show(count: int) -> None:
            nonlocal written
            written += count
            status.update(f"export: {written} trials")

        studies = write(ledger, sweep, storage, show)
    for name, count in studies.items():
        _out.print(f"study {name}: {count} trials, in {storage}", markup=False)


@app.command(name="list")
def list_runs(
    runs: RunsOption = "runs",
) -> None:
    """List the runs of a folder."""
    from sweeps import runs as life
    from sweeps.ledger import Ledger

    folders = sorted(path.parent for path in runs.glob("*/sweep.toml"))
    if not folders:
        _out.print(f"no runs in {runs}; start one with: gradatlas run quickstart", markup=False)
    for folder in folders:
        now = life.state(Ledger(folder))
        mark = "complete" if now.is_complete else "not complete"
        _out.print(f"{folder}  {now.finished}/{now.planned} trials  {mark}", markup=False)


@app.command()
def presets() -> None:
    """List the sweeps that come with gradatlas."""
    from sweeps import runs as life
    from sweeps.spec import load_sweep

    for name, path in life.preset_files().items():
        sweep = load_sweep(path)
        _out.print(f"{name}: {sweep.question} ({sweep.trials} trials)", markup=False)


app.command()(chain.chain)
app.command()(submit.submit)
app.command()(jobs.job)


def _draw_phase_diagram(place: Any, file: Path, run: Path | None) -> None:
    from analysis.figures.phase_diagram import write_phase_diagram

    write_phase_diagram(place, file, run)


app.command()(theory.theory_command(_draw_phase_diagram))


def _draw_profile(rows: list[dict], file: Path) -> None:
    from analysis.figures.network_profile import write_profile

    write_profile(rows, file)


class _ProfileCommand(TyperCommand):
    """`profile`, whose options follow the parameters: made when it is called, because that takes torch."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        from sweeps.profile import profile_command

        return profile_command(_draw_profile).make_context(*arguments, **options)


@app.command(cls=_ProfileCommand)
def profile() -> None:
    """Measure one network at initialisation, without a sweep."""
