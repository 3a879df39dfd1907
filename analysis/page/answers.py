"""The answers and the boundaries as the report's tables have them: text for every cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from gradatlas.analysis.claims import Claim
from gradatlas.analysis.figures.settings import MOST_SETTINGS, named
from gradatlas.analysis.measures.areas import region_table
from gradatlas.analysis.measures.boundaries import boundaries_of_cells, score_of_cells
from gradatlas.analysis.words import number, percent, span, word
from gradatlas.study.regimes import REGIMES, Limits

VERDICTS = ("yes", "no", "depends", "undecided", "not tested")


def answer_rows(claims: Sequence[Claim]) -> list[dict[str, Any]]:
    """One row per question: what the report shows of it."""
    return [
        {
            "id": claim.id, "question": claim.question, "verdict": claim.verdict,
            "said": claim.said, "answer": claim.answer, "to_run": claim.to_run,
            "effect": _effect(claim), "n": claim.n, "figure": claim.figure, "rule": claim.rule,
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
    return f"{_points(round(100 * share))}\u00a0%"


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


def area_rows(cells: pl.LazyFrame) -> dict[str, Any]:
    """`rows` of the stable area in (log10 depth, log10 σ_w), and how many settings are left out."""
    found = region_table(cells)
    columns = found.columns[: found.columns.index("cells")]
    known = found.filter(pl.col("area").is_not_null())
    rows = named(known, columns).iter_rows(named=True)
    return {
        "rows": [
            {
                "heading": row["heading"], "subheading": row["subheading"], "cells": row["cells"],
                "area": number(row["area"]), "covered": number(row["covered"]),
                "interval": f"{number(row['area_low'])} – {number(row['area_high'])}",
                "share": percent(row["area"] / row["covered"]),
            }
            for row in rows
        ],
        "unlisted": max(0, len(known) - MOST_SETTINGS),
    }  # fmt: skip


CHANGES = (*REGIMES, "learned", "diverged")


def mitigation_rows(found: pl.DataFrame) -> list[dict[str, Any]]:
    """One row per mitigation of `analysis.measures.mitigations`: what it changes of the shares, in points."""
    by = ["part", "remedy", "setting", "against"]
    return [
        {
            "part": part, "against": word(remedy, None if against == "off" else against),
            "setting": word(remedy, _clip(setting) if remedy.startswith("clip") else setting),
            "cells": int(rows["cells"].max()),  # type: ignore[arg-type]
            "changes": [_change(rows.filter(pl.col("what") == what)) for what in CHANGES],
        }
        for (part, remedy, setting, against), rows in found.group_by(by, maintain_order=True)
    ]  # fmt: skip


def _clip(setting: object) -> float:
    return float(str(setting))


def _change(row: pl.DataFrame) -> dict[str, Any] | None:
    """The difference of a share with its interval, and whether it is one."""
    if row.is_empty():
        return None
    value, low, high = (round(100 * row[name][0]) for name in ("difference", "low", "high"))
    return {
        "text": _points(value),
        "interval": f"{_points(low)} to {_points(high)}",
        "is_clear": row["low"][0] > 0 or row["high"][0] < 0,
    }


def _points(value: int) -> str:
    return f"{value:+d}".replace("-", "−") if value else "0"
