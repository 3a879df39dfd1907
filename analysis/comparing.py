"""Two runs side by side: shares of the regimes, critical lines, verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import polars as pl

from gradatlas.analysis.claims import claims
from gradatlas.analysis.claims.claim import Claim
from gradatlas.analysis.measures.boundaries import boundaries_of_cells
from gradatlas.analysis.measures.effects import difference
from gradatlas.analysis.reading import tables
from gradatlas.analysis.reading.cells import cells
from gradatlas.analysis.reading.panels import SETTING
from gradatlas.study.regimes import Limits

_PLACE = ("activation", "norm", "norm_position", "skip")
_WHAT = ("vanishing", "stable", "exploding", "learned", "diverged")


@dataclass(frozen=True)
class Comparison:
    """`names` of the two runs, the `limits` that both are labelled with, `notes`, and three tables.

    `shares`: per setting and label (`what`) the share in each run (`first`, `second`) and their difference,
    second less first, at the same depth and σ_w, with interval. `boundaries`: critical σ_w of each with its
    interval, and whether the intervals are apart. `claims`: verdict and effect of each.
    """

    names: tuple[str, str]
    limits: Limits
    notes: list[str]
    shares: pl.DataFrame
    boundaries: pl.DataFrame
    claims: pl.DataFrame


def compare(first: tables.Run, second: tables.Run) -> Comparison:
    """The comparison of two runs; both are labelled with the limits of the first.

    Raises NoResultsError for a run without results.
    """
    limits, other = (tables.sweep_limits(tables.read_sweep(run)) for run in (first, second))
    notes = [
        f"{name}: {getattr(limits, name):g} in the first, {getattr(other, name):g} in the second; "
        "both are labelled with the first's"
        for name in vars(limits)
        if getattr(limits, name) != getattr(other, name)
    ]
    labelled = [tables.labelled(tables.scan_results(run)[0], limits) for run in (first, second)]
    frames = [cells(frame, limits).collect() for frame in labelled]
    if not set(frames[0]["activation"]) & set(frames[1]["activation"]):
        notes.append("the runs have no activation in common: nothing can be compared at the same place")
    return Comparison(
        names=(_name(first), _name(second)),
        limits=limits,
        notes=notes,
        shares=_shares(*frames),
        boundaries=_lines(*frames),
        claims=_claims(*(claims(frame, limits) for frame in labelled)),
    )


def _name(run: tables.Run) -> str:
    return PurePosixPath(str(run)).name


_SHARES: dict[str, pl.DataType] = {
    **dict.fromkeys((*_PLACE, "what"), pl.String()),
    **dict.fromkeys(("first", "second", "difference", "low", "high"), pl.Float64()),
    "cells": pl.Int64(),
}


def _shares(first: pl.DataFrame, second: pl.DataFrame) -> pl.DataFrame:
    both = pl.concat([first.with_columns(arm=False), second.with_columns(arm=True)]).with_columns(
        *((pl.col("regime") == name).alias(name) for name in _WHAT[:3]),
        octave=pl.col("depth").log(2).floor(),
        scale=(2 * pl.col("sigma_w").log(2)).floor(),
    )
    rows = []
    for key, group in sorted(both.group_by(_PLACE), key=lambda pair: tuple(map(str, pair[0]))):
        for what in _WHAT:
            effect = difference(group, what, "arm", ("family", "octave", "scale"))
            if effect is not None:
                own = [
                    group.filter(pl.col("arm") == arm)[what].cast(pl.Float64).mean() for arm in (False, True)
                ]
                rows.append((*key, what, *own, effect.value, effect.low, effect.high, effect.cells))
    return pl.DataFrame(rows, schema=_SHARES, orient="row")


def _mean(cells: pl.DataFrame, what: str) -> Any:
    return cells[what].cast(pl.Float64).mean()


def _lines(first: pl.DataFrame, second: pl.DataFrame) -> pl.DataFrame:
    keys = [*SETTING, "depth_low", "depth_high"]
    kept = [*keys, "critical_sigma_w", "low", "high"]
    found = [
        boundaries_of_cells(frame.lazy()).drop_nulls("critical_sigma_w").select(kept)
        for frame in (first, second)
    ]
    joined = found[0].join(found[1], on=keys, suffix="_second", nulls_equal=True).sort(keys)
    apart = (pl.col("low") > pl.col("high_second")) | (pl.col("low_second") > pl.col("high"))
    return joined.with_columns(
        ratio=pl.col("critical_sigma_w_second") / pl.col("critical_sigma_w"), apart=apart
    )


def _claims(first: list[Claim], second: list[Claim]) -> pl.DataFrame:
    rows = [
        (one.id, one.question, one.verdict, two.verdict, one.effect, two.effect, one.unit or two.unit)
        for one, two in zip(first, second, strict=True)
    ]
    names = ("id", "question", "verdict", "verdict_second", "effect", "effect_second", "unit")
    schema: dict[str, pl.DataType] = dict.fromkeys(names, pl.String())
    schema |= dict.fromkeys(("effect", "effect_second"), pl.Float64())
    return pl.DataFrame(rows, schema=schema, orient="row")
