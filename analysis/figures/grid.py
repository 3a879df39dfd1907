"""Grids of panels and their axes. Sizes are in inches, so text never meets text at any number of panels."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib.ticker
import polars as pl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from gradatlas.analysis.figures.theme import Layout

Write = Callable[[float], str]


def grid_columns(groups: Sequence[int], most: int) -> int:
    """Columns of a grid of panels, such that a group of panels fills whole rows where it can."""
    n = len(groups)
    size = max(groups.count(group) for group in set(groups))
    if n <= most:
        return n
    fitting = [columns for columns in range(most, 1, -1) if size % columns == 0 and n % columns == 0]
    if size > 1 and fitting:
        return fitting[0]
    return math.ceil(n / math.ceil(n / most))


@dataclass(frozen=True)
class Grid:
    """A figure with its panels in reading order and a strip on top for the legend."""

    figure: Figure
    panels: list[Axes]
    columns: int
    top: float  # height of the strip in inches

    @property
    def height(self) -> float:
        """Of the figure, in inches."""
        return float(self.figure.get_size_inches()[1])

    @property
    def width(self) -> float:
        """Of the figure, in inches."""
        return float(self.figure.get_size_inches()[0])


def panel_grid(
    layout: Layout,
    titles: Sequence[tuple[str, str]],
    columns: int,
    *,
    top: float,
    height: float | None = None,
    left: float = 0.62,
    foot: float = 0.0,
    gap: float = 0.17,
) -> Grid:
    """Empty panels with headings; all sizes are in inches, so text never meets text.

    `foot` is room for tick labels under every row; without it only the last row has some.
    """
    columns = max(1, min(columns, len(titles)))
    rows = math.ceil(len(titles) / columns)
    # Few rows leave room for taller panels.
    height = layout.panel_height * {1: 1.45, 2: 1.2}.get(rows, 1.0) if height is None else height
    lines = max(len(textwrap.wrap(sub, layout.wrap)) for _, sub in titles)
    head = (0.24 + 0.165 * lines) * layout.font / 9.5
    between, right, bottom = 0.14 + foot, 0.14, 0.52 + foot / 2
    width = min(layout.width, max(left + right + columns * 3.6, 0.62 * layout.width))
    panel_width = (width - left - right - gap * (columns - 1)) / columns
    total = top + rows * (height + head) + (rows - 1) * between + bottom
    figure = Figure(figsize=(width, total))
    panels = []
    for place, (heading, subheading) in enumerate(titles):
        row, column = divmod(place, columns)
        x = left + column * (panel_width + gap)
        y = total - top - (row + 1) * (height + head) - row * between
        axes = figure.add_axes((x / width, y / total, panel_width / width, height / total))
        _write_title(axes, heading, textwrap.wrap(subheading, layout.wrap), layout)
        panels.append(axes)
    return Grid(figure, panels, columns, top)


def _write_title(axes: Axes, heading: str, lines: list[str], layout: Layout) -> None:
    size = layout.font
    for place, line in enumerate(reversed(lines)):
        axes.annotate(
            line,
            (0, 1),
            xytext=(0, 4 + place * size * 1.22),
            xycoords="axes fraction",
            textcoords="offset points",
            size=size - 0.8,
            parse_math=False,
        )
    axes.annotate(
        heading,
        (0, 1),
        xytext=(0, 4 + len(lines) * size * 1.22 + 1),
        xycoords="axes fraction",
        textcoords="offset points",
        size=size + 0.5,
        weight="bold",
        parse_math=False,
    )


def label_outer(grid: Grid, x_label: str, y_label: str, *, inner_ticks: bool = False) -> None:
    """Axis labels once per figure, tick labels on the outer panels only (below, unless `inner_ticks`)."""
    total = len(grid.panels)
    for place, axes in enumerate(grid.panels):
        bottom = place + grid.columns >= total
        axes.tick_params(labelleft=place % grid.columns == 0, labelbottom=bottom or inner_ticks)
    grid.figure.text(0.5, 0.07 / grid.height, x_label, ha="center", va="bottom")
    grid.figure.text(
        0.06 / grid.width, (1 - grid.top / grid.height) / 2, y_label, rotation=90, ha="left", va="center"
    )


def titles(table: pl.DataFrame) -> list[tuple[str, str]]:
    """(heading, subheading) of each panel of a table, in order."""
    panels = table.select("panel", "heading", "subheading").unique().sort("panel")
    return list(panels.select("heading", "subheading").iter_rows())


def panel_groups(table: pl.DataFrame) -> list[int]:
    """The group of each panel: panels with the same heading that stand together."""
    headings = [heading for heading, _ in titles(table)]
    return [headings.index(heading) for heading in headings]


def octave_ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Powers of two in [low, high], at most `most`; the ends where there are fewer than two."""
    # A sweep from 0.25 has its smallest trial a little above: its tick still lies inside the map's margin.
    slack = 0.03 * math.log2(high / low)
    first, last = math.ceil(math.log2(low) - slack), math.floor(math.log2(high) + slack)
    if last <= first:
        return sorted({low, high})
    step = next(step for step in range(1, last - first + 2) if (last - first) // step < most)
    return [2.0**power for power in range(first, last + 1, step)]


def whole_numbers() -> matplotlib.ticker.Locator:
    """Ticks at whole numbers only."""
    return matplotlib.ticker.MaxNLocator(nbins=5, integer=True)


def set_log2_axis(axis: Axis, low: float, high: float, write: Write, most: int = 7) -> None:
    """Ticks in real units on an axis whose data are log2."""
    ticks = octave_ticks(low, high, most)
    axis.set_ticks([math.log2(tick) for tick in ticks], [write(tick) for tick in ticks])
    axis.set_minor_locator(matplotlib.ticker.NullLocator())
