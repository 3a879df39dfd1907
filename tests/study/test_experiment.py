"""The stages of a pack: a stop between any two changes no bit of the rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gradatlas.study.choices.tasks import task_named
from gradatlas.study.experiment import Experiment, results
from gradatlas.study.records import COLUMNS
from gradatlas.study.training.pack import PackInTraining
from gradatlas.study.trial import Trial

PACKS = {
    "mlp": [Trial(depth=depth, width=16, steps=9, batch_size=16, seed=depth) for depth in (3, 9, 5)],
    "one diverges": [
        Trial(depth=4, width=16, steps=9, batch_size=16, learning_rate=rate, weight_gain=9.0, seed=3)
        for rate in (1e-6, 1e9)
    ],
    "all diverge": [
        Trial(depth=4, width=16, steps=9, batch_size=16, learning_rate=1e12, weight_gain=gain, seed=3)
        for gain in (9.0, 12.0)
    ],
    "measured": [Trial(depth=4, width=16, steps=9, batch_size=16, measure_steps=3, optimizer="adam", seed=1)],
    "probed": [
        Trial(depth=4, width=16, steps=9, batch_size=16, probe_size=20, learning_rate=rate, seed=3)
        for rate in (1e-3, 1e9)
    ],
    "lstm": [
        Trial(family="lstm", depth=5, width=16, steps=9, batch_size=16, task="adding", seed=seed)
        for seed in (1, 2)
    ],
}


def _same(rows: list[dict], others: list[dict]) -> None:
    """Equal to the bit, but for the time that it took."""
    for row, other in zip(rows, others, strict=True):
        assert {**row, "seconds": None} == {**other, "seconds": None}


@pytest.mark.parametrize("steps", [0, 1, 4, 9])
@pytest.mark.parametrize("trials", PACKS.values(), ids=PACKS)
def test_a_pack_that_was_saved_goes_on_to_the_same_rows(tmp_path: Path, trials: list[Trial], steps: int):
    stopped = Experiment(trials)
    stopped.advance(steps)
    stopped.save(tmp_path)
    again = Experiment(trials)
    again.load(tmp_path)
    assert again.steps_done == stopped.steps_done
    while not again.finished:
        again.advance(2)
    _same(again.rows(), results(trials))


def test_a_profile_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trials = PACKS["mlp"]
    stopped = Experiment(trials)
    stopped.advance(0)
    stopped.save(tmp_path)
    expected = results(trials)
    monkeypatch.setattr("gradatlas.study.experiment.ARCHITECTURES", {"mlp": None})
    again = Experiment(trials)
    again.load(tmp_path)
    monkeypatch.undo()
    again.advance(9)
    _same(again.rows(), expected)


def test_an_experiment_that_did_nothing_leaves_no_file(tmp_path: Path):
    Experiment(PACKS["mlp"]).save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_time_before_a_stop_counts(tmp_path: Path):
    stopped = Experiment(PACKS["mlp"])
    stopped.advance(4)
    stopped.save(tmp_path)
    before = sum(row["seconds"] for row in stopped.failed_rows("stopped"))
    again = Experiment(PACKS["mlp"])
    again.load(tmp_path)
    assert sum(row["seconds"] for row in again.failed_rows("stopped")) == pytest.approx(before, rel=1e-5)


@pytest.mark.parametrize("name", ["profile.npz", "training.npz"])
@pytest.mark.parametrize("left", [0, 100, -100])
def test_a_state_that_is_cut_short_is_refused(tmp_path: Path, name: str, left: int):
    stopped = Experiment(PACKS["mlp"])
    stopped.advance(4)
    stopped.save(tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:left])
    with pytest.raises(ValueError, match="must be a saved state"):
        Experiment(PACKS["mlp"]).load(tmp_path)


def test_a_state_of_other_columns_is_refused(tmp_path: Path):
    np.savez(tmp_path / "profile.npz", depths=np.array([1]), seconds=1.0)
    with pytest.raises(ValueError, match="must be a saved profile"):
        Experiment(PACKS["mlp"]).load(tmp_path)


@pytest.mark.parametrize("steps", [None, 0], ids=["before it was measured", "measured"])
def test_failed_rows_hold_every_column_and_the_reason(steps: int | None):
    experiment = Experiment(PACKS["mlp"])
    if steps is not None:
        experiment.advance(steps)
    rows = experiment.failed_rows("RuntimeError: no")
    expected = {c.name for c in COLUMNS.values() if c.role != "identity"} | {"seed"}
    for row, trial in zip(rows, PACKS["mlp"], strict=True):
        assert set(row) == expected
        assert (row["outcome"], row["failure"]) == ("failed", "RuntimeError: no")
        assert (row["seed"], row["depth"], row["losses"]) == (trial.seed, trial.depth, None)
        assert (row["gradient_decades"] is None) == (steps is None)


def test_relative_decades_are_those_of_the_gradient_beyond_those_of_the_signal():
    net = {"depth": 6, "width": 16, "steps": 0, "seed": 1}
    (row,) = results([Trial(init="he", skip="residual", **net)])
    forward, gradient = row["forward_profile"], row["gradient_profile"]
    expected = gradient[0] - gradient[-1] - (forward[-1] - forward[0])
    assert row["relative_gradient_decades"] == pytest.approx(expected, abs=1e-9)
    assert abs(expected) > 0.01
    (dead,) = results([Trial(weight_gain=0.0, **net)])
    assert dead["gradient_decades"] is None or dead["forward_decades"] is None
    assert dead["relative_gradient_decades"] is None


def test_without_steps_a_pack_is_finished_once_measured():
    experiment = Experiment([Trial(depth=3, width=8, steps=0)])
    assert not experiment.finished
    experiment.advance(1)
    assert experiment.finished
    assert experiment.rows()[0]["outcome"] is None


@pytest.mark.parametrize(
    "setting",
    [
        {"norm": "batch", "skip": "scaled", "dtype": "bfloat16"},
        {"init": "torch_default"},
        {"family": "lstm", "task": "adding"},
    ],
    ids=str,
)
def test_training_starts_from_what_was_measured_as_if_it_were_drawn_anew(setting):
    trials = [Trial(depth=6, width=16, batch_size=16, steps=2, seed=seed, **setting) for seed in range(2)]
    experiment = Experiment(trials)
    experiment.advance(2)
    drawn = PackInTraining(trials, task_named(trials[0].task).data(6))
    drawn.advance(2)
    layers = zip(experiment._training._network.parameters(), drawn._network.parameters(), strict=True)
    for one, other in layers:
        assert all(map(torch.equal, one.named().values(), other.named().values()))
