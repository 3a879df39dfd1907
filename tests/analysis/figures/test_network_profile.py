"""The picture of one network: what its lines are."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from gradatlas.analysis.figures.network_profile import draw, table, write_profile
from gradatlas.study.single import median_row, profile_rows
from gradatlas.study.trial import Trial

ROWS = profile_rows(Trial(depth=6, width=8, batch_size=8, activation="tanh"), seeds=3)


def _line(data: pl.DataFrame, panel: str, line: str) -> list[float]:
    return data.filter(pl.col("panel") == panel, pl.col("line") == line).sort("layer")["decades"].to_list()


def test_lines_end_at_g_and_f():
    data = table(ROWS)
    for name, row in [*((str(row["seed"]), row) for row in ROWS), ("median", median_row(ROWS))]:
        gradient, forward = _line(data, "gradient", name), _line(data, "forward", name)
        assert gradient[0] == pytest.approx(row["gradient_decades"], abs=1e-12)
        assert forward[-1] == pytest.approx(row["forward_decades"], abs=1e-12)
        assert gradient[-1] == forward[0] == 0.0


def test_each_seed_and_the_median_are_drawn():
    gradient, forward = draw(table(ROWS)).axes
    for axes, column in ((gradient, "gradient"), (forward, "forward")):
        drawn = [tuple(line.get_ydata()) for line in axes.lines if len(line.get_xdata()) == 6]
        expected = [tuple(_line(table(ROWS), column, name)) for name in ("0", "1", "2", "median")]
        assert len(drawn) == 4
        np.testing.assert_allclose(sorted(drawn), sorted(expected), atol=1e-12)


@pytest.mark.parametrize(("rows", "name"), [(ROWS, "median of 3"), (ROWS[:1], "one network")])
def test_the_gradients_panel_says_what_its_thick_line_is(rows, name):
    gradient, forward = draw(table(rows)).axes
    assert [text.get_text() for text in gradient.get_legend().get_texts()] == [name]
    assert forward.get_legend() is None


def test_zeros_leave_the_frame_and_missing_numbers_are_not_drawn():
    row = {"seed": 0, "gradient_profile": [-math.inf, -1.0, 0.0], "forward_profile": [0.0, 1.0, None]}
    assert _line(table([row]), "forward", "median") == [0.0, 1.0, None]
    gradient, forward = draw(table([row])).axes
    drawn = next(line for line in gradient.lines if len(line.get_xdata()) == 3)
    assert drawn.get_ydata()[0] < gradient.get_ylim()[0]
    assert gradient.get_ylim()[0] > -5
    assert max(len(line.get_xdata()) for line in forward.lines) == 2


def test_the_same_network_is_the_same_file(tmp_path):
    for name in ("a.svg", "b.svg", "a.pdf", "b.pdf"):
        write_profile(ROWS, tmp_path / name)
    for suffix in ("svg", "pdf"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
