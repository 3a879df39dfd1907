"""The commands that read a finished run: claims, tables, compare. What they show, and nothing else.

The analysis hands in its functions: this package does not import it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gradatlas.sweeps.command.streams import json_text

_STYLES = {"yes": "green", "no": "red", "depends": "yellow", "undecided": "magenta", "not tested": "dim"}


def claims_json(claims: Iterable[Any]) -> str:
    """The claims as a JSON list; a number that is not finite is null."""
    listed = [{name: _finite(value) for name, value in claim.as_json().items()} for claim in claims]
    return json_text(listed, indent=2, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and value - value != 0 else value


def print_claims(claims: Iterable[Any], console: Console) -> None:
    """Question, verdict, answer of each, and what would test what was not tested."""
    for claim in claims:
        console.print(Text.assemble((f"{claim.id:>3}  ", "bold"), claim.question))
        trials = f"  ({claim.n:,} trials)" if claim.n else ""
        console.print(Text.assemble("     ", (claim.said, _STYLES[claim.verdict]), trials))
        console.print(Text(f"     {claim.answer}"))
        if claim.to_run:
            console.print(Text(f"     To run: {claim.to_run}", style="dim"))


def print_files(files: Iterable[Path], rows: Callable[[Path], int], console: Console) -> None:
    """Each Parquet table with its rows, and the formats it was written in."""
    listed = list(files)
    for file in listed:
        if file.suffix == ".parquet":
            formats = "Parquet, CSV" if file.with_suffix(".csv") in listed else "Parquet (too long for CSV)"
            console.print(f"{file.stem:12} {rows(file):>12,} rows  {formats}", markup=False)


def print_comparison(comparison: Any, console: Console) -> None:
    """Notes and three tables."""
    first, second = comparison.names
    console.print(f"{first} and {second}", style="bold", markup=False)
    for note in comparison.notes:
        console.print(f"note: {note}", markup=False)
    _print_shares(comparison.shares, console)
    _print_lines(comparison.boundaries, console)
    _print_verdicts(comparison.claims, console)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column in ("setting", "label", "question") else "right")
    return table


def _print_shares(shares: Any, console: Console) -> None:
    table = _table(
        "Shares of cells, and their difference at the same depth and σ_w, in points",
        *("setting", "label", "first", "second", "difference", "95 % interval"),
    )
    for row in shares.iter_rows(named=True):
        setting = " · ".join(str(row[name]) for name in ("activation", "norm", "skip"))
        own = (f"{100 * row[name]:.0f} %" for name in ("first", "second"))
        ends = f"{100 * row['low']:+.0f} to {100 * row['high']:+.0f}"
        table.add_row(setting, row["what"], *own, f"{100 * row['difference']:+.0f}", ends)
    console.print(table if table.row_count else "No setting has enough cells in both runs to compare.")


def _print_lines(lines: Any, console: Console) -> None:
    table = _table("Critical σ_w", "setting", "depth", "first", "second", "second / first", "apart")
    for row in lines.iter_rows(named=True):
        setting = " · ".join(str(row[name]) for name in ("part", "activation", "norm", "skip"))
        ends = [
            f"{row[f'critical_sigma_w{end}']:.3g} ({row[f'low{end}']:.3g}–{row[f'high{end}']:.3g})"
            for end in ("", "_second")
        ]
        depth = f"{row['depth_low']}–{row['depth_high']}"
        table.add_row(setting, depth, *ends, f"{row['ratio']:.3f}", "yes" if row["apart"] else "no")
    if table.row_count:
        console.print(table)


def _print_verdicts(verdicts: Any, console: Console) -> None:
    table = _table("Answers", "id", "question", "first", "second")
    for row in verdicts.iter_rows(named=True):
        both = (row["verdict"], row["verdict_second"])
        if both != ("not tested", "not tested"):
            mark = "" if both[0] == both[1] else " ≠"
            table.add_row(row["id"], row["question"], both[0], both[1] + mark)
    if table.row_count:
        console.print(table)
