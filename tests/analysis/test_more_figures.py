"""Tables of the figures of boundaries, layers, mitigations, training and importance, against naive code."""

from __future__ import annotations

import math
import statistics

import numpy as np
import polars as pl
import pytest

from gradatlas.analysis.figures import (
    batch_size,
    clip_map,
    coordinates,
    critical_gain,
    depth_window,
    factors,
    forward_backward,
    importance_bars,
    maps,
    ranks,
    regime_map,
    slices,
    survival,
    theme,
    time_steps,
    trainability,
)
from gradatlas.analysis.figures.plot import Drawing
from gradatlas.analysis.figures.registry import FIGURES
from gradatlas.analysis.figures.settings import scale
from gradatlas.analysis.figures.theory_lines import theory_lines
from gradatlas.analysis.measures.boundaries import boundaries, windows
from gradatlas.analysis.measures.importance import importances
from gradatlas.analysis.measures.regions import wilson
from gradatlas.study.regimes import Limits
from gradatlas.study.theory.critical import critical
from gradatlas.study.theory.meanfield import Structure
from tests.analysis.conftest import rich_rows, row, study_rows, trials
from tests.analysis.test_report import ODD

LIMITS = Limits()


@pytest.mark.parametrize("rows", [[row(0)], []], ids=["one trial", "no trial"])
@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_without_enough_data_has_an_empty_table_or_draws(name: str, rows: list) -> None:
    _draw(name, rows)


@pytest.mark.thorough
@pytest.mark.parametrize("odd", ["all failed", "zero gradients", "one depth", "one weight scale"])
def test_every_figure_takes_odd_runs(odd: str) -> None:
    for name in FIGURES:
        _draw(name, ODD[odd])


def _draw(name: str, rows: list) -> None:
    plot = FIGURES[name]
    table = plot.table(trials(rows), LIMITS)
    if table.is_empty():
        assert plot.absent
        return
    with theme.theme(theme.NARROW):
        plot.draw(Drawing(table, LIMITS, theme.NARROW))
    assert plot.reading(table, LIMITS)
    assert plot.alt(table, LIMITS)


def test_boundaries_and_windows_are_drawn_as_they_are_estimated() -> None:
    data = trials(study_rows())
    for figure, estimate, value in (
        (critical_gain, boundaries, "critical_sigma_w"),
        (depth_window, windows, "lower"),
    ):
        found, expected = figure.table(data), estimate(data, LIMITS)
        assert len(found)
        assert sorted(found[value].drop_nulls()) == pytest.approx(sorted(expected[value].drop_nulls()))


def test_theory_on_the_atlas_is_what_theory_says_of_each_network() -> None:
    rows = [
        row(n, activation="tanh", depth=d, weight_gain=g) for n, (d, g) in enumerate([(2, 0.25), (32, 4.0)])
    ]
    table = regime_map.table(trials(rows))
    found = theory_lines(table, maps.extent(table))
    assert found is not None
    assert found.critical == pytest.approx(critical(Structure("tanh"), added_variance=0.0).sigma_w)
    # Far below the critical weights every layer takes a factor of σ_w: G = (L − 1) log10 σ_w.
    deepest = 2 ** found.depth[-1] - 1
    slope = found.decades[0, -1] / deepest
    assert slope == pytest.approx(found.sigma_w[0] * math.log10(2), abs=0.05)


def test_no_theory_is_drawn_where_a_panel_mixes_structures() -> None:
    rows = [row(0, depth=4), row(1, depth=8, sigma_b=0.5)]
    table = regime_map.table(trials(rows))
    assert theory_lines(table, maps.extent(table)) is None


def test_factors_are_means_over_the_layers_that_have_one() -> None:
    lists = {"weight_factor_profile": [0.1, 0.3, None], "derivative_factor_profile": [-0.2, -math.inf, None]}
    found = factors.table(trials([row(0, depth=3, **lists), row(1, depth=3)]))
    assert found.select("trial", "weights", "derivative").rows() == [(0, pytest.approx(0.2), -0.2)]


def test_forward_and_backward_need_both() -> None:
    rows = [
        row(0, forward_decades=2.0, gradient_decades=-3.0),
        row(1, forward_decades=None),
        row(2, forward_decades=math.nan),
    ]
    found = forward_backward.table(trials(rows))
    assert found.select("trial", "forward_decades", "gradient_decades", "regime").rows() == [
        (0, 2.0, -3.0, "vanishing")
    ]


def test_a_gradient_survives_where_it_reaches_the_first_layer() -> None:
    reach = [(8, 8), (8, 7), (8, 20), (4, 4)]
    rows = [
        row(n, depth=d, survival_float32=r, survival_bfloat16=d, survival_float16=0)
        for n, (d, r) in enumerate(reach)
    ]
    found = survival.table(trials(rows)).filter(pl.col("format") == "float32")
    assert found["depth"].to_list() == pytest.approx([4.0, 8.0])
    assert found.select("count", "n", "share").rows() == [(1, 1, 1.0), (2, 3, 2 / 3)]
    assert found.select("low", "high").row(1) == wilson(2, 3)


def test_time_takes_the_place_of_depth_for_recurrent_nets_alone() -> None:
    rows = [row(0, depth=4, slope=1.0), *(row(n, depth=4, slope=-0.5, family="gru") for n in range(1, 4))]
    found = time_steps.table(trials(rows))
    assert found["back"].to_list() == [0, 1, 2, 3]
    assert found["median"].to_list() == pytest.approx([0.0, -0.5, -1.0, -1.5])


def test_batch_sizes_are_compared_within_a_setting() -> None:
    slopes = {4: [0.3, 0.5, 0.4], 64: [0.1, 0.1, 0.2]}
    rows = [
        row(n, norm="batch", batch_size=size, gradient_slope=slope)
        for n, (size, slope) in enumerate((size, slope) for size in slopes for slope in slopes[size])
    ]
    found = batch_size.table(trials([*rows, row(9, norm="batch", activation="tanh"), row(10)]))
    assert found.select("batch_size", "slope", "n").rows() == [
        (size, statistics.median(slopes[size]), 3) for size in slopes
    ]


def test_the_clip_map_counts_outcomes_by_threshold_and_weight_scale() -> None:
    rows = [
        row(0, weight_gain=1.0, outcome="diverged", final_loss=None),
        row(1, weight_gain=1.0, outcome="learned", final_loss=0.2),
        row(2, weight_gain=1.0, outcome="learned", final_loss=0.4, clip_norm=1.0),
        row(3, weight_gain=8.0, outcome="stalled", final_loss=3.0, clip_norm=1.0),
    ]
    found = clip_map.table(trials(rows))
    assert found.select("row", "threshold", "n", "learned", "diverged", "loss").rows() == [
        (0, "off", 2, 0.5, 0.5, 0.2),
        (0, "1", 1, 1.0, 0.0, 0.4),
        (1, "1", 1, 0.0, 0.0, 3.0),
    ]


def test_trainability_is_counted_by_learning_rate_and_weight_scale() -> None:
    settings = [
        (0.1, 1.0, "learned"),
        (0.1, 1.0, "stalled"),
        (0.1, 4.0, "diverged"),
        (1.0, 1.0, "stalled"),
        (0.01, 4.0, "learned"),
    ]
    rows = [
        row(n, learning_rate=lr, weight_gain=gain, outcome=outcome)
        for n, (lr, gain, outcome) in enumerate(settings)
    ]
    found = trainability.table(trials(rows))
    assert found.select("row", "column", "n", "learned", "diverged").rows() == [
        (0, 1, 2, 0.5, 0.0), (0, 2, 1, 0.0, 0.0), (1, 0, 1, 1.0, 0.0), (1, 1, 1, 0.0, 1.0),
    ]  # fmt: skip


def test_importance_is_drawn_as_it_is_measured() -> None:
    data = trials(study_rows())
    assert importance_bars.table(data, LIMITS).rows() == importances(data, LIMITS).rows()


@pytest.mark.parametrize("figure", [coordinates, slices, ranks])
def test_diverged_trials_are_always_among_the_sample(figure) -> None:
    """One in a thousand is kept."""
    rows = [
        row(
            n,
            weight_gain=1 + n / 3000,
            learning_rate=0.1 + n / 3000,
            outcome="diverged" if n in (7, 2999) else "learned",
        )
        for n in range(3000)
    ]
    found = figure.table(trials(rows), LIMITS)
    assert found["trial"].n_unique() < 3000
    assert set(found.filter(pl.col("outcome") == "diverged")["trial"]) == {7, 2999}


def test_diverged_trials_have_the_last_rank() -> None:
    losses = [0.5, None, 0.1, 2.0]
    rows = [
        row(n, learning_rate=0.1 + n, depth=2 + n, final_loss=loss, outcome="learned" if loss else "diverged")
        for n, loss in enumerate(losses)
    ]
    found = ranks.table(trials(rows)).sort("trial")
    assert found["rank"].to_list() == pytest.approx([1 / 3, 1.0, 0.0, 2 / 3])


def test_axes_are_logarithmic_where_a_parameter_spans_decades() -> None:
    found = scale("learning_rate", pl.Series(np.geomspace(1e-3, 1.0, 7)))
    assert found.positions == pytest.approx(np.arange(7) / 6)
    steps = scale("clip_norm", pl.Series([None, 1.0, 10.0]))
    assert [text for _, text in sorted(steps.ticks)] == ["1", "10", "off"]
    assert steps.positions.tolist() == [1.0, 0.0, 0.5]


def test_ticks_of_a_continuous_axis_are_its_ends_and_its_middle() -> None:
    logarithmic = scale("learning_rate", pl.Series(np.geomspace(1e-2, 100.0, 9)))
    assert logarithmic.ticks == [(0.0, "0.01"), (0.5, "1"), (1.0, "100")]
    linear = scale("bias_std", pl.Series(np.linspace(1.0, 2.0, 9)))
    assert linear.ticks == [(0.0, "1"), (0.5, "1.5"), (1.0, "2")]
    assert linear.positions == pytest.approx(np.arange(9) / 8)


@pytest.mark.parametrize(("largest", "middle"), [(20.0, "11"), (20.5, "4.5")])
def test_an_axis_is_logarithmic_from_more_than_twentyfold_on(largest: float, middle: str) -> None:
    found = scale("learning_rate", pl.Series(np.linspace(1.0, largest, 9)))
    assert found.ticks[1] == (0.5, middle)


def test_slices_reach_from_minus_ten_to_ten_decades() -> None:
    rows = [row(n, learning_rate=0.1 + n, gradient_decades=g) for n, g in enumerate([-99.0, -3.0, 12.0])]
    table = slices.table(trials(rows), LIMITS)
    with theme.theme(theme.WIDE):
        figure = slices.PLOT.draw(Drawing(table, LIMITS, theme.WIDE))
    for axes in figure.axes:
        assert axes.get_ylim() == pytest.approx((-10.6, 10.6))
        drawn = np.concatenate(
            [cloud.get_offsets() for cloud in axes.collections if len(cloud.get_offsets())]
        )
        assert (drawn[:, 1].min(), drawn[:, 1].max()) == (-10.0, 10.0)


def test_the_last_coordinate_is_the_gradient_from_minus_eight_to_eight_decades() -> None:
    decades = [-math.inf, -8.0, -4.0, 0.0, 8.0, 20.0]
    rows = [row(n, learning_rate=0.1 + n, gradient_decades=g) for n, g in enumerate(decades)]
    found = coordinates.table(trials(rows)).filter(pl.col("name") == "gradient G").sort("trial")
    assert found["place"].to_list() == [0.0, 0.0, 0.25, 0.5, 1.0, 1.0]
    assert dict(zip(found["ticks"][0], found["tick_names"][0], strict=True)) == {
        0.0: "≤ −8", 0.5: "0", 1.0: "≥ +8",
    }  # fmt: skip


def test_coordinates_show_four_hundred_trials_on_eight_axes_and_the_gradient() -> None:
    parameters = ("depth", "width", "batch_size", "steps", "momentum", "sigma_b", "learning_rate", "adam_eps")
    rows = [row(n, weight_gain=1.0 + n, **dict.fromkeys(parameters, n + 2)) for n in range(500)]
    found = coordinates.table(trials(rows))
    assert (found["trial"].n_unique(), found["axis"].n_unique()) == (400, 9)


def test_the_map_is_told_panel_by_panel_in_its_order() -> None:
    names = [f"part {letter}" for letter in "abcdefghijkl"]
    rows = [
        row(24 * n + step, part=name, weight_gain=1.0 + step, gradient_decades=0.0 if step <= n else 5.0)
        for n, name in enumerate(names)
        for step in range(12)
    ]
    table = regime_map.table(trials(rows))
    headings = table.select("heading", "subheading", "panel").unique().sort("panel")
    told = regime_map.alt(table, LIMITS)
    places = [told.index(sub or head) for head, sub, _ in headings.iter_rows()]
    assert len(places) == 12
    assert places == sorted(places)
    assert " 8\u00a0%" in told
    assert " 100\u00a0%" in told


def test_the_planted_study_has_a_table_for_every_figure() -> None:
    data = trials(rich_rows())
    assert [name for name, plot in FIGURES.items() if plot.table(data, LIMITS).is_empty()] == []
