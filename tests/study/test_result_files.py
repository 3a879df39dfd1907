"""A file of a run is what was written, or what is wrong with it is said."""

from __future__ import annotations

from io import BytesIO

import polars as pl
import pytest

from gradatlas.study.result_files import (
    file_fault,
    file_metadata,
    pack_codes,
    plan_fault,
    sealed,
    trials_code,
)
from gradatlas.study.trial import DEFAULTS, PARAMETERS


def _file(trials: list[int], *, name: str = "pack-000000", seal: bool = True) -> bytes:
    frame, sink = pl.DataFrame({"trial": trials, "pack": [name] * len(trials)}), BytesIO()
    frame.write_parquet(sink, metadata=file_metadata(name, trials_code(trials)) if seal else {})
    return sealed(sink.getvalue()) if seal else sink.getvalue()


def _fault(content: bytes, trials: list[int]) -> str:
    return file_fault(content, pl, name="pack-000000", trials=trials_code(trials))


@pytest.mark.parametrize("seal", [True, False])
def test_a_file_is_that_of_its_name_and_its_trials(seal):
    assert _fault(_file([2, 1], seal=seal), [1, 2]) == ""
    assert "other trials" in _fault(_file([1, 2], seal=seal), [1, 2, 3])
    assert _fault(_file([1, 2], name="pack-000001", seal=seal), [1, 2]) in (
        "was written as pack-000001",
        "holds the rows of another pack",
    )


def test_no_byte_of_a_sealed_file_can_change_unnoticed():
    content = _file([1, 2, 3])
    for place in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 1
        fault = _fault(bytes(damaged), [1, 2, 3])
        # Where the seal's own name is hit the rows are decoded instead, and they are sound.
        assert fault or b"gradatlas-seal" not in damaged, place


@pytest.mark.parametrize("length", [0, 4, 11, 12, 200])
def test_a_truncated_file_is_not_whole(length):
    assert "not a whole Parquet file" in _fault(_file([1])[:length], [1])


def test_a_trial_twice_and_a_later_version_are_named():
    assert _fault(_file([1, 1], seal=False), [1]) == "has a trial twice"
    sink = BytesIO()
    pl.DataFrame({"trial": [1]}).write_parquet(sink, metadata={"gradatlas.columns": "99"})
    assert "a later version" in _fault(sink.getvalue(), [1])


def _plan(**values: object) -> pl.DataFrame:
    identity = {"trial": 0, "part": "main", "point": 0, "draw": 0, "repetition": 0, "seed": 0}
    return pl.DataFrame(
        [{**identity, "pack": "pack-000000", **{name: DEFAULTS[name] for name in PARAMETERS}, **values}]
    )


@pytest.mark.parametrize("pack", ["../../victim", "pack-1", "/tmp/pack-000000", "pack-000000/..", ""])
def test_a_pack_is_named_by_its_form(pack):
    assert plan_fault(_plan()) == ""
    assert plan_fault(_plan().drop("probe_size")) == ""  # of an earlier version
    assert plan_fault(_plan().drop("measure_steps")) == "has no column 'measure_steps'"
    assert "pack-NNNNNN" in plan_fault(_plan(pack=pack))


@pytest.mark.parametrize("task", ["../../wine.npz", "/etc/wine.npz", "data/../wine.npz", "wine.npz"])
def test_a_tasks_file_stands_in_the_folder(task):
    assert plan_fault(_plan(task="data/wine.npz")) == ""
    assert "data/NAME" in plan_fault(_plan(task=task))


def test_codes_of_packs_do_not_depend_on_the_order_of_rows():
    plan = pl.concat([_plan(trial=3), _plan(trial=1), _plan(trial=2, pack="pack-000001")])
    assert pack_codes(plan) == {"pack-000000": trials_code([1, 3]), "pack-000001": trials_code([2])}
