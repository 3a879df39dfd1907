"""The report of a run: one HTML file that opens from disk and needs no network, and `report.md` beside it."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jinja2
import polars as pl
from markupsafe import Markup, escape
from threadpoolctl import threadpool_limits

from gradatlas.analysis import words
from gradatlas.analysis.page import explorer
from gradatlas.analysis.page.context import RunContent, context, read_run
from gradatlas.analysis.page.drawing import FigureProcess, draw_figures, figure_processes
from gradatlas.analysis.reading.tables import NoResultsError

Progress = Callable[[str], None]


__all__ = ["NoResultsError", "write_report"]


def write_report(
    run: Path, out: Path | None = None, on_progress: Progress | None = None, *, workers: int | None = None
) -> Path:
    """Write RUN/report/report.html, report.md and figures/*.{svg,png}; returns the HTML file's path.

    With `out` only that one file is written. The figures are drawn in `workers` processes (default: one a
    core, at most 4). Files that cannot be read are named in the report and logged as warnings of
    `analysis.report`, one line each. Raises NoResultsError where no result can be read.
    """
    say = on_progress or (lambda message: None)
    count = min(4, os.cpu_count() or 1) if workers is None else workers
    with (
        # Small arrays beside processes that draw: threads would only wait for each other.
        threadpool_limits(1),
        tempfile.TemporaryDirectory() as scratch,
        figure_processes(Path(scratch), count) as processes,
    ):
        try:
            return _write(read_run(run), out, say, processes, Path(scratch))
        except pl.exceptions.PolarsError:
            # A file whose footer is sound and whose data are not shows only when its data are read.
            return _write(read_run(run, thorough=True), out, say, processes, Path(scratch))


def _write(
    content: RunContent, out: Path | None, say: Progress, processes: list[FigureProcess], scratch: Path
) -> Path:
    target = out or content.run / "report" / "report.html"
    say(f"read {content.size:,} trials")
    folder = scratch / "figures" if out else content.run / "report" / "figures"
    for made in () if out else (target.parent, folder):
        if made.is_symlink():  # a stranger's run folder may lead anywhere
            raise OSError(errno.ELOOP, "must not be a link", str(made))
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(2) as pool:
        scripts = pool.submit(explorer.bundle)
        drawn = pool.submit(
            draw_figures, content.drawn, content.limits, folder, scratch, processes=processes, say=say
        )
        values = context(content)
        say("counted, compared and answered")
        figures = {name: _embedded(found) for name, found in drawn.result().items()}
        rows = explorer.records(content.drawn.lazy())
        chart = Markup(explorer.embedded(rows, content.limits)) if rows else ""
        values |= {"figures": figures, "chart": chart, "bundle": Markup(scripts.result()) if rows else ""}
    _replace(target, _template("report.html.jinja", autoescape=True).render(**values))
    if not out:
        _replace(target.with_suffix(".md"), _template("report.md.jinja", autoescape=False).render(**values))
    say(f"wrote {target}")
    return target


def _replace(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = file.with_name(f".{file.name}.part")
    whole.unlink(missing_ok=True)  # which may be a link that leads elsewhere
    with whole.open("x", encoding="utf-8") as opened:
        opened.write(text)
    whole.replace(file)


def _embedded(found: Mapping[str, Any]) -> dict[str, Any]:
    """What the report says of a figure, with its pictures as data URIs."""
    if found["absent"]:
        return dict(found)
    wide, narrow = (Path(found[name]["file"]).read_bytes() for name in ("wide", "narrow"))
    # As text a picture is a quarter smaller than in base64; a srcset ends at the first space.
    sources = {"wide": _text_uri(wide), "narrow": Markup(_text_uri(narrow).replace(" ", "%20"))}
    return {**found, **{name: found[name] | {"source": source} for name, source in sources.items()}}


def _text_uri(svg: bytes) -> Markup:
    """An SVG picture as text that an attribute in double quotes may hold."""
    text = svg.decode("utf-8").replace("%", "%25").replace("#", "%23").replace("\n", " ")
    # Its own double quotes become single ones, so single ones inside them must be entities of the SVG.
    text = text.replace("&", "&amp;").replace("'", "%26apos;").replace('"', "'")
    return Markup(f"data:image/svg+xml;charset=utf-8,{text}")


def _formulas(text: str) -> Markup:
    """Escaped text with the index of σ_w set low."""
    return Markup(str(escape(text)).replace("σ_w", "σ<sub>w</sub>"))


def _plain(text: object) -> str:
    """The text on one line, its signs escaped, so that Markdown shows it as it is."""
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>#|" else sign for sign in str(text)).replace("\n", " ")


def _template(name: str, *, autoescape: bool) -> jinja2.Template:
    # The names in a sweep are the user's: everything is escaped, and a missing value is an error.
    environment = jinja2.Environment(
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.PackageLoader("gradatlas.analysis.page", ""),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": words.percent, "number": words.number, "formulas": _formulas, "plain": _plain,
    }  # fmt: skip
    return environment.get_template(name)
