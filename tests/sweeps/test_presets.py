"""The presets answer what they ask: a small version of each runs, in this process, to rows that are right."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gradatlas.study.experiment import results
from gradatlas.sweeps.planning.forecast import core_seconds as core_seconds_of
from gradatlas.sweeps.planning.packing import planned_trials
from gradatlas.sweeps.running.runs import create_run
from gradatlas.sweeps.spec.presets import core_seconds, preset_files
from gradatlas.sweeps.spec.sweep import Sweep, load_sweep, parse_sweep
from gradatlas.sweeps.store.ledger import Ledger

NAMES = ("atlas", "clipping", "recurrent", "trainability")


def _small(name: str) -> Sweep:
    """A preset with few points and steps."""
    document: dict[str, Any] = tomllib.loads(preset_files()[name].read_text())
    document["search"] |= {"points": 4}
    for part in document.get("part", ()):
        part.setdefault("search", {})["points"] = 4
    fixed = document.get("fixed", {})
    fixed["steps"] = min(fixed.get("steps", 100), 3)
    return parse_sweep(document, f"{name}.toml")


def _run(sweep: Sweep, folder: Path) -> Ledger:
    ledger = create_run(folder, sweep, "test", 2)
    for pack in ledger.pending_packs():
        ledger.write_result(pack, results(ledger.pack_trials(pack)))
    return ledger


@pytest.mark.thorough
@pytest.mark.parametrize("name", NAMES)
def test_a_small_version_of_a_preset_gives_every_row_as_its_trial_alone_does(name, tmp_path):
    sweep = _small(name)
    ledger = _run(sweep, tmp_path / "run")
    rows = pl.read_parquet(ledger.folder / "results" / "*.parquet").sort("trial")
    planned = planned_trials(sweep)
    assert rows["trial"].to_list() == list(range(len(planned)))
    for entry, row in zip(planned, rows.iter_rows(named=True), strict=True):
        (alone,) = results([entry.trial])
        for column in ("gradient_decades", "forward_decades"):
            assert math.isclose(row[column], alone[column], rel_tol=1e-9, abs_tol=1e-9), (entry, column)
        for column in ("initial_loss", "final_loss", "outcome"):
            assert row[column] == alone[column], (entry, column)
        assert row["failure"] is None
        assert math.isfinite(row["gradient_decades"])
        assert (row["outcome"] is None) == (entry.trial.steps == 0)
        assert row["part"] == entry.part


def test_the_atlas_holds_every_activation_norm_and_skip_connection():
    from gradatlas.study.choices.activations import ACTIVATIONS
    from gradatlas.study.trial import PARAMETERS

    axes = load_sweep(preset_files()["atlas"]).parts[0].scientific
    assert set(axes["activation"].values) == set(ACTIVATIONS)
    for name in ("norm", "skip"):
        assert set(axes[name].values) == set(PARAMETERS[name].names())


def test_clipping_is_asked_of_deep_and_of_recurrent_nets():
    parts = {part.name: part for part in load_sweep(preset_files()["clipping"]).parts}
    assert parts["mlp"].fixed.get("family", "mlp") == "mlp"
    assert parts["rnn"].fixed["family"] == "rnn"
    for part in parts.values():
        assert {"clip_norm", "weight_gain", "depth"} <= set(part.scientific)
        assert "off" in part.scientific["clip_norm"].values


def test_trainability_looks_for_the_learning_rate_in_each_cell():
    sweep = load_sweep(preset_files()["trainability"])
    assert set(sweep.parts[0].nuisance) == {"learning_rate"}
    rates: dict[int, set[float]] = {}
    for entry in planned_trials(sweep):
        rates.setdefault(entry.point, set()).add(entry.trial.learning_rate)
    assert {len(tried) for tried in rates.values()} == {sweep.search.nuisance_draws}
    assert min(max(tried) / min(tried) for tried in rates.values()) > 100


@pytest.mark.thorough
def test_the_seconds_that_are_told_of_presets_are_those_of_their_plans():
    planned = {name: round(core_seconds_of(load_sweep(file)), 1) for name, file in preset_files().items()}
    assert core_seconds() == pytest.approx(planned, rel=0.01), f"sweeps/presets/core_seconds.json: {planned}"
