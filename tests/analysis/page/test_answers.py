"""The rows of the report's tables: their numbers are those of the tables they come from."""

from __future__ import annotations

import polars as pl
import pytest

from gradatlas.analysis.claims.evidence import evidence
from gradatlas.analysis.measures import areas
from gradatlas.analysis.measures.mitigations import SCHEMA, mitigations
from gradatlas.analysis.page.answers import CHANGES, area_rows, mitigation_rows
from gradatlas.analysis.reading import tables
from gradatlas.study.regimes import DEFAULT_LIMITS
from tests.analysis.conftest import row, study_rows, trials


def test_areas_are_those_of_the_regions_as_a_share_of_what_was_tried() -> None:
    cells = tables.cells(trials(study_rows(points=400)))
    found, table = area_rows(cells), areas.region_table(cells)
    assert found["unlisted"] == 0
    assert len(found["rows"]) == len(table)
    tanh = next(row for row in found["rows"] if (row["heading"], row["subheading"]) == ("tanh", "batch norm"))
    assert tanh["share"] == "100\u00a0%"
    assert {row["heading"] for row in found["rows"]} == {"tanh", "ReLU"}


def test_a_run_at_one_weight_scale_has_no_area() -> None:
    cells = tables.cells(trials([row(n, depth=2 + n) for n in range(20)]))
    assert area_rows(cells) == {"rows": [], "unlisted": 0}


def test_mitigations_say_what_changes_and_whether_it_is_clear() -> None:
    found = mitigations(evidence(trials(study_rows(points=1200)), DEFAULT_LIMITS).cells)
    batch = next(row for row in mitigation_rows(found) if row["setting"] == "batch norm")
    changes = dict(zip(CHANGES, batch["changes"], strict=True))
    stable = found.filter(setting="batch", what="stable").row(0, named=True)
    assert batch["against"] == "no norm"
    assert changes["stable"]["text"] == f"+{100 * stable['difference']:.0f}"
    assert changes["stable"]["is_clear"]
    assert changes["vanishing"]["text"].startswith("−")


@pytest.mark.parametrize(
    ("low", "high", "is_clear"), [(0.001, 0.02, True), (-0.002, 0.02, False), (-0.03, -0.001, True)]
)
def test_a_change_is_clear_by_its_interval_and_not_by_its_rounding(
    low: float, high: float, is_clear: bool
) -> None:
    table = pl.DataFrame(
        [("main", "clip_norm", "0.1", "off", "diverged", (low + high) / 2, low, high, 30, 60)],
        schema=SCHEMA,
        orient="row",
    )
    (found,) = mitigation_rows(table)
    assert (found["setting"], found["against"]) == ("clip norm 0.1", "clip norm off")
    assert found["changes"][CHANGES.index("diverged")]["is_clear"] is is_clear
    assert found["changes"][CHANGES.index("stable")] is None
