"""Calibration: intervals hold the truth as often as they say, and verdicts are wrong as seldom."""

from __future__ import annotations

import secrets

import numpy as np
import pytest

from tests.analysis.calibration import COUNTERS

# Five minutes of one core: two thousand studies a row.
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", COUNTERS)
def test_intervals_and_verdicts_keep_their_promise(name: str) -> None:
    seed = secrets.randbits(64)
    row = COUNTERS[name](np.random.default_rng(seed))
    assert row.holds, f"{row}, seed {seed}"
