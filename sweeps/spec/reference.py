"""The tables of docs/sweep-file.md, from the declarations: `python -m gradatlas.sweeps.spec.reference`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from gradatlas.study.trial import DEFAULTS, PARAMETERS, Parameter
from gradatlas.sweeps.spec.spec_tables import TABLES


def reference() -> str:
    """Every key of the tables and every parameter with default and meaning, and what can be chosen."""
    keys = [
        (f"`[{table}] {key}`", _shown(info.default), info.description or "")
        for table, model in TABLES.items()
        for key, info in model.model_fields.items()
    ]
    parameters = [
        (f"`{name}`", _shown(DEFAULTS[name]), _with_choices(parameter))
        for name, parameter in PARAMETERS.items()
    ]
    chosen = [
        (f"`{name}`", f"`{value}`", entry.meaning)
        for name, parameter in PARAMETERS.items()
        for value, entry in parameter.table.items()
    ]
    return "\n\n".join(
        (
            _table(("key", "default", "meaning"), keys),
            _table(("parameter", "default", "meaning"), parameters),
            _table(("parameter", "value", "meaning"), chosen),
        )
    )


def _with_choices(parameter: Parameter) -> str:
    names = ", ".join(parameter.names())
    return f"{parameter.meaning}: {names}" if len(parameter.names()) > 1 else parameter.meaning


def _shown(default: Any) -> str:
    if default is None:
        return "–"
    if isinstance(default, dict):
        return "`{}`"
    return f'`"{default}"`' if isinstance(default, str) else f"`{default:g}`"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


if __name__ == "__main__":
    print(reference())
