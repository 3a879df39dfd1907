"""The report of a run: one HTML file that opens from disk and needs neither network nor script."""

from __future__ import annotations

import base64
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import polars as pl
from markupsafe import Markup, escape

from analysis import words
from analysis.figures import FIGURES, Drawing, Plot, save
from analysis.figures.theme import NARROW, WIDE
from analysis.page import Ledger, context, read_ledger
from analysis.tables import NoResultsError

Progress = Callable[[str], None]

_log = logging.getLogger(__name__)

__all__ = ["NoResultsError", "write_report"]


def write_report(run: Path, out: Path | None = None, on_progress: Progress | None = None) -> Path:
    """Write RUN/report/report.html and RUN/report/figures/*.{svg,png}; returns the HTML file's path.

    With `out` only that one file is written. Files that cannot be read are named in the report and logged as
    warnings of `analysis.report`, one line each. Raises NoResultsError where no result can be read.
    """
    say = on_progress or (lambda message: None)
    try:
        return _write(read_ledger(run), out, say)
    except pl.exceptions.PolarsError:
        # A file whose footer is sound and whose data are not shows only when its data are read.
        return _write(read_ledger(run, thorough=True), out, say)


def _write(ledger: Ledger, out: Path | None, say: Progress) -> Path:
    for fault in ledger.unreadable:
        _log.warning("%s: left out of the report: %s", ledger.run, fault)
    target = out or ledger.run / "report" / "report.html"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) if out else ledger.run / "report" / "figures"
        folder.mkdir(parents=True, exist_ok=True)
        figures = {name: _figure(plot, ledger, folder, Path(scratch), say) for name, plot in FIGURES.items()}
    html = _template().render(**context(ledger, figures))
    target.parent.mkdir(parents=True, exist_ok=True)
    whole = target.with_name(f".{target.name}.part")
    whole.write_text(html, encoding="utf-8")
    whole.replace(target)
    say(f"wrote {target}")
    return target


def _figure(plot: Plot, ledger: Ledger, folder: Path, scratch: Path, say: Progress) -> dict[str, Any]:
    """What the template needs of a figure; writes its files."""
    say(f"drawing {plot.name.replace('_', ' ')}")
    files = [folder / f"{plot.name}.{suffix}" for suffix in ("svg", "png")]
    for file in files:
        file.unlink(missing_ok=True)
    table = plot.table(ledger.trials)
    if table.is_empty():
        return {"title": plot.title, "absent": plot.absent}
    phone = scratch / f"{plot.name}-narrow.svg"
    wide = save(plot, Drawing(table, ledger.limits, WIDE), files)
    narrow = save(plot, Drawing(table, ledger.limits, NARROW), [phone])
    return {
        "name": plot.name,
        "title": plot.title,
        "absent": "",
        "reading": plot.reading(table, ledger.limits),
        "alt": plot.alt(table, ledger.limits),
        "wide": {"source": _data_uri(files[0]), "width": round(wide[0]), "height": round(wide[1])},
        "narrow": {"source": _data_uri(phone), "width": round(narrow[0]), "height": round(narrow[1])},
    }


def _data_uri(file: Path) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(file.read_bytes()).decode()}"


def _formulas(text: str) -> Markup:
    """Escaped text with the index of σ_w set low."""
    return Markup(str(escape(text)).replace("σ_w", "σ<sub>w</sub>"))


def _template() -> jinja2.Template:
    # The names in a sweep are the user's: everything is escaped, and a missing value is an error.
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": words.percent, "number": words.number, "formulas": _formulas}
    return environment.get_template("report.html.jinja")
