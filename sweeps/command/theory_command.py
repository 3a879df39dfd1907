"""`gradatlas theory`: what mean-field theory says of a network, as a table, as JSON or as a phase diagram."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from gradatlas.sweeps.command.streams import json_text
from gradatlas.sweeps.errors import UserError, reason_of

if TYPE_CHECKING:
    from gradatlas.study.theory.phase import PhasePoint

Draw = Callable[["PhasePoint", Path, Path | None], None]
_OPTIONS = (
    "activation", "sigma_w", "sigma_b", "depth", "width", "norm", "norm_position", "skip", "batch_size",
    "input_std", "family", "critical", "plot", "measured",
)  # fmt: skip
SUFFIXES = (".png", ".svg", ".pdf")


# The command's options, by their names.
ActivationName = Annotated[
    str | None, typer.Option(metavar="NAME", help="Activation function. Default: a row for each.")
]
SigmaW = Annotated[str | None, typer.Option(metavar="W", help="σ_w, weight deviation × √fan-in. Default: 1.")]
SigmaB = Annotated[str, typer.Option(metavar="S", help="σ_b, the biases' deviation.")]
Critical = Annotated[bool, typer.Option("--critical", help="At the critical σ_w instead of --sigma-w.")]
Depth = Annotated[
    str | None, typer.Option(metavar="L", help="Predict G, slope and stable window at this depth.")
]
Width = Annotated[str, typer.Option(metavar="N", help="Units per layer.")]
Norm = Annotated[str, typer.Option(metavar="NAME", help="none, batch, layer.")]
NormPosition = Annotated[str, typer.Option(metavar="NAME", help="before, after (φ).")]
Skip = Annotated[str, typer.Option(metavar="NAME", help="none, residual, preactivation, scaled.")]
BatchSize = Annotated[str, typer.Option(metavar="B", help="Inputs that G is averaged over.")]
InputStd = Annotated[str, typer.Option(metavar="X", help="Deviation of the Gaussian inputs.")]
Family = Annotated[str, typer.Option(metavar="NAME", help="mlp, rnn (lstm, gru: no theory).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON list of objects.")]
Plot = Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the phase diagram (.png, .svg, .pdf).")]
Measured = Annotated[
    Path | None, typer.Option(metavar="RUN", help="Put a run's measured slopes on the diagram.")
]


def theory_command(draw: Draw) -> Callable[..., None]:
    """The command; `draw(point, file, run)` is what `--plot` calls."""

    def theory(
        activation: ActivationName = None,
        sigma_w: SigmaW = None,
        sigma_b: SigmaB = "0",
        critical: Critical = False,
        depth: Depth = None,
        width: Width = "64",
        norm: Norm = "none",
        norm_position: NormPosition = "before",
        skip: Skip = "none",
        batch_size: BatchSize = "64",
        input_std: InputStd = "1",
        family: Family = "mlp",
        as_json: AsJson = False,
        plot: Plot = None,
        measured: Measured = None,
    ) -> None:
        """Say what mean-field theory predicts: χ, slope, depth scale, critical weights, the stable window."""
        _reject_bad_output(as_json, plot, measured, activation)
        asked = {
            "activation": activation,
            "sigma_w": None if sigma_w is None else _number(sigma_w),
            "sigma_b": _number(sigma_b),
            "width": _number(width, int),
            "input_std": _number(input_std),
            "family": family,
            "norm": norm,
            "norm_position": norm_position,
            "skip": skip,
            "batch_size": _number(batch_size, int),
        }
        layers = None if depth is None else _number(depth, int)
        with _options_named():
            from gradatlas.study.one_network import theory_points, theory_rows

            if plot is not None:
                _write(draw, theory_points(**asked)[0], plot, measured)
            else:
                _show(theory_rows(**asked, depth=layers, critical=critical), as_json, critical)

    return theory


@contextmanager
def _options_named() -> Iterator[None]:
    """Puts what the study refuses in the words of the command's options."""
    try:
        yield
    except UserError:
        raise
    except ValueError as error:
        raise UserError(_of_an_option(str(error))) from None


def _of_an_option(message: str) -> str:
    """A message that begins with a field's name, with that of its option; others are about the run."""
    name, _, rule = message.partition(":")
    known = name in _OPTIONS
    return f"--{name.replace('_', '-')}:{rule}" if known else f"--measured: {message}"


def _number(text: str, kind: type[int] | type[float] = float) -> Any:
    """The number that was meant; text that is none comes back, to be refused with the rule."""
    try:
        return kind(text)
    except ValueError:
        return text


def _reject_bad_output(
    as_json: bool, plot: Path | None, measured: Path | None, activation: str | None
) -> None:
    if plot is None:
        if measured is not None:
            raise UserError("--measured: puts points on a phase diagram; add --plot FILE")
        return
    if as_json:
        raise UserError("--plot: cannot be combined with --json; leave one")
    if activation is None:
        raise UserError("--plot: draws the diagram of one activation; add --activation NAME")
    if plot.suffix.lower() not in SUFFIXES:
        raise UserError(f"--plot: must end in one of {', '.join(SUFFIXES)}, but got '{plot}'")
    if not plot.parent.is_dir():
        raise UserError(f"--plot: {plot} must lie in a folder that exists, but '{plot.parent}' is none")


def _write(draw: Draw, point: PhasePoint, file: Path, run: Path | None) -> None:
    try:
        draw(point, file, run)
    except OSError as error:
        raise UserError(f"--plot: {error.filename or file}: {reason_of(error)}") from None
    Console(highlight=False, soft_wrap=True).print(f"plot: {file}", markup=False)


def _show(rows: Sequence[dict[str, Any]], as_json: bool, critical: bool) -> None:
    if as_json:
        from gradatlas.study.one_network import plain

        print(json_text(plain(rows), indent=2))
    else:
        _print(rows, critical=critical)


def _print(rows: Sequence[dict[str, Any]], *, critical: bool) -> None:
    console = Console(highlight=False, soft_wrap=True)
    deep = rows[0]["depth"] is not None
    heads = ["activation", "σ_w", "χ"] + ([] if critical else ["critical σ_w"])
    heads += ["G", "± seeds", "stable window"] if deep else ["slope", "ξ", "q*", "c*", "ξ_c"]
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for place, head in enumerate(heads):
        table.add_column(head, justify="right" if place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*_cells(row, critical=critical, deep=deep))
    console.print(_headline(rows[0]) + "\n", markup=False)
    console.print(table)
    meaning = (
        "G: decades from the last layer to the first; window: of σ_w where G stays within ±1.3."
        if deep
        else "slope: ½ log10 χ, decades per layer; ξ: depth scale in layers; q*: variance of a deep layer;\n"
        "c*: cosine of two inputs there; ξ_c: layers over which their distance from it shrinks by e."
    )
    console.print("\nχ: growth of E|δ|² per layer.\n" + meaning, markup=False)
    for row in rows:
        if row["note"]:
            console.print(f"{row['activation']}: {row['note']}", markup=False)


def _headline(row: dict[str, Any]) -> str:
    parts = [row["family"], f"σ_b {row['sigma_b']:g}", f"width {row['width']}"]
    if row["depth"] is not None:
        parts.insert(1, f"depth {row['depth']}")
    if row["norm"] != "none":
        parts.append(f"{row['norm']} norm {row['norm_position']} φ")
    if row["skip"] != "none":
        parts.append(f"{row['skip']} skip")
    return ", ".join(parts) + f"; {row['batch_size']} inputs from N(0, {row['input_std']:g}²)"


def _cells(row: dict[str, Any], *, critical: bool, deep: bool) -> list[str]:
    cells = [row["activation"], _shown(row["sigma_w"]), _shown(row["chi"])]
    cells += [] if critical else [_shown(row["critical_sigma_w"])]
    if deep:
        window = row["window"]
        ends = "–" if window is None else f"{window[0]:.4g} … {window[1]:.4g}"
        return [*cells, _shown(row["gradient_decades"], ".3f"), _shown(row["gradient_sd"], ".3f"), ends]
    return [*cells, *_asymptotic_cells(row)]


def _asymptotic_cells(row: dict[str, Any]) -> list[str]:
    """Slope, ξ, q*, c* and ξ_c, where what rounding leaves of a critical network is none."""
    if row["chi"] is None:
        return ["–"] * 5
    is_critical = abs(row["chi"] - 1) < 1e-6
    q = "∞" if row["q"] is None and row["norm"] != "batch" else _shown(row["q"], ".3g")
    return [
        "0" if is_critical else _shown(row["slope"]),
        "∞" if is_critical else _shown(row["depth_scale"]),
        q,
        _shown(row["correlation"], ".3g"),
        "∞" if is_critical and row["correlation"] else _shown(row["correlation_depth_scale"], ".3g"),
    ]


def _shown(value: float | None, form: str = ".4g") -> str:
    return "–" if value is None else format(value, f"z{form}" if "f" in form else form).replace("-", "−")
