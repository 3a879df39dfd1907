"""The answers and the boundaries as the report's tables have them: text for every cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from analysis.boundaries import boundaries_of_cells, score_of_cells
from analysis.claims import Claim
from analysis.figures.settings import MOST_SETTINGS, named
from analysis.words import number, percent, span
from study.regimes import Limits

VERDICTS = ("supported", "refuted", "depends", "not tested")


def answer_rows(claims: Sequence[Claim]) -> list[dict[str, Any]]:
    """One row per question: what the report shows of it."""
    return [
        {
            "id": claim.id, "question": claim.question, "verdict": claim.verdict,
            "depends_on": claim.depends_on, "answer": claim.answer, "to_run": claim.to_run,
            "effect": _effect(claim), "n": claim.n, "figure": claim.figure,
        }
        for claim in claims
    ]  # fmt: skip


def _effect(claim: Claim) -> str:
    if claim.effect is None:
        return ""
    # Shares come as fractions; all other units are written behind their number.
    write = percent if claim.unit == "share" else number
    unit = "" if claim.unit in ("", "share") else f" {claim.unit}"
    ends = ""
    if claim.interval is not None:
        low, high = claim.interval
        ends = f" (95 %: {write(low)} to {write(high)})"
    return f"{write(claim.effect)}{unit}{ends}"


def verdict_counts(claims: Sequence[Claim]) -> dict[str, int]:
    """How many claims have each verdict."""
    found: list[str] = [claim.verdict for claim in claims]
    return {name: found.count(name) for name in VERDICTS}


def boundary_rows(cells: pl.LazyFrame) -> dict[str, Any]:
    """`rows` of the critical σ_w that the data support, and how many settings have none (`without`)."""
    found = boundaries_of_cells(cells)
    columns = found.columns[: found.columns.index("depth_low")]
    known = found.filter(pl.col("critical_sigma_w").is_not_null())
    settings = found.select(columns).n_unique() if len(found) else 0
    shown = known.select(columns).n_unique() if len(known) else 0
    rows = named(known.sort("activation", *columns, "depth_low"), columns).iter_rows(named=True)
    return {
        "rows": [
            {
                "heading": row["heading"], "subheading": row["subheading"],
                "layers": span(row["depth_low"], row["depth_high"]),
                "critical": _digits(row["critical_sigma_w"]),
                "interval": f"{_digits(row['low'])} – {_digits(row['high'])}",
                "predicted": _digits(row["predicted_sigma_w"]), "theory": _digits(row["theory_sigma_w"]),
                "residual": "–" if row["residual"] is None else _signed(row["residual"]),
                "cells": row["cells"],
            }
            for row in rows
        ],
        "without": settings - shown,
        "unlisted": max(0, shown - MOST_SETTINGS),
    }  # fmt: skip


def _digits(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _signed(share: float) -> str:
    return f"{100 * share:+.0f}\u00a0%".replace("-", "−")


def score_rows(cells: pl.LazyFrame, limits: Limits) -> list[dict[str, Any]]:
    """How often theory's regime is the measured one, for each setting."""
    found = score_of_cells(cells, limits)
    columns = found.columns[: found.columns.index("cells")]
    rows = named(found, columns).filter(pl.col("agreeing").is_not_null()).iter_rows(named=True)
    return [
        {
            "heading": row["heading"], "subheading": row["subheading"], "cells": row["cells"],
            "undetermined": row["undetermined"], "untold": row["untold"],
            "agreeing": percent(row["agreeing"]),
            "interval": f"{percent(row['low'])} – {percent(row['high'])}",
        }
        for row in rows
    ]  # fmt: skip
