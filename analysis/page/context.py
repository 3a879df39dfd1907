"""What the report says: every value of the template, from the tables of a run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from gradatlas.analysis import words
from gradatlas.analysis.claims import claims_of
from gradatlas.analysis.claims.evidence import evidence
from gradatlas.analysis.measures import regions
from gradatlas.analysis.measures.mitigations import mitigations
from gradatlas.analysis.page import summary
from gradatlas.analysis.page.answers import (
    CHANGES,
    answer_rows,
    area_rows,
    boundary_rows,
    mitigation_rows,
    score_rows,
    verdict_counts,
)
from gradatlas.analysis.reading import panels, tables
from gradatlas.analysis.reading.tables import NoResultsError, Unreadable
from gradatlas.study.regimes import Limits

_DEFAULT_QUESTION = "Where do gradients vanish or explode?"


_MOST_DRAWN = 20_000  # trials that the figures and the explorer show


@dataclass(frozen=True)
class RunContent:
    """What the report is made from.

    `trials` are all labelled ones without their layers, `whole` with them, `size` how many. `drawn` are those
    that the figures show: all, or in a large run those of a random choice of points. `cells` holds the
    points, `unreadable` what could not be read.
    """

    run: Path
    trials: pl.LazyFrame
    whole: pl.LazyFrame
    size: int
    drawn: pl.DataFrame
    cells: pl.LazyFrame
    plans: pl.LazyFrame | None
    unreadable: list[Unreadable]
    sweep: dict[str, Any]
    limits: Limits


def read_run(run: Path, *, thorough: bool = False) -> RunContent:
    """The content of a run folder; raises NoResultsError where nothing can be reported."""
    results, unreadable = tables.scan_results(run, thorough=thorough)
    plans, bad_plans = tables.scan_plans(run)
    sweep = tables.read_sweep(run)
    limits = tables.sweep_limits(sweep)
    size = results.select(pl.len()).collect().item()
    if not size:
        raise NoResultsError(
            f"{run}: its result files hold no trials; `gradatlas resume {run}` runs its plan"
        )
    drawn = _chosen(results, size).collect()
    # What has no layers fits into memory whole, and is read once.
    scalars = results.select(~pl.selectors.list()).collect().lazy()
    trials = tables.labelled(scalars, limits)
    cells = tables.cells(trials, limits).collect().lazy()
    labelled = tables.labelled(drawn.lazy(), limits).collect()
    whole = labelled.lazy() if size <= _MOST_DRAWN else tables.labelled(results, limits)
    faults = unreadable + bad_plans
    return RunContent(run, trials, whole, size, labelled, cells, plans, faults, sweep, limits)


def _chosen(results: pl.LazyFrame, size: int) -> pl.LazyFrame:
    """The trials of as many whole points as the figures can show, the same ones every time."""
    if size <= _MOST_DRAWN:
        return results
    buckets = -(-size // _MOST_DRAWN)
    return results.filter(pl.struct("part", "point").hash(0) % buckets == 0)


def context(content: RunContent) -> dict[str, Any]:
    """Every value that the template names, figures and explorer aside."""
    environment = _environment(content.run)
    found = evidence(content.whole, content.limits)
    answers = claims_of(found)
    return {
        "run": content.run.resolve().name,
        "question": str(content.sweep.get("question") or _DEFAULT_QUESTION),
        "sentences": summary.sentences(content.cells, content.trials, content.limits, content.sweep),
        "answers": answer_rows(answers),
        "verdicts": verdict_counts(answers),
        "boundaries": boundary_rows(content.cells),
        "areas": area_rows(content.cells),
        "mitigations": mitigation_rows(mitigations(found.cells)),
        "changes": CHANGES,
        "parts": content.cells.select(pl.col("part").n_unique()).collect().item(),
        "scores": score_rows(content.cells, content.limits),
        "limits": content.limits,
        "shares": _shares(content),
        "ranges": _ranges(content),
        "pooled": panels.pooled_columns(content.trials),
        "drawn": len(content.drawn),
        "counts": tables.counts(content.trials, content.plans),
        "failures": tables.failures(content.trials),
        "unreadable": [str(fault) for fault in content.unreadable],
        "environment": list(_flat(environment)),
        "started": _moment(str(environment.get("started", ""))),
        "command": f"gradatlas run {shlex.quote(str(content.run / 'sweep.toml'))}",
        "resume": f"gradatlas resume {shlex.quote(str(content.run))}",
        "sweep_file": _text(content.run / "sweep.toml"),
    }


_KEYS = ["panel", "heading", "subheading"]


def _named(frame: pl.LazyFrame, content: RunContent) -> pl.LazyFrame:
    """The rows of trials or cells with the name of their panel."""
    columns = panels.panel_columns(content.trials)
    on = list(dict.fromkeys(["activation", *columns]))
    return frame.join(panels.panel_keys(content.trials, columns).lazy(), on=on, nulls_equal=True)


def _shares(content: RunContent) -> list[dict[str, Any]]:
    """One row per panel: its name, the regimes' shares, the outcomes' shares (None without training)."""
    regimes = regions.regime_shares(_named(content.cells, content), _KEYS)
    outcomes = regions.outcome_shares(_named(content.trials, content), _KEYS)
    return regimes.join(outcomes, on=_KEYS, how="left").sort("panel").collect().rows(named=True)


def _ranges(content: RunContent) -> dict[str, Any]:
    """The stable σ_w by panel and depth band: `bands` (column heads), `rows` with a cell per band.

    Settings with too few cells at every depth are only counted (`unlisted`).
    """
    found = regions.stable_ranges(_named(content.cells, content), _KEYS)
    bands = sorted({(row["depth_low"], row["depth_high"]) for row in found})
    by_panel: dict[tuple[Any, ...], dict[tuple[int, int], regions.StableRange]] = {}
    for row in found:
        ranges = by_panel.setdefault(tuple(row[key] for key in _KEYS), {})
        ranges[row["depth_low"], row["depth_high"]] = row["range"]
    rows = [
        dict(zip(_KEYS, key, strict=True)) | {"cells": [_range_cell(ranges.get(band)) for band in bands]}
        for key, ranges in sorted(by_panel.items())
        if any(found.kind != "few" for found in ranges.values())
    ]
    return {
        "bands": [words.span(*band) for band in bands],
        "rows": rows,
        "unlisted": len(by_panel) - len(rows),
    }


def _range_cell(found: regions.StableRange | None) -> dict[str, str]:
    if found is None or found.kind == "few":
        return {"kind": "few", "text": "–"}
    if found.kind in ("most", "mixed"):
        return {"kind": found.kind, "text": f"{words.percent(found.stable_share)} stable"}
    return {"kind": found.kind, "text": _bounds(found) if found.kind == "range" else found.kind}


def _bounds(found: regions.StableRange) -> str:
    assert found.low is not None
    assert found.high is not None
    low, high = words.number(found.low), words.number(found.high)
    if found.open_low:
        return f"≤ {high}"
    if found.open_high:
        return f"≥ {low}"
    return f"≈ {low}" if low == high else f"{low} – {high}"


def _environment(run: Path) -> dict[str, Any]:
    try:
        found = json.loads(_text(run / "environment.json") or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(name, value) of every leaf, names joined by dots."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield (
                f"{prefix}{name}",
                ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value),
            )


def _moment(text: str) -> str:
    """An ISO time to the minute; anything else as it is."""
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M %Z").strip()
    except (ValueError, RecursionError):
        return text


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8") if file.is_file() else ""
    except (OSError, UnicodeDecodeError):
        return ""
