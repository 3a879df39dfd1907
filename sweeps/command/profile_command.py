"""`gradatlas profile`: one network without a sweep, as tables, JSON or a picture.

The options follow the declared parameters: one that changes what is measured at initialisation is an option
here as soon as it is declared.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperCommand

from gradatlas.study.experiment import Row
from gradatlas.study.one_network import INPUT_STD, SEEDS, measured_rows, network_of
from gradatlas.study.one_network import profile as plain_profile
from gradatlas.study.single import median_row
from gradatlas.study.trial import DEFAULTS, PARAMETERS, Parameter
from gradatlas.sweeps.command.profile_tables import tables
from gradatlas.sweeps.command.streams import json_text
from gradatlas.sweeps.errors import UserError, reason_of
from gradatlas.sweeps.planning.impossible import reject_impossible_network

SUFFIXES = (".png", ".svg", ".pdf")

Draw = Callable[[list[Row], Path], None]


def profile_command(draw: Draw) -> TyperCommand:
    """The command with its options; `draw(rows, file)` is what `--plot` calls."""

    def profile(
        *, seeds: str, input_std: str | None, as_json: bool, plot: Path | None, **given: str | None
    ) -> None:
        """Measure one network at initialisation, without a sweep."""
        _reject_bad_output(as_json, plot)
        rows = _rows({name: text for name, text in given.items() if text is not None}, seeds, input_std)
        if plot is not None:
            _write(draw, rows, plot)
        elif as_json:
            print(json_text(plain_profile(rows)))
        else:
            Console(highlight=False).print(*tables(rows, median_row(rows)), sep="\n")

    options = [*_parameter_options(), *_own_options()]
    profile.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})
    app.command()(profile)
    command = typer.main.get_command(app)
    assert isinstance(command, TyperCommand)
    return command


def _parameter_options() -> Iterator[inspect.Parameter]:
    for name, parameter in PARAMETERS.items():
        if parameter.training:
            continue
        yield _option(
            name,
            str | None,
            typer.Option(
                _flag(name),
                metavar={"choice": "NAME", "integer": "N"}.get(parameter.kind, "X"),
                help=_help(name, parameter),
                rich_help_panel="Network",
            ),
            None,
        )


def _help(name: str, parameter: Parameter) -> str:
    default = "none, Gaussian inputs of the network's width" if name == "task" else DEFAULTS[name]
    values = f": {', '.join(parameter.choices)}" if parameter.kind == "choice" else ""
    return f"{parameter.meaning}{values}. Default: {default}."


def _own_options() -> list[inspect.Parameter]:
    spread = "Standard deviation of the Gaussian inputs. Default: 1."
    return [
        _option("seeds", str, typer.Option(metavar="N", help="Networks drawn, seeds 0 … N − 1."), "1"),
        _option("input_std", str | None, typer.Option("--input-std", metavar="X", help=spread), None),
        _option("as_json", bool, typer.Option("--json", help="Print one JSON object."), False),
        _option(
            "plot",
            Path | None,
            typer.Option(metavar="FILE", help=f"Draw into a file, {', '.join(SUFFIXES)}."),
            None,
        ),
    ]


def _option(name: str, kind: Any, option: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
    )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _rows(given: dict[str, str], seeds: str, input_std: str | None) -> list[Row]:
    """The rows of the options that were given; raises UserError."""
    try:
        values = {name: _value(PARAMETERS[name], text) for name, text in given.items()}
        std = None if input_std is None else _value(INPUT_STD, input_std)
        count = _value(SEEDS, seeds)
        if SEEDS.accepts(count):
            reject_impossible_network(network_of(values), count)
        return measured_rows(values, seeds=count, input_std=std)
    except ValueError as error:
        name, _, rule = str(error).partition(":")
        is_option = name in PARAMETERS or name in ("seeds", "input_std")
        raise UserError(f"{_flag(name)}:{rule}" if is_option else str(error)) from None


def _value(parameter: Parameter, text: str) -> Any:
    """The number that was meant; text that is none comes back, to be refused with the rule."""
    if parameter.kind == "choice":
        return text
    try:
        return int(text) if parameter.kind == "integer" else float(text)
    except ValueError:
        return text


def _reject_bad_output(as_json: bool, plot: Path | None) -> None:
    if plot is None:
        return
    if as_json:
        raise UserError("--plot: cannot be combined with --json; leave one")
    if plot.suffix.lower() not in SUFFIXES:
        raise UserError(f"--plot: must end in one of {', '.join(SUFFIXES)}, but got '{plot}'")
    if not plot.parent.is_dir():
        raise UserError(f"--plot: {plot} must lie in a folder that exists, but '{plot.parent}' is none")


def _write(draw: Draw, rows: list[Row], file: Path) -> None:
    try:
        draw(rows, file)
    except OSError as error:
        raise UserError(f"--plot: {file} cannot be written: {reason_of(error)}") from None
    Console(highlight=False, soft_wrap=True).print(f"plot: {file}", markup=False)
