"""What the explorer embeds."""

from __future__ import annotations

import json
import math

import pytest

from gradatlas.analysis.page import explorer
from tests.analysis.conftest import rich_rows, row, trials


def test_a_trial_is_embedded_with_its_settings_and_its_profile() -> None:
    found = explorer.records(
        trials([row(0, depth=3, slope=-1.0), row(1, depth=2, activation="tanh", outcome=None)])
    )
    assert [record["activation"] for record in found] == ["ReLU", "tanh"]
    assert found[0]["layers"] == [1, 2, 3]
    assert found[0]["decades"] == [-2.0, -1.0, 0.0]
    assert [record["regime"] for record in found] == ["vanishing", "stable"]
    assert [record["outcome"] for record in found] == ["learned", "not trained"]


def test_a_long_profile_keeps_its_ends() -> None:
    (found,) = explorer.records(trials([row(0, depth=1000, slope=-0.01)]))
    assert (found["layers"][0], found["layers"][-1]) == (1, 1000)
    assert len(found["layers"]) == explorer.MOST_LAYERS
    assert found["decades"][0] == pytest.approx(-9.99)


def test_many_trials_are_sampled() -> None:
    rows = [row(n, depth=64, weight_gain=1 + n / 5000) for n in range(5000)]
    found = explorer.records(trials(rows))
    assert len(found) == explorer.MOST_TRIALS
    assert len(explorer.embedded(found)) < 2e6


def test_what_is_embedded_is_json_without_nan_that_ends_no_script() -> None:
    evil = "</script><script>alert(1)</script>"
    rows = [planted | {"part": evil} for planted in rich_rows(points=20)]
    rows[0] |= {"gradient_decades": -math.inf, "gradient_profile": [-math.inf, 0.0], "depth": 2}
    text = explorer.embedded(explorer.records(trials([*rows, row(999, gradient_profile=[math.nan, 0.0])])))
    assert "<" not in text
    assert "NaN" not in text
    assert "Infinity" not in text
    assert json.loads(text)["datasets"]["trials"][0]["part"] == evil


def test_no_measured_trial_is_no_record() -> None:
    assert explorer.records(trials([row(0, gradient_decades=None)])) == []


def test_what_is_hovered_over_is_large_opaque_and_outlined() -> None:
    def marks(node):
        """The encodings of all charts."""
        if isinstance(node, dict):
            yield from [node["encoding"]] if "encoding" in node else []
            for inner in node.values():
                yield from marks(inner)
        elif isinstance(node, list):
            for inner in node:
                yield from marks(inner)

    chart = json.loads(explorer.embedded(explorer.records(trials(rich_rows(points=20)))))
    dots = next(encoding for encoding in marks(chart) if "shape" in encoding)
    for channel, (hovered, other) in {"opacity": (1.0, 0.72), "size": (170, 46)}.items():
        assert (dots[channel]["condition"]["value"], dots[channel]["value"]) == (hovered, other)
    assert (dots["stroke"]["condition"]["value"], dots["stroke"]["value"]) == ("#000000", "transparent")
