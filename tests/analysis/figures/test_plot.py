"""Every figure in both layouts: text can be read, marks are in their panels, ticks say where they are."""

from __future__ import annotations

from functools import cache
from itertools import combinations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from gradatlas.analysis.figures import theme
from gradatlas.analysis.figures.plot import Drawing
from gradatlas.analysis.figures.registry import FIGURES
from gradatlas.study.regimes import Limits
from tests.analysis.conftest import rich_rows, trials

CASES = [(name, layout) for name in FIGURES for layout in (theme.WIDE, theme.NARROW)]
each_figure = pytest.mark.parametrize(("name", "layout"), CASES, ids=lambda case: getattr(case, "name", case))
# The two axes share a corner: the first tick of one may stand beside the first of the other.
TOUCHING = 1.5


@cache
def _table(name: str):
    return FIGURES[name].table(trials(rich_rows()), Limits())


@cache
def _drawn(name: str, layout: theme.Layout) -> Figure:
    with theme.theme(layout):
        figure = FIGURES[name].draw(Drawing(_table(name), Limits(), layout))
        FigureCanvasAgg(figure).draw()
    return figure


def _ticks(axis: Axis) -> list[tuple[float, Text]]:
    """The labelled ticks that are in view; others exist and are not drawn."""
    low, high = sorted(axis.get_view_interval())
    slack = 1e-6 * (high - low)
    ticks = [(tick.get_loc(), tick.label1) for tick in axis.get_major_ticks()]
    shown = [(at, text) for at, text in ticks if text.get_visible() and text.get_text().strip()]
    return [(at, text) for at, text in shown if low - slack <= at <= high + slack]


def _texts(figure: Figure) -> list[tuple[str, Bbox, float]]:
    """All texts that are drawn, with where they are and how they are turned."""
    both = [axis for axes in figure.axes if axes.axison for axis in (axes.xaxis, axes.yaxis)]
    labels = {
        id(text)
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        for text in (tick.label1, tick.label2)
    }
    shown = {id(text) for axis in both for _, text in _ticks(axis)}
    found = {
        id(text): text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()
    }
    drawn = [text for number, text in found.items() if number not in labels or number in shown]
    return [(text.get_text(), text.get_window_extent(), text.get_rotation()) for text in drawn]


@pytest.mark.thorough
@each_figure
def test_no_text_leaves_its_figure_or_meets_another(name: str, layout: theme.Layout) -> None:
    figure = _drawn(name, layout)
    texts = _texts(figure)
    whole = figure.bbox
    for text, box, _ in texts:
        assert min(box.x0, box.y0, whole.x1 - box.x1, whole.y1 - box.y1) > -1, text
    straight = [(text, box) for text, box, rotation in texts if rotation % 90 == 0]
    for (one, a), (other, b) in combinations(straight, 2):
        across, along = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert min(across, along) < TOUCHING, f"{one} meets {other}"


def _marks(axes: Axes) -> np.ndarray:
    """Where marks and the ends of bars are, in the panel's own coordinates."""
    clouds = [each for each in axes.collections if isinstance(each, PathCollection)]
    lines = [each for each in axes.lines if each.get_marker() in ("o", "s", "D", "^", "v", "x", "X")]
    bars = [each for each in axes.patches if isinstance(each, Rectangle)]
    places = [
        *(cloud.get_offset_transform().transform(np.ma.getdata(cloud.get_offsets())) for cloud in clouds),
        *(line.get_transform().transform(line.get_xydata()) for line in lines),
        *(bar.get_window_extent().get_points() for bar in bars),
    ]
    return axes.transAxes.inverted().transform(np.concatenate([np.zeros((0, 2)), *places]))


@pytest.mark.thorough
@each_figure
def test_marks_and_bars_end_inside_their_panels(name: str, layout: theme.Layout) -> None:
    for axes in _drawn(name, layout).axes:
        marks = _marks(axes)
        assert np.isfinite(marks).all()
        assert marks.min(initial=0) > -0.01
        assert marks.max(initial=1) < 1.01


def _number(text: str) -> float | None:
    try:
        return float(text.replace("−", "-").removesuffix("%").strip())
    except ValueError:
        return None


def _misplaced(places: np.ndarray, numbers: np.ndarray) -> float:
    """How far ticks are from where their numbers are on a straight, log or asinh scale, as a share of it.

    Asinh axes are bent at the stable limit.
    """
    bent = np.arcsinh(numbers / Limits().stable_decades)
    scales = [numbers, np.log(numbers)] if numbers.min() > 0 else [numbers, bent]
    fits = [np.polyval(np.polyfit(scale, places, 1), scale) - places for scale in scales]
    return min(float(np.abs(error).max()) for error in fits) / float(np.ptp(places))


@pytest.mark.thorough
@each_figure
def test_ticks_stand_where_their_labels_say(name: str, layout: theme.Layout) -> None:
    for axes in _drawn(name, layout).axes:
        for axis in (axes.xaxis, axes.yaxis):
            ticks = [(place, _number(text.get_text())) for place, text in _ticks(axis)]
            numbers = [number for _, number in ticks if number is not None]
            if len(numbers) == len(ticks) > 2:
                places = np.array([place for place, _ in ticks])
                # Labels are rounded, and bins that follow a run's few values are only about equal.
                assert _misplaced(places, np.array(numbers)) < 0.05, ticks


def test_the_longest_bar_of_importance_takes_most_of_its_panel() -> None:
    for axes in _drawn("importance", theme.WIDE).axes:
        assert 0.8 < _marks(axes)[:, 0].max() < 1.0


def test_the_maps_colour_bar_names_the_limits_and_its_ends() -> None:
    limits = Limits(stable_decades=1.5, severe_decades=4.0)
    with theme.theme(theme.WIDE):
        figure = FIGURES["regime_map"].draw(Drawing(_table("regime_map"), limits, theme.WIDE))
    bar = next(axes for axes in figure.axes if len(_ticks(axes.xaxis)) == 7 and axes.get_xlim() == (-8, 8))
    assert [(place, text.get_text().replace("−", "-")) for place, text in _ticks(bar.xaxis)] == [
        (-8, "≤ -8"), (-4, "-4"), (-1.5, "-1.5"), (0, "0"), (1.5, "+1.5"), (4, "+4"), (8, "≥ +8"),
    ]  # fmt: skip
