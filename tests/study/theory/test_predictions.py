"""What theory says and what a network measures, by the two functions behind `theory` and `profile`.

The tolerance is the standard error of the mean over seeds. The errors of a table of settings are held to what
chance allows: none beyond what one in ten thousand tables of this size would have, and their mean square as
that of as many draws from Student's t.
"""

from itertools import product
from typing import NamedTuple

import numpy as np
import pytest
from scipy import stats

from gradatlas.study.single import profile_rows
from gradatlas.study.theory.meanfield import Structure
from gradatlas.study.theory.phase import PhasePoint, theory_row
from gradatlas.study.theory.predictions import gaussian_statistics, predictions
from gradatlas.study.trial import Trial

SEEDS, DEPTH = 16, 12


class Setting(NamedTuple):
    """One network of the table."""

    activation: str
    sigma_w: float
    sigma_b: float = 0.0
    norm: str = "none"
    norm_position: str = "before"
    skip: str = "none"
    family: str = "mlp"
    width: int = 128
    batch_size: int = 24


PLAIN = [
    Setting("linear", 0.8), Setting("linear", 1.0, 0.3), Setting("linear", 1.2),
    Setting("sigmoid", 1.0), Setting("sigmoid", 4.0, 1.0), Setting("sigmoid", 12.0),
    Setting("tanh", 0.7), Setting("tanh", 1.1225, 0.05), Setting("tanh", 3.0, 0.5),
    Setting("relu", 1.0), Setting("relu", 2**0.5), Setting("relu", 1.8, 0.5),
    Setting("leaky_relu", 1.0, 0.2), Setting("leaky_relu", 2**0.5), Setting("leaky_relu", 2.0),
    Setting("elu", 0.9), Setting("elu", 1.2, 0.1), Setting("elu", 1.6),
    Setting("selu", 0.7), Setting("selu", 1.0), Setting("selu", 1.3, 0.3),
    Setting("gelu", 1.0, 0.5), Setting("gelu", 1.5), Setting("gelu", 2.0, 0.1),
    Setting("silu", 1.2), Setting("silu", 1.6, 0.3), Setting("silu", 2.2),
    Setting("softplus", 0.8), Setting("softplus", 1.2, 0.5), Setting("softplus", 1.5),
]  # fmt: skip
# The order 1/n of norms, skips and recurrent nets is not in the theory. A batch averages probes, so the
# standard error is of that order too; that of a small batch is larger, as 1/√n, and hides it at this width.
NORMS = [
    Setting(
        activation, sigma_w, sigma_b, norm, position, skip, width=384, batch_size=24 if norm == "batch" else 2
    )
    for (norm, position), skip, (activation, sigma_w, sigma_b) in product(
        (("layer", "before"), ("layer", "after"), ("batch", "before")),
        ("none", "residual", "preactivation", "scaled"),
        (("relu", 1.2, 0.0), ("tanh", 1.5, 0.2)),
    )
]
SKIPS = [
    Setting(activation, sigma_w, sigma_b, skip=skip, width=256, batch_size=2)
    for skip, (activation, sigma_w, sigma_b) in product(
        ("residual", "preactivation", "scaled"),
        (("relu", 1.0, 0.3), ("tanh", 1.5, 0.2), ("sigmoid", 3.0, 0.0)),
    )
]
RECURRENT = [
    Setting("tanh", 1.2, 0.1, family="rnn", width=384, batch_size=2),
    Setting("relu", 1.0, family="rnn", width=384, batch_size=2),
]
SETTINGS = [*PLAIN, *NORMS, *SKIPS, *RECURRENT]


def standard_errors(setting: Setting, first_seed: int) -> tuple[float, float]:
    """(G, slope): measured mean minus prediction, in standard errors of the mean."""
    row = theory_row(
        PhasePoint(
            Structure(
                setting.activation, setting.family, setting.norm, setting.norm_position, 1e-5, setting.skip,
                setting.batch_size,
            ),
            setting.sigma_w, setting.sigma_b, setting.width,
        ),
        depth=DEPTH,
    )  # fmt: skip
    trial = Trial(
        family=setting.family, activation=setting.activation, weight_gain=setting.sigma_w,
        bias_std=setting.sigma_b, norm=setting.norm, norm_position=setting.norm_position, skip=setting.skip,
        width=setting.width, depth=DEPTH, batch_size=setting.batch_size, task=None,
    )  # fmt: skip
    rows = profile_rows(trial, seeds=SEEDS, first_seed=first_seed)
    errors = []
    for name in ("gradient_decades", "gradient_slope"):
        values = np.array([row[name] for row in rows])
        errors.append((values.mean() - row[name]) / (values.std(ddof=1) / SEEDS**0.5))
    return errors[0], errors[1]


@pytest.mark.thorough
def test_theory_and_profile_agree_within_the_standard_error():
    errors = np.array([standard_errors(setting, 1000 * place) for place, setting in enumerate(SETTINGS)])
    assert len(errors) >= 60
    student = stats.t(SEEDS - 1)
    assert np.abs(errors).max() < student.isf(1e-4 / (2 * errors.size))
    # The mean of as many squares of t, four of its own standard deviations above its expectation.
    square = student.var()
    scatter = np.sqrt((student.moment(4) - square**2) / len(errors))
    assert ((errors**2).mean(axis=0) < square + 4 * scatter).all()


def measured(trial: Trial, seeds: int, first_seed: int = 0) -> np.ndarray:
    rows = profile_rows(trial, seeds=seeds, first_seed=first_seed)
    return np.array([row["gradient_decades"] for row in rows])


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("activation", "sigma_w", "batch_size"),
    [("linear", 1.0, 32), ("relu", 2**0.5, 1), ("relu", 2**0.5, 32), ("tanh", 2.0, 32), ("selu", 1.0, 1)],
)
def test_the_predicted_spread_is_that_of_many_seeds(activation, sigma_w, batch_size):
    trial = Trial(
        activation=activation, weight_gain=sigma_w, depth=20, width=32, batch_size=batch_size, task=None
    )
    found = measured(trial, seeds=200)
    row = theory_row(PhasePoint(Structure(activation, batch_size=batch_size), sigma_w, width=32), depth=20)
    # A sample's deviation of 200 has an error of 5 %; the theory is of first order in depth / width = 0.6.
    assert row["gradient_sd"] == pytest.approx(found.std(ddof=1), rel=0.25)
    assert row["gradient_decades"] == pytest.approx(found.mean(), abs=4 * found.std() / 200**0.5)


def test_one_probe_has_the_spread_and_drift_of_the_textbook():
    depth, width = 50, 512
    row = theory_row(PhasePoint(Structure("relu", batch_size=1), 2**0.5, width=width), depth=depth)
    log_variance = (depth - 1) * np.log1p(5 / width)  # c = 3 E φ′⁴ / (E φ′²)² − 1 = 5
    assert row["gradient_sd"] == pytest.approx(np.sqrt(log_variance) / 2 / np.log(10), rel=0.02)
    assert row["gradient_decades"] == pytest.approx(-log_variance / 4 / np.log(10), rel=0.02)


@pytest.mark.thorough
def test_what_mean_field_leaves_falls_as_one_over_the_width():
    shifts, predicted = [], []
    for width in (32, 64, 128):
        trial = Trial(activation="relu", weight_gain=2**0.5, depth=16, width=width, batch_size=1, task=None)
        found = measured(trial, seeds=400)  # mean field: 0
        shifts.append(found.mean())
        point = PhasePoint(Structure("relu", batch_size=1), 2**0.5, width=width)
        predicted.append(theory_row(point, depth=16)["gradient_decades"])
        assert shifts[-1] == pytest.approx(predicted[-1], abs=4 * found.std() / 400**0.5)
    assert predicted[0] / predicted[2] == pytest.approx(4, rel=0.1)
    assert shifts[0] < shifts[1] < shifts[2] < 0


def test_the_mean_of_a_residual_relu_stream_outgrows_mean_field():
    trial = Trial(
        activation="relu", weight_gain=1.2, skip="residual", depth=40, width=64, batch_size=32, task=None
    )
    found = measured(trial, seeds=24)
    point = PhasePoint(Structure("relu", skip="residual", batch_size=32), 1.2)
    row = theory_row(point, depth=40)
    mean_field = 39 / 2 * np.log10(1 + 1.2**2 / 2)
    assert found.mean() > mean_field + 1.5  # two of seven decades: no small correction
    assert row["gradient_decades"] == pytest.approx(found.mean(), abs=4 * found.std(ddof=1) / 24**0.5)


def test_an_orthogonal_linear_network_has_neither_gain_nor_spread():
    trial = Trial(activation="linear", init="orthogonal", depth=30, task=None)
    (row,) = predictions([trial], gaussian_statistics(64, 1.0))
    assert (row.gradient_decades, row.slope, row.sd) == (0.0, 0.0, 0.0)
    assert np.abs(measured(trial, seeds=3)).max() < 1e-13
