"""The phase diagram: its plane against theory's own numbers, and what its axes, lines and bar say."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from gradatlas.analysis.figures import theme
from gradatlas.analysis.figures.phase_diagram import draw, plane
from gradatlas.study.theory.critical import critical
from gradatlas.study.theory.meanfield import Structure
from gradatlas.study.theory.phase import PhasePoint, theory_row

POINT = PhasePoint(Structure("tanh"), 1.0)


def test_the_plane_is_the_slope_around_the_critical_line() -> None:
    found = plane(POINT, size=5)
    centre = critical(POINT.structure, added_variance=0.0).sigma_w
    assert sorted(found["sigma_w"].unique()) == pytest.approx(np.geomspace(centre / 2.5, centre * 2.5, 5))
    assert sorted(found["sigma_b"].unique()) == pytest.approx(np.geomspace(0.02, 2.0, 5))
    for row in found.sample(6, seed=1).iter_rows(named=True):
        # Deep in a net whose variance has come to rest the gradient gains the same at every layer.
        point = PhasePoint(POINT.structure, row["sigma_w"], row["sigma_b"], width=10**7)
        deep, deeper = (theory_row(point, depth=depth)["gradient_decades"] for depth in (200, 201))
        assert row["slope"] == pytest.approx(deeper - deep, abs=1e-3)


def test_the_plane_covers_the_points_that_are_measured() -> None:
    points = pl.DataFrame({"sigma_w": [0.5, 4.0], "sigma_b": [0.1, 0.3]})
    found = plane(POINT, points, size=3)
    for name in ("sigma_w", "sigma_b"):
        assert found[name].min() < points[name].min()
        assert found[name].max() > points[name].max()


def test_axes_are_logarithmic_and_named_and_lines_carry_their_depth_scale() -> None:
    points = pl.DataFrame(
        {
            "sigma_w": [0.8, 2.0],
            "sigma_b": [0.1, 0.5],
            "slope": [-0.2, 0.1],
            "depth": [9, 20],
            "width": [8, 8],
        }
    )
    with theme.theme(theme.WIDE):
        figure = draw(POINT, plane(POINT), points)
    axes, bar = figure.axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("weights σ_w", "biases σ_b")
    assert {text.get_text() for text in axes.texts} >= {"χ = 1", "ξ = 6", "ξ = 30"}
    assert axes.get_title(loc="left") == (
        "tanh: theory (ground) and 2 measured networks (points), depth 9–20, width 8"
    )
    for at, text in zip(bar.get_yticks(), bar.get_yticklabels(), strict=True):
        assert float(text.get_text().replace("−", "-")) == pytest.approx(at)
