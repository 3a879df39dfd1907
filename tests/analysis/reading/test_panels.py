"""Which settings are kept apart on a map."""

from __future__ import annotations

import pytest

from gradatlas.analysis.reading import panels
from tests.analysis.conftest import row, trials


def test_choices_that_vary_make_panels_and_training_choices_only_for_training() -> None:
    frame = trials(
        [
            row(0, activation="tanh", norm="none", optimizer="sgd", clip_norm=None, learning_rate=0.1),
            row(1, activation="relu", norm="batch", optimizer="sgd", clip_norm=1.0, learning_rate=0.2),
        ]
    )
    assert panels.panel_columns(frame) == ["activation", "norm"]
    assert panels.pooled_columns(frame) == []
    assert panels.pooled_columns(frame, training=True) == ["clip_norm", "learning_rate"]


def test_a_number_makes_panels_while_it_has_few_values_and_is_pooled_beyond() -> None:
    few = trials([row(n, width=[32, 64][n % 2]) for n in range(6)])
    many = trials([row(n, width=32 + n) for n in range(6)])
    assert panels.panel_columns(few) == ["width"]
    assert (panels.panel_columns(many), panels.pooled_columns(many)) == ([], ["width"])


def test_parts_are_never_pooled() -> None:
    frame = trials([row(0, part="deep"), row(1, part="wide")])
    found = panels.panel_keys(frame, panels.panel_columns(frame))
    assert found["subheading"].to_list() == ["deep", "wide"]


def test_panels_stand_in_the_declared_order_with_words_for_titles() -> None:
    frame = trials(
        row(place, activation=activation, skip=skip)
        for place, (activation, skip) in enumerate(
            (a, s) for a in ("relu", "sigmoid") for s in ("residual", "none")
        )
    )
    found = panels.panel_keys(frame, panels.panel_columns(frame))
    assert found.select("heading", "subheading").rows() == [
        ("sigmoid", "no skip"),
        ("sigmoid", "residual"),
        ("ReLU", "no skip"),
        ("ReLU", "residual"),
    ]


def test_more_panels_than_fit_are_left_out_and_counted() -> None:
    frame = trials(row(n, activation="relu", part=f"part {n:02}") for n in range(30))
    shown = panels.with_panels(frame).collect()
    assert shown["panel"].n_unique() == panels.MAX_PANELS
    assert shown["panels"].unique().to_list() == [30]


@pytest.mark.parametrize("training", [False, True])
def test_one_setting_is_one_panel(training: bool) -> None:
    shown = panels.with_panels(trials([row(0), row(1)]), training=training).collect()
    assert shown.select("panel", "heading", "subheading").unique().rows() == [(0, "ReLU", "")]


def test_a_setting_that_an_old_file_did_not_record_is_kept_apart_and_shown() -> None:
    shown = panels.with_panels(trials([row(0, norm_position=None), row(1, norm_position="before")])).collect()
    assert set(shown["subheading"]) == {"norm position not recorded", "norm before φ"}


def test_a_setting_is_called_by_what_its_part_varies_and_by_what_most_parts_do_not_have() -> None:
    frame = trials(
        [
            *(row(n, part="depths", activation="tanh", batch_size=32) for n in range(5)),
            *(row(9 + n, part="norms", batch_size=32, norm=norm) for n, norm in enumerate(("none", "batch"))),
            row(20, part="single", width=1, batch_size=32),
            row(21, part="batches", batch_size=8, norm="batch"),
            row(22, part="batches", batch_size=16, norm="batch"),
        ]
    )
    found = panels.panel_keys(frame, panels.panel_columns(frame))
    assert found["subheading"].to_list() == [
        "depths",
        "batches · batch norm · batch size 8",
        "batches · batch norm · batch size 16",
        "norms · no norm",
        "norms · batch norm",
        "single · width 1",
    ]


def test_without_parts_a_setting_is_called_by_everything_that_varies() -> None:
    frame = trials([row(0, norm="none"), row(1, norm="batch")])
    assert panels.panel_keys(frame, panels.panel_columns(frame))["subheading"].to_list() == [
        "no norm",
        "batch norm",
    ]
