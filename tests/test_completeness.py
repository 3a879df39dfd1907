"""Every entry of every table is predicted or refused, documented, worded, and has an oracle outside."""

from __future__ import annotations

import dataclasses

import pytest

from gradatlas.analysis.words import word
from gradatlas.study.choices.families import FAMILIES, Family
from gradatlas.study.choices.structures import NORMS, SKIPS, NormKind, StructureKind
from gradatlas.study.families import ARCHITECTURES
from gradatlas.study.networks.memory import pack_memory, sizes
from gradatlas.study.theory.predictions import gaussian_statistics, predictions
from gradatlas.study.trial import PARAMETERS, Trial
from gradatlas.sweeps.planning.costs import cost
from gradatlas.sweeps.spec.reference import reference
from tests.study.oracles import ORACLES

TABLES = {name: parameter.table for name, parameter in PARAMETERS.items() if parameter.kind == "choice"}
ENTRIES = [(parameter, name) for parameter, table in TABLES.items() for name in table]


def _trial(parameter: str, name: str) -> Trial:
    """The default trial with one entry; on a task that fits."""
    setting = {"depth": 8, "width": 16, "batch_size": 16, parameter: name}
    if parameter == "family" and FAMILIES[name].is_recurrent:
        setting["task"] = "adding"
    if parameter == "task" and TABLES["task"][name].is_sequence:
        setting["family"] = "rnn"
    return Trial(**setting)


def missing_parts(parameter: str, name: str) -> set[str]:
    """What an entry lacks."""
    entry, trial = TABLES[parameter][name], _trial(parameter, name)
    (prediction,) = predictions([trial], gaussian_statistics(trial.width, 1.0))
    parts = {
        "prediction or reason": prediction.gradient_decades is not None or bool(prediction.reason),
        "meaning": bool(entry.meaning),
        "a line of the reference": f"| `{parameter}` | `{name}` | {entry.meaning} |" in reference(),
        "title": bool(entry.title) and entry.title in word(parameter, name),
        "oracle": name in ORACLES[parameter],
        "cost": cost(trial) > 0,
        "memory": pack_memory([trial]) > 0 and min(sizes(trial)) > 0,
    }
    return {part for part, is_there in parts.items() if not is_there}


@pytest.mark.parametrize(("parameter", "name"), ENTRIES, ids="-".join)
def test_an_entry_lacks_nothing(parameter, name):
    assert missing_parts(parameter, name) == set()


def test_every_table_has_oracles_for_its_entries_and_no_other():
    assert {parameter: set(table) for parameter, table in TABLES.items()} == {
        parameter: set(table) for parameter, table in ORACLES.items()
    }


def test_every_family_is_built_and_measured_by_an_architecture():
    assert list(ARCHITECTURES) == list(FAMILIES)


@pytest.mark.parametrize(
    ("table", "parameter", "entry"),
    [
        (NORMS, "norm", NormKind("", "", 2)),
        (SKIPS, "skip", StructureKind("", "")),
        (FAMILIES, "family", Family("", "")),
    ],
    ids=["norm", "skip", "family"],
)
def test_a_new_entry_is_missed_until_it_has_its_parts(monkeypatch, table, parameter, entry):
    monkeypatch.setitem(table, "planted", entry)
    assert missing_parts(parameter, "planted") >= {"meaning", "title", "oracle"}


@pytest.mark.parametrize(
    ("table", "parameter", "like"),
    [(NORMS, "norm", "layer"), (SKIPS, "skip", "preactivation"), (FAMILIES, "family", "mlp")],
    ids=["norm", "skip", "family"],
)
def test_a_new_entry_does_not_get_the_theory_of_another(monkeypatch, table, parameter, like):
    monkeypatch.setitem(table, "planted", dataclasses.replace(table[like]))
    trial = _trial(parameter, "planted")
    (prediction,) = predictions([trial], gaussian_statistics(trial.width, 1.0))
    assert prediction == (None, None, None, f"no theory of {parameter} planted")
