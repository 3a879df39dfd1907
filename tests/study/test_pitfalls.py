"""Mistakes that are easily made here, and what the measurements do about them."""

import numpy as np
import pytest

from gradatlas.study.experiment import results
from gradatlas.study.regimes import regime
from gradatlas.study.single import profile_rows
from gradatlas.study.trial import Trial


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "linear"])
def test_weight_gradients_of_a_homogeneous_net_hide_that_the_gradient_vanishes(activation):
    trial = Trial(activation=activation, weight_gain=0.3, depth=30, task=None)
    (row,) = profile_rows(trial)
    assert row["gradient_decades"] < -10
    assert abs(row["weight_gradient_decades"]) < 0.5
    assert row["regime"] == "vanishing"


def test_with_one_seed_relu_nets_of_different_gain_are_the_same_experiment():
    profiles = [
        np.array(profile_rows(Trial(weight_gain=gain, depth=12, task=None))[0]["gradient_profile"])
        for gain in (0.5, 2.0)
    ]
    # Each layer down multiplies by the gain: log10 4 a layer apart, and nothing else differs.
    apart = (profiles[1] - profiles[0])[::-1]
    np.testing.assert_allclose(apart - apart[0], np.arange(12) * np.log10(4), atol=1e-9)


def test_gelu_with_he_looks_stable_in_a_short_test_only():
    found = [
        np.median([r["gradient_decades"] for r in profile_rows(trial, seeds=5)])
        for trial in (Trial(activation="gelu", init="he", depth=d, width=128, task=None) for d in (10, 100))
    ]
    assert regime(np.array(found)).tolist() == ["stable", "vanishing"]
    assert found[1] < -5


def test_value_clipping_rotates_the_gradient_and_norm_clipping_does_not():
    clips = {"clip_norm": 1e-3}, {"clip_value": 1e-3}
    by_norm, by_value = results([Trial(depth=3, width=16, steps=3, init="he", **clip) for clip in clips])
    assert by_norm["clip_cosine"] is None
    assert by_norm["clipped_fraction"] == by_value["clipped_fraction"] == 1.0
    assert 0.1 < by_value["clip_cosine"] < 0.9


def test_adam_takes_no_note_of_a_gradients_size_until_it_comes_near_eps():
    net = {"activation": "linear", "depth": 6, "width": 16, "steps": 1, "learning_rate": 1e-3}
    updates = {}
    for gain in (1.0, 0.3, 0.003):
        (row,) = results([Trial(optimizer="adam", weight_gain=gain, **net)])
        # ‖ΔW‖/‖W‖ of the first layer, in units of what a step of the full learning rate makes of it.
        updates[gain] = row["update_profile"][0] * gain
    assert updates[0.3] == pytest.approx(updates[1.0], rel=0.01)
    assert updates[0.003] < 0.1 * updates[1.0]
