"""The command. Heavy libraries are imported inside the commands that need them."""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer._click.exceptions import NoArgsIsHelpError, UsageError  # typer offers only their subclasses
from typer.core import TyperCommand

from gradatlas.sweeps import jobs
from gradatlas.sweeps.command import chain_command as chain
from gradatlas.sweeps.command import overview, reading
from gradatlas.sweeps.command import theory_command as theory
from gradatlas.sweeps.command.execution import execute
from gradatlas.sweeps.command.options import (
    ERR,
    OUT,
    Address,
    Insecure,
    JsonOutput,
    NoReport,
    RunArgument,
    RunsOption,
    TakeOver,
    print_notes,
    reject_bad_arguments,
)
from gradatlas.sweeps.command.streams import lasting_streams
from gradatlas.sweeps.command.voice import voice_of
from gradatlas.sweeps.errors import FAILURE, USER_ERROR, UserError, masked, said_of
from gradatlas.sweeps.workers import submit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gradatlas.sweeps.command.voice import Voice
    from gradatlas.sweeps.planning.machine import Node
    from gradatlas.sweeps.spec.sweep import Sweep
    from gradatlas.sweeps.store.ledger import Ledger
    from gradatlas.sweeps.store.location import Location

app = typer.Typer(
    name="gradatlas",
    help="Sweeps of vanishing and exploding gradients: run them, resume them, report on them.",
    epilog="Start with: gradatlas run quickstart",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Runs the command; a user's mistake is one line and exit code 2."""
    code = 0
    try:
        with lasting_streams():
            code = _called()
    except OSError as error:  # what was to be shown is lost: a full disk
        code = code or FAILURE
        with suppress(OSError, AttributeError):
            sys.stderr.write(f"gradatlas: {said_of(error)}\n")
    sys.exit(code)


def _called() -> int:
    """The exit code of the command that the arguments name."""
    try:
        reject_bad_arguments(sys.argv[1:])
        return app(standalone_mode=False, prog_name="gradatlas") or 0
    except NoArgsIsHelpError:  # the help has been printed
        return USER_ERROR
    except UsageError as error:
        command = error.ctx.command_path if error.ctx else "gradatlas"
        return _told(f"{command}: {_sentence(error.format_message())}; see: {command} --help", USER_ERROR)
    except UserError as error:
        return _told(f"gradatlas: {error}", USER_ERROR)
    except OverflowError as error:
        return _told(f"gradatlas: a number is too large to compute with: {error}", USER_ERROR)
    except OSError as error:
        return _told(f"gradatlas: {said_of(error)}", FAILURE)
    except MemoryError as error:
        said = f" ({error})" if str(error) else ""
        return _told(f"gradatlas: there is not enough memory for this{said}", FAILURE)


def _told(message: str, code: int) -> int:
    ERR.print(masked(message))
    return code


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
    insecure: Insecure = False,
    go_on: Annotated[
        bool, typer.Option("--resume", help="Go on with the run of this --name where there is one.")
    ] = False,
    take_over: TakeOver = False,
    no_report: NoReport = False,
    json_lines: JsonOutput = False,
) -> None:
    """Run a sweep on this machine, or on a cluster, and write its report."""
    from gradatlas.sweeps.planning.impossible import reject_impossible
    from gradatlas.sweeps.running.runs import plan_run, run_folder
    from gradatlas.sweeps.running.starting import RunExistsError, new_run
    from gradatlas.sweeps.spec.presets import spec_file
    from gradatlas.sweeps.spec.sweep import load_sweep
    from gradatlas.sweeps.spec.task_files import task_notes
    from gradatlas.sweeps.store.ledger import Ledger

    file = spec_file(spec)
    sweep = load_sweep(file, tuple(overrides or ()))
    folder = run_folder(sweep, file, runs=runs, name=name)
    if go_on:
        if name is None:
            raise UserError("--resume: resumes the run of a name; add --name NAME")
        if not dry_run and Ledger(folder).is_begun:
            resume(folder, cpus, no_report, json_lines, take_over, address, insecure)
            return
    with _machines(sweep, cpus, address, insecure=insecure) as nodes:
        reject_impossible(sweep, nodes)
        notes = task_notes(sweep.document)
        used = sum(node.cpus for node in nodes)
        if dry_run:
            from gradatlas.sweeps.planning.forecast import forecast

            print_notes(notes)
            OUT.print(forecast(sweep, nodes), markup=False)
            return
        voice, machines = voice_of(json_lines=json_lines), f"{used} CPUs"
        machines += f" of {len(nodes)} nodes" if address else ""
        try:
            with new_run(folder, spec, used, numbered=name is None, take_over=take_over) as ledger:
                voice.plans(sweep.trials, machines, ledger.folder)
                print_notes(notes)
                plan_run(ledger, sweep, nodes)
                report = _reporter(no_report, voice)
                execute(ledger, sweep, nodes, voice=voice, report=report, in_cluster=bool(address))
            return
        except RunExistsError:
            if not go_on:
                raise
    # Another command began it meanwhile.
    resume(folder, cpus, no_report, json_lines, take_over, address, insecure)


@contextmanager
def _machines(sweep: Sweep, cpus: int | None, address: str | None, *, insecure: bool) -> Iterator[list[Node]]:
    """The machines that packs run on; a cluster is joined for as long as this lasts."""
    from gradatlas.sweeps.planning.impossible import reject_too_many_cpus
    from gradatlas.sweeps.planning.machine import this_node
    from gradatlas.sweeps.running.runs import usable_cpus

    if insecure and address is None:
        raise UserError("--insecure: is for a cluster; add --address, or leave it")
    if address is None:
        with_gpus = sweep.schedule.gpus_per_pack > 0
        node = this_node(usable_cpus(sweep, cpus), with_gpus=with_gpus)
        reject_too_many_cpus(node, "schedule.cpus" if cpus is None else "--cpus")
        yield [node]
        return
    if cpus is not None:
        raise UserError("--cpus: is for a Ray of this machine alone; leave it or --address")
    from gradatlas.sweeps.workers import cluster

    with cluster.joined(address, insecure=insecure):
        yield cluster.nodes()


@app.command()
def resume(
    run: RunArgument,
    cpus: Annotated[int | None, typer.Option(metavar="N", min=1)] = None,
    no_report: NoReport = False,
    json_lines: JsonOutput = False,
    take_over: TakeOver = False,
    address: Address = None,
    insecure: Insecure = False,
) -> None:
    """Go on with a run that was stopped; a finished one is left as it is."""
    from gradatlas.sweeps.running.runs import state
    from gradatlas.sweeps.store.ledger import Ledger

    ledger, voice = Ledger.opened(run), voice_of(json_lines=json_lines)
    now = state(ledger)
    if now.is_complete:
        voice.is_complete(now, run)
        return
    _go_on(ledger, cpus, address, insecure=insecure, voice=voice, no_report=no_report, take_over=take_over)


@app.command()
def extend(
    run: RunArgument,
    points: Annotated[int, typer.Option(metavar="N", min=1, help="Points more, in every part of the sweep.")],
    cpus: Annotated[int | None, typer.Option(metavar="N", min=1)] = None,
    no_report: NoReport = False,
    json_lines: JsonOutput = False,
    take_over: TakeOver = False,
    address: Address = None,
    insecure: Insecure = False,
) -> None:
    """Add points to a run, finished or not, and run what has no result; what is there stays."""
    from gradatlas.sweeps.store.ledger import Ledger

    ledger = Ledger.opened(run)
    voice = voice_of(json_lines=json_lines)
    _go_on(
        ledger,
        cpus,
        address,
        insecure=insecure,
        voice=voice,
        points=points,
        no_report=no_report,
        take_over=take_over,
    )


def _go_on(
    ledger: Ledger,
    cpus: int | None,
    address: str | None,
    *,
    insecure: bool,
    voice: Voice,
    points: int = 0,
    no_report: bool,
    take_over: bool,
) -> None:
    """Runs what a run has no result of, and `points` more in every part."""
    from gradatlas.sweeps.running.runs import sweep_of

    sweep = sweep_of(ledger, may_import=True)
    with _machines(sweep, cpus, address, insecure=insecure) as nodes:
        execute(
            ledger,
            sweep,
            nodes,
            voice=voice,
            more_points=points,
            report=_reporter(no_report, voice),
            take_over=take_over,
            in_cluster=address is not None,
        )


def _reporter(no_report: bool, voice: Voice) -> Callable[[Location], None] | None:
    """What writes the report at a run's end, if anything does."""
    return None if no_report else partial(reading.write_report, voice=voice)


app.command()(reading.report)
app.command()(reading.claims)
app.command()(reading.tables)
app.command()(reading.compare)
app.command()(overview.status)
app.command()(overview.export)
app.command(name="list")(overview.list_runs)
app.command()(overview.presets)
app.command()(chain.chain)
app.command()(submit.submit)
app.command()(jobs.job)


app.command()(theory.theory_command(reading.draw_phase_diagram))


class _ProfileCommand(TyperCommand):
    """`profile`, whose options follow the parameters: made when it is called, because that takes torch."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        from gradatlas.sweeps.command.profile_command import profile_command

        return profile_command(reading.draw_profile).make_context(*arguments, **options)


@app.command(cls=_ProfileCommand)
def profile() -> None:
    """Measure one network at initialisation, without a sweep."""
