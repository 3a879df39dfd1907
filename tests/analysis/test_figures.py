"""Each figure's table against naive code, and each figure drawn in both layouts."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from gradatlas.analysis.figures import (
    clip_thresholds,
    grid,
    maps,
    outcome_map,
    profiles,
    regime_map,
    theme,
)
from gradatlas.analysis.figures.plot import Drawing, save
from gradatlas.analysis.figures.registry import FIGURES
from gradatlas.analysis.measures.regions import wilson
from gradatlas.study.regimes import Limits
from tests.analysis.conftest import rich_rows, row, study_rows, trials

LIMITS = Limits()


@pytest.mark.thorough
@pytest.mark.parametrize("layout", [theme.WIDE, theme.NARROW], ids=lambda layout: layout.name)
@pytest.mark.parametrize("name", FIGURES)
def test_each_figure_draws_the_planted_study(tmp_path: Path, name: str, layout: theme.Layout) -> None:
    plot = FIGURES[name]
    table = plot.table(trials(rich_rows()), LIMITS)
    assert not table.is_empty()
    files = [tmp_path / "figure.png", tmp_path / "figure.svg"]
    width, height = save(plot, Drawing(table, LIMITS, layout), files)
    assert width <= layout.width * 96
    pixels = np.asarray(Image.open(files[0]).convert("RGB"))
    assert pixels.shape[1] / pixels.shape[0] == pytest.approx(width / height, rel=0.01)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50  # something was drawn
    assert "<svg" in files[1].read_text()
    assert plot.reading(table, LIMITS)
    assert plot.alt(table, LIMITS)


def test_the_same_figure_is_the_same_file(tmp_path: Path) -> None:
    table = clip_thresholds.table(trials(study_rows()))
    files = [tmp_path / "one.svg", tmp_path / "two.svg"]
    for file in files:
        save(clip_thresholds.PLOT, Drawing(table, LIMITS, theme.WIDE), [file])
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.thorough
@pytest.mark.parametrize("name", FIGURES)
def test_names_with_dollars_and_brackets_are_drawn_as_they_are(tmp_path: Path, name: str) -> None:
    rows = [planted | {"part": ["a$_{x$", "<b>"][planted["trial"] % 2]} for planted in rich_rows(points=360)]
    plot = FIGURES[name]
    table = plot.table(trials(rows), LIMITS)
    assert not table.is_empty()
    save(plot, Drawing(table, LIMITS, theme.NARROW), [tmp_path / "figure.svg"])


# regime map


def test_the_regime_map_pools_a_place_by_its_median() -> None:
    values = [-math.inf, 0.5, 0.7, None, math.nan]
    rows = [row(n, depth=8, weight_gain=2.0, gradient_decades=g) for n, g in enumerate(values)]
    found = regime_map.table(trials([*rows, row(9, depth=4, weight_gain=1.0, gradient_decades=2.0)]))
    assert found.select("depth", "sigma_w", "gradient_decades", "trials", "unmeasured").rows() == [
        (4, 1.0, 2.0, 1, 0),
        (8, 2.0, statistics.median(values[:3]), 5, 2),
    ]


def test_a_weight_scale_of_zero_has_no_place_on_a_logarithmic_map() -> None:
    assert regime_map.table(trials([row(0, weight_gain=0.0), row(1, sigma_w=None)])).is_empty()


def test_each_spot_of_a_map_has_the_colour_of_its_nearest_trial() -> None:
    generator = np.random.default_rng(3)
    x, y = generator.uniform(1, 6, 40), generator.uniform(-2, 4, 40)
    g = generator.normal(size=40)
    frame = maps.Extent(1, 6, -2, 4)
    image = maps.nearest_cells(x, y, g, frame, pixels=30)
    for line in range(30):
        for column in range(30):
            spot = (column + 0.5) / 30, (line + 0.5) / 30
            distance = np.hypot((x - 1) / 5 - spot[0], (y + 2) / 6 - spot[1])
            expected = g[distance.argmin()] if distance.min() <= maps.REACH else np.nan
            np.testing.assert_equal(image[line, column], expected)


def test_one_trial_does_not_colour_a_whole_map() -> None:
    frame = maps.extent(regime_map.table(trials([row(0)])))
    image = maps.nearest_cells(np.array([math.log2(10)]), np.array([0.0]), np.array([1.0]), frame)
    assert np.isfinite(image).mean() == pytest.approx(math.pi * maps.REACH**2, rel=0.02)


@pytest.mark.parametrize("limits", [LIMITS, Limits(stable_decades=0.5, severe_decades=2.0)])
def test_stable_is_one_light_colour_with_an_edge_at_the_limits(limits: Limits) -> None:
    colours, scale = theme.regime_colours(limits)
    light = colours(scale(0.0))
    step = 4 * limits.severe_decades / 512
    for sign in (-1, 1):
        inside, outside = limits.stable_decades - step, limits.stable_decades + step
        assert colours(scale(sign * inside)) == light
        assert np.abs(np.subtract(colours(scale(sign * outside)), light)).max() > 0.2
    blue, red = colours(scale(-limits.severe_decades)), colours(scale(limits.severe_decades))
    assert blue[2] > blue[0]
    assert red[0] > red[2]


def test_a_zero_gradient_has_the_colour_of_the_most_vanished() -> None:
    colours, scale = theme.regime_colours(LIMITS)
    end = 2 * LIMITS.severe_decades
    assert colours(scale(np.clip(-np.inf, -end, end))) == colours(0.0)


# axes and grids


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (2, 64, [2, 4, 8, 16, 32, 64]),
        (0.2504, 15.98, [0.25, 0.5, 1, 2, 4, 8, 16]),
        (10, 10, [10]),
        (5, 7, [5, 7]),
        (1, 1024, [1, 4, 16, 64, 256, 1024]),
    ],
)
def test_ticks_are_powers_of_two(low: float, high: float, ticks: list[float]) -> None:
    assert grid.octave_ticks(low, high) == ticks


@pytest.mark.parametrize(
    ("groups", "most", "columns"),
    [
        ([0], 4, 1),
        ([0, 1, 2], 4, 3),
        ([0] * 4 + [1] * 4 + [2] * 4, 4, 4),
        ([0] * 4 + [1] * 4, 2, 2),
        ([0, 0, 1, 1], 4, 4),
        ([0] * 6 + [1] * 6, 4, 3),
        ([0, 1, 2, 3, 4], 4, 3),
    ],
)
def test_a_group_of_panels_fills_whole_rows(groups: list[int], most: int, columns: int) -> None:
    assert grid.grid_columns(groups, most) == columns


# profiles


def test_profiles_are_medians_and_quantiles_by_layer_before_the_last() -> None:
    slopes = [-0.9, -0.5, -0.4, -0.2, 0.1]
    found = profiles.table(trials(row(n, depth=4, slope=slope) for n, slope in enumerate(slopes)))
    assert found["back"].to_list() == [0, 1, 2, 3]
    assert found["trials"].to_list() == [5] * 4
    assert found["median"].to_list() == pytest.approx([back * -0.4 for back in range(4)])
    assert found["low"].to_list() == pytest.approx([back * -0.9 for back in range(4)])
    assert found["high"].to_list() == pytest.approx([back * 0.1 for back in range(4)])


def test_all_points_of_a_curve_come_from_the_same_networks() -> None:
    rows = [row(n, depth=depth, slope=-depth / 10) for n, depth in enumerate([2, 3, 3, 5, 8, 13, 21])]
    found = profiles.table(trials(rows))
    assert found["reach"].unique().to_list() == [8]
    assert found["back"].to_list() == list(range(8))
    assert found["trials"].unique().to_list() == [3]


def test_zero_gradients_do_not_break_the_quantiles() -> None:
    zero = [-math.inf, -math.inf, 0.0]
    rows = [row(n, depth=3, gradient_profile=zero if n < 3 else [0.2, 0.1, 0.0]) for n in range(4)]
    found = profiles.table(trials(rows)).filter(pl.col("back") == 2)
    assert found.select("low", "high").row(0) == (-math.inf, 0.2)
    assert not found["median"].is_nan().any()


def test_groups_of_weight_scale_are_equal_steps_of_its_logarithm_or_its_few_values() -> None:
    assert profiles.sigma_groups(np.geomspace(0.25, 16, 50)) == pytest.approx([0.25, 2**-0.5, 2, 2**2.5, 16])
    found = profiles.table(
        trials(row(n, depth=3, weight_gain=float(gain)) for n, gain in enumerate([1, 4, 4]))
    )
    assert found.select("group", "sigma_w").unique().sort("group").rows() == [(0, "1"), (1, "4")]


def test_no_profile_is_no_table() -> None:
    assert profiles.table(trials([row(0, gradient_profile=None), row(1, gradient_profile=[])])).is_empty()


# outcomes


def test_every_trained_trial_is_on_the_outcome_map() -> None:
    outcomes = ["learned", "stalled", "diverged", "failed", None]
    found = outcome_map.table(trials(row(n, outcome=outcome) for n, outcome in enumerate(outcomes)))
    assert found["outcome"].to_list() == outcomes[:4]
    assert found["place_trials"].unique().to_list() == [4]
    assert found["place_rank"].to_list() == [0, 1, 2, 3]


def test_trials_at_one_place_are_spread_and_lone_ones_stay() -> None:
    rows = [row(n) for n in range(9)] + [row(9, depth=40, weight_gain=3.0)]
    found = outcome_map.table(trials(rows))
    frame = maps.extent(found)
    x, y = outcome_map.spread(found, frame)
    points = frame.unit(x, y)
    gaps = [np.hypot(*(points[a] - points[b])) for a in range(10) for b in range(a)]
    assert min(gaps) > 0.008
    assert (x[9], y[9]) == (math.log2(40), math.log2(3.0))
    centre = frame.unit(np.array([math.log2(10)]), np.array([0.0]))
    assert np.hypot(*(points[:9] - centre).T).max() < 0.03


# clipping


def test_clipping_shares_and_intervals_are_counted_by_regime_and_threshold() -> None:
    rows = study_rows()
    found = clip_thresholds.table(trials(rows))
    assert found["kind"].unique().to_list() == ["clip_norm"]
    assert found["threshold"].unique(maintain_order=True).to_list() == ["off", "1"]
    for line in found.iter_rows(named=True):
        clip = None if line["threshold"] == "off" else 1.0
        group = [
            r for r in rows if r["clip_norm"] == clip and _regime(r["gradient_decades"]) == line["regime"]
        ]
        hits = sum(r["outcome"] == line["outcome"] for r in group)
        assert (line["count"], line["n"]) == (hits, len(group))
        assert (line["low"], line["high"]) == wilson(hits, len(group))


def _regime(g: float) -> str:
    return "stable" if abs(g) <= 1.3 else "vanishing" if g < 0 else "exploding"


def test_thresholds_run_from_off_to_the_tightest_and_many_become_decades() -> None:
    few = clip_thresholds.table(
        trials(row(n, clip_norm=clip) for n, clip in enumerate([0.1, None, 10.0, 1.0]))
    )
    assert few["threshold"].unique(maintain_order=True).to_list() == ["off", "10", "1", "0.1"]
    many = clip_thresholds.table(
        trials(row(n, clip_value=clip) for n, clip in enumerate(np.geomspace(0.011, 90, 20)))
    )
    assert many["threshold"].unique(maintain_order=True).to_list() == ["10–100", "1–10", "0.1–1", "0.01–0.1"]
    assert many["kind"].unique().to_list() == ["clip_value"]


def test_one_threshold_is_no_comparison() -> None:
    assert clip_thresholds.table(trials([row(0, clip_norm=1.0), row(1, clip_norm=1.0)])).is_empty()


def test_parts_at_one_weight_scale_are_on_the_map_only_where_no_part_sweeps_it() -> None:
    swept = [row(n, part="swept", weight_gain=0.5 + n) for n in range(3)]
    fixed = [row(10 + n, part="fixed", depth=3 + n) for n in range(3)]
    both = maps.mappable(trials(swept + fixed)).collect()
    assert both["part"].unique().to_list() == ["swept"]
    assert len(maps.mappable(trials(fixed)).collect()) == 3
