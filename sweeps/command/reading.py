"""The commands that read a run by way of the analysis, and its pictures: the only file here that knows it."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradatlas.sweeps.command.options import ERR, OUT, RunArgument
from gradatlas.sweeps.command.voice import Voice, voice_of
from gradatlas.sweeps.errors import UserError, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gradatlas.sweeps.store.location import Location


def _reported(folder: Location, out: Path | None, say: Callable[[str], None]) -> Path | Location:
    """Where the report was written: made from a local copy, and put back, where the run is at a URL."""
    from html import escape
    from shlex import quote

    from gradatlas.analysis.reading.tables import NoResultsError
    from gradatlas.analysis.report import write_report as write
    from gradatlas.sweeps.store.location import upload

    with folder.local_copy("plans", "results") as local:
        if str(local) == str(folder):
            return write(local, out, say)
        try:
            written = write(local, out, say)
        except NoResultsError as error:
            raise NoResultsError(str(error).replace(str(local), str(folder))) from None
        page = written.read_text(encoding="utf-8").replace(str(local), escape(quote(str(folder))))
        written.write_text(page, encoding="utf-8")
        if out is not None:
            return out
        upload(local / "report", folder / "report")
    return folder / "report" / "report.html"


def write_report(folder: Location, out: Path | None = None, *, voice: Voice) -> None:
    """Writes the report of a run's folder and says where it is."""
    from gradatlas.analysis.reading.tables import NoResultsError

    try:
        with _warnings(), ERR.status("report …") as status:
            written = _reported(folder, out, lambda doing: status.update(f"report: {doing}"))
    except NoResultsError as error:
        raise UserError(str(error)) from None
    except ValueError as error:
        raise UserError(f"{folder}: {error}") from None
    except OSError as error:
        file = out or error.filename or folder
        raise UserError(f"{file}: the report cannot be written: {reason_of(error)}") from None
    voice.wrote_report(written)


def report(
    run: RunArgument,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where the HTML goes.")] = None,
) -> None:
    """Write the report of a run, finished or not."""
    from gradatlas.sweeps.running.runs import sweep_of
    from gradatlas.sweeps.store.ledger import Ledger

    ledger = Ledger.opened(run)
    if out is not None and (out.is_dir() or not out.name):
        raise UserError(f"--out {out}: must be a file's name, but is a folder")
    try:
        sweep_of(ledger)
    except UserError as error:
        ERR.print(f"warning: {run}/{error}; the report takes the default limits")
    write_report(ledger.folder, out, voice=voice_of(json_lines=False))


@contextmanager
def _warnings() -> Iterator[None]:
    """Shows what the analysis leaves out, which it names as warnings of its logger."""
    import logging

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("warning: %(message)s"))
    logger = logging.getLogger("gradatlas.analysis")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextmanager
def _no_results(run: Location) -> Iterator[None]:
    """Turns what the analysis cannot read into the user's message."""
    from gradatlas.analysis.reading.tables import NoResultsError

    try:
        with _warnings():
            yield
    except NoResultsError as error:
        raise UserError(str(error)) from None
    except ValueError as error:
        raise UserError(f"{run}: {error}") from None


def claims(
    run: RunArgument, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """Answer the study's questions from a run: verdict, effect, interval, trials."""
    from gradatlas.analysis.claims import claims as claims_of
    from gradatlas.analysis.reading import tables
    from gradatlas.sweeps.command import printing as analyse

    with _no_results(run):
        limits = tables.sweep_limits(tables.read_sweep(str(run)))
        found = claims_of(tables.labelled(tables.scan_results(str(run))[0], limits), limits)
    if as_json:
        print(analyse.claims_json(found))
    else:
        analyse.print_claims(found, OUT)


def tables(
    run: RunArgument,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder that the tables go to.")],
) -> None:
    """Write a run's tables as Parquet and CSV: trials, layers, cells, regions, boundaries, claims, …"""
    from gradatlas.analysis.table_files import write_tables
    from gradatlas.sweeps.command import printing as analyse

    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: must be a folder, but is a file")
    with _no_results(run), ERR.status("tables …") as status:
        files = write_tables(str(run), out, lambda doing: status.update(f"tables: {doing}"))
    analyse.print_files(files, _rows, OUT)


def _rows(file: Path) -> int:
    import polars as pl

    return int(pl.scan_parquet(file, glob=False).select(pl.len()).collect().item())


def compare(first: RunArgument, second: RunArgument) -> None:
    """Put two runs side by side: shares, critical lines, answers."""
    from gradatlas.analysis.comparing import compare as compared
    from gradatlas.sweeps.command import printing as analyse

    with _no_results(first):
        found = compared(str(first), str(second))
    analyse.print_comparison(found, OUT)


def draw_phase_diagram(point: Any, file: Path, run: Path | None) -> None:
    """The plane of a phase diagram as a picture, with a run's networks on it."""
    from gradatlas.analysis.figures.phase_diagram import write_phase_diagram

    write_phase_diagram(point, file, run)


def draw_profile(rows: list[dict[str, Any]], file: Path) -> None:
    """The rows of `gradatlas profile` as a picture."""
    from gradatlas.analysis.figures.network_profile import write_profile

    write_profile(rows, file)
