"""What a figure is: a table function that makes all decisions, a drawing function, and words about both."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from matplotlib.figure import Figure

from gradatlas.analysis.figures.theme import Layout, theme
from gradatlas.analysis.reading.panels import MAX_PANELS
from gradatlas.study.regimes import Limits

MOST_VECTORS = 400  # marks of a figure; more are drawn as an image, which keeps the file small
_DPI = {".png": 160, ".svg": 100}  # of images, and of the parts of a vector file that are images


@dataclass(frozen=True)
class Drawing:
    """What a drawing function gets: the figure's table, the run's limits, the layout."""

    table: pl.DataFrame
    limits: Limits
    layout: Layout


@dataclass(frozen=True)
class Plot:
    """One figure of the report. `table` takes labelled trials; where it is empty `absent` is said instead.

    `section` is the report's: map, theory, answers, training, mitigations, layers, importance. A figure that
    shows one thing says it in its title, by `finding` of its table and the limits; `title` is for where there
    is no table, and for figures without.
    """

    name: str
    title: str
    section: str
    table: Callable[[pl.LazyFrame, Limits], pl.DataFrame]
    draw: Callable[[Drawing], Figure]
    reading: Callable[[pl.DataFrame, Limits], str]
    alt: Callable[[pl.DataFrame, Limits], str]
    absent: str
    finding: Callable[[pl.DataFrame, Limits], str] | None = None

    def heading(self, table: pl.DataFrame, limits: Limits) -> str:
        """The title over the figure of a table that is not empty."""
        return self.finding(table, limits) if self.finding else self.title


def save(plot: Plot, drawing: Drawing, files: list[Path]) -> tuple[float, float]:
    """Draw once, write each file in the format of its suffix; returns the size in CSS pixels."""
    with theme(drawing.layout):
        figure = plot.draw(drawing)
        for file in files:
            # Without a date the same figure is the same file.
            metadata = {"Date": None} if file.suffix == ".svg" else {}
            figure.savefig(file, dpi=_DPI[file.suffix], metadata=metadata)
            if file.suffix == ".svg":
                file.write_text(_slim(file.read_text(encoding="utf-8")), encoding="utf-8")
    width, height = figure.get_size_inches()
    return float(width * 96), float(height * 96)


_PATH = re.compile(r' (?:d|x|y|x1|x2|y1|y2|width|height)="[^"]*"')
_DECIMALS = re.compile(r"(\.\d\d)\d+")


def _slim(svg: str) -> str:
    """The same picture with coordinates to a hundredth of a point and no indentation: about half the size."""
    rounded = _PATH.sub(lambda found: _DECIMALS.sub(r"\1", found[0]), svg)
    return re.sub(r"\n\s*", "\n", rounded)


def panels_shown(table: pl.DataFrame) -> str:
    """A sentence where there are more panels than are drawn, else nothing."""
    total = table["panels"][0]
    return f" The first {MAX_PANELS} of {total} panels are shown." if total > MAX_PANELS else ""
