"""The columns' types in a library of tables."""

from __future__ import annotations

import polars as pl

from gradatlas.study.records import COLUMNS, column_types


def test_types_are_those_of_the_library_lists_of_lists_too():
    found = column_types(pl)
    assert list(found) == list(COLUMNS)
    assert found["trial"] == pl.Int64
    assert found["activation"] == pl.String
    assert found["gradient_profile"] == pl.List(pl.Float64)
    assert found["measured_gradient_profiles"] == pl.List(pl.List(pl.Float64))
    assert {name: str(dtype) for name, dtype in found.items()} == {c.name: c.dtype for c in COLUMNS.values()}


def test_only_the_roles_that_are_named_have_types():
    assert list(column_types(pl, "cost")) == ["seconds", "device"]
    roles = {COLUMNS[name].role for name in column_types(pl, "identity", "derived")}
    assert roles == {"identity", "derived"}
