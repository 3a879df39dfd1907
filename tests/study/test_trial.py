"""A trial's rules."""

from __future__ import annotations

import math

import pytest

from gradatlas.study.trial import Trial


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"depth": 0}, "depth: must be a whole number >= 1, but got 0"),
        ({"width": 0}, "width: must be a whole number >= 1"),
        ({"activation": "reul"}, "activation: must be one of .* did you mean 'relu'"),
        ({"weight_gain": math.nan}, "weight_gain: must be a finite number >= 0, but got nan"),
        ({"weight_gain": -1.0}, "weight_gain: must be a finite number >= 0, but got -1.0"),
        ({"learning_rate": 0.0}, "learning_rate: must be a finite number > 0"),
        ({"clip_norm": -1.0}, "clip_norm: must be a positive number or"),
        ({"batch_size": 1, "norm": "batch"}, "batch_size: must be >= 2 with norm 'batch'"),
        ({"batch_size": 1438}, "batch_size: must be <= 1437"),
        ({"probe_size": 1438}, "probe_size: must be <= 1437, the training examples of task 'digits'"),
        ({"probe_size": -1}, "probe_size: must be a whole number >= 0, but got -1"),
        ({"seed": -1}, "seed: must be a whole number"),
    ],
)
def test_a_bad_parameter_is_told_with_rule_and_value(setting, message):
    with pytest.raises(ValueError, match=message):
        Trial(**setting)
