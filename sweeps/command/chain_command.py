"""`gradatlas chain`: the gradient of a chain's first weight, factor by factor, as tables or JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from gradatlas.sweeps.command.streams import json_text
from gradatlas.sweeps.errors import UserError

if TYPE_CHECKING:
    from gradatlas.study.chain import Chain


def chain(
    activation: Annotated[
        str, typer.Option(metavar="NAME", help="Activation function φ of every unit.", show_default=False)
    ],
    weights: Annotated[
        str,
        typer.Option(metavar="W1,W2,…", help="Weight of each unit, first unit first.", show_default=False),
    ],
    input: Annotated[
        str, typer.Option(metavar="X", help="What the first unit takes in.", show_default=False)
    ],
    biases: Annotated[
        str | None, typer.Option(metavar="B1,B2,…", help="Bias of each unit. Default: zeros.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="Y", help="The loss is ½(ŷ − Y)². Default: the loss is ŷ itself.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Take the gradient of a chain of single units apart: each factor of ∂J/∂w₁, their product, autograd."""
    from gradatlas.study.chain import chain as chain_of

    numbers = _numbers("weights", weights)
    shifts = [0.0] * len(numbers) if biases is None else _numbers("biases", biases)
    x = _number("input", input)
    goal = None if target is None else _number("target", target)
    try:
        found = chain_of(activation, weights=numbers, biases=shifts, input=x, target=goal)
    except ValueError as error:
        raise UserError(f"--{error}") from None
    if as_json:
        given = {"activation": activation, "weights": numbers, "biases": shifts, "input": x, "target": goal}
        print(json_text(given | _measured(found), indent=2))
    else:
        _print_tables(found, numbers, shifts)


def _numbers(option: str, text: str) -> list[float]:
    return [_number(option, part) for part in text.split(",")]


def _number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        listed = " separated by commas" if option in ("weights", "biases") else ""
        raise UserError(f"--{option}: must be finite numbers{listed}, but got {text!r}") from None


def _measured(chain: Chain) -> dict[str, Any]:
    """What was found, as JSON holds it: null where a number is not finite."""
    return {
        "z": [_finite(value) for value in chain.z],
        "a": [_finite(value) for value in chain.a],
        "output": _finite(chain.a[-1]),
        "loss": _finite(chain.loss),
        "factors": [{"name": factor.name, "value": _finite(factor.value)} for factor in chain.factors],
        "product": _finite(chain.product),
        "product_decades": _finite(chain.product_decades),
        "autograd": _finite(chain.autograd),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _print_tables(chain: Chain, weights: list[float], biases: list[float]) -> None:
    console = Console(highlight=False)
    units = _table("unit", "w", "b", "z", "a = φ(z)")
    for number, values in enumerate(zip(weights, biases, chain.z, chain.a, strict=True), 1):
        units.add_row(str(number), *(f"{value:.6g}" for value in values))
    factors = _table("factor", "value", "product so far")
    product = 1.0
    for factor in chain.factors:
        product *= factor.value
        factors.add_row(factor.name, f"{factor.value:.6g}", f"{product:.6g}")
    console.print(units, "", factors, "")
    console.print(f"loss J             {chain.loss:.10g}")
    console.print(f"product            {chain.product:.10g}  (10^{chain.product_decades:.4g})")
    console.print(f"autograd's ∂J/∂w₁  {chain.autograd:.10g}")


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for place, name in enumerate(columns):
        table.add_column(name, justify="left" if place == 0 else "right", no_wrap=True)
    return table
