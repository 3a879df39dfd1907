"""The figure of measured against predicted G shows every predicted cell and prints the score it has."""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Text

from gradatlas.analysis.figures import measured_against_predicted as figure
from gradatlas.analysis.figures import theme
from gradatlas.analysis.figures.plot import Drawing
from gradatlas.study.regimes import Limits
from gradatlas.study.trial import PARAMETERS
from tests.analysis.conftest import row, trials

LIMITS = Limits()


def planted(offset: float, n: int = 60, **more) -> list:
    """Cells whose measured G lies so many decades above the predicted one, whose deviation is 0.1."""
    g = np.linspace(-60, 40, n)
    names = ("relu", "tanh", "sigmoid")
    return [
        row(
            place, activation=names[place % 3], gradient_decades=predicted + offset,
            theory_gradient_decades=predicted, theory_sd=0.1, **more,
        )
        for place, predicted in enumerate(g.tolist())
    ]  # fmt: skip


def drawn(table) -> Figure:
    with theme.theme(theme.WIDE):
        return figure.draw(Drawing(table, LIMITS, theme.WIDE))


def texts(found: Figure) -> str:
    return "\n".join(text.get_text() for text in found.findobj(Text))


@pytest.mark.parametrize(("offset", "within"), [(0.15, "100\u00a0%"), (0.7, "0\u00a0%")])
def test_a_planted_offset_is_in_the_picture_and_in_the_words(offset: float, within: str) -> None:
    table = figure.table(trials(planted(offset)))
    told = texts(drawn(table))
    assert f"{offset:.2g} decades off" in told
    assert f"{within} within 2 sd" in told
    assert "60 points" in told
    title = figure.PLOT.heading(table, LIMITS)
    assert title == f"Theory predicts G to {offset:.2g} decades (median) at 60 points"
    assert f"{offset:.2g} decades off, {within} within 2 sd" in figure.alt(table, LIMITS)


def test_without_theory_there_is_no_figure() -> None:
    assert figure.table(trials([row(n) for n in range(20)])).is_empty()


def test_every_cell_is_a_mark_where_it_was_predicted_and_measured() -> None:
    (axes,) = drawn(figure.table(trials(planted(0.5)))).axes
    cloud = next(each for each in axes.collections if isinstance(each, PathCollection))
    marks = np.asarray(cloud.get_offsets())
    expected = np.linspace(-60, 40, 60)
    assert np.sort(marks[:, 0]) == pytest.approx(expected)
    assert np.sort(marks[:, 1]) == pytest.approx(expected + 0.5)


def test_huge_and_infinite_values_leave_the_window_its_room() -> None:
    rows = [
        *planted(0.1),
        row(900, gradient_decades=-700.0, theory_gradient_decades=-690.0),
        row(901, gradient_decades=-math.inf, theory_gradient_decades=-5.0),
    ]
    table = figure.table(trials(rows))
    (axes,) = drawn(table).axes
    ends = axes.transAxes.inverted().transform(axes.transData.transform([(0, -1.3), (0, 1.3)]))
    assert ends[1, 1] - ends[0, 1] > 0.1
    clouds = [each for each in axes.collections if isinstance(each, PathCollection)]
    places = np.concatenate([np.asarray(cloud.get_offsets()) for cloud in clouds])
    assert len(places) == 62
    assert axes.get_ylim()[0] < places[:, 1].min() < -700
    assert "Diamonds at the frame (1): a gradient of exactly zero" in figure.reading(table, LIMITS)


def test_kinds_of_networks_have_panels_in_the_order_of_their_declaration() -> None:
    kinds = [("layer", "none"), ("none", "residual"), ("batch", "none"), ("none", "none")]
    rows = [
        row(n, norm=norm, skip=skip, gradient_decades=1.0, theory_gradient_decades=1.0)
        for n, (norm, skip) in enumerate(kinds)
    ]
    found = figure.table(trials(rows)).select("heading", "subheading").rows()
    assert found == [
        ("no norm", "no skip"), ("no norm", "residual"), ("batch norm", "no skip"), ("layer norm", "no skip"),
    ]  # fmt: skip


def test_a_norms_position_tells_panels_apart_only_where_there_is_a_norm() -> None:
    rows = [
        row(n, norm=norm, norm_position=position, gradient_decades=1.0, theory_gradient_decades=1.0)
        for n, (norm, position) in enumerate(
            (norm, position) for norm in ("none", "layer") for position in ("before", "after")
        )
    ]
    found = figure.table(trials(rows)).select("heading", "subheading").unique(maintain_order=True).rows()
    assert [heading for heading, _ in found] == ["no norm", "layer norm", "layer norm"]
    assert len({sub for _, sub in found}) == 3


def test_an_activation_has_one_colour_whatever_stands_beside_it() -> None:
    alone, beside = theme.activation_colours(["relu"]), theme.activation_colours(["own", "tanh", "relu"])
    assert alone["relu"] == beside["relu"]
    assert list(beside) == ["tanh", "relu", "own"]
    assert len(set(theme.activation_colours(PARAMETERS["activation"].choices).values())) == 10
