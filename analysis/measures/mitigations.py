"""Mitigations compared: what each norm, skip connection and clipping changes, at the same place of the map.

A difference is between cells that agree in part, activation, initialisation, width, octave of depth and half
octave of σ_w, and in the other mitigations. Its interval is Newcombe's for strata rather than a bootstrap
over cells: where all cells of an arm agree, as they often do, a bootstrap has no width at all.
"""

from __future__ import annotations

import polars as pl

from gradatlas.analysis.measures.effects import difference
from gradatlas.study.regimes import REGIMES

REMEDIES = ("norm", "norm_position", "skip", "clip_norm", "clip_value", "clip_adaptive")
_PLAIN = {"norm": "none", "norm_position": "before", "skip": "none"}
_PLACE = ("part", "family", "activation", "init", "width", "octave", "scale")
_LABELS = {"initialisation": REGIMES, "training": ("learned", "diverged")}
SCHEMA = pl.Schema(
    {
        "part": pl.String(),
        "remedy": pl.String(),
        "setting": pl.String(),
        "against": pl.String(),
        "what": pl.String(),
        "difference": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "cells": pl.Int64(),
        "trials": pl.Int64(),
    }
)


def mitigations(cells: pl.DataFrame) -> pl.DataFrame:
    """One row per part, mitigation, its setting and label, of the rows of `analysis.claims.evidence`.

    `difference` of the label's share with the setting less that without (`against`), its 95 % interval, and
    the cells and trials that could be compared. Clipping changes training alone, so its rows have outcomes.
    """
    rows = []
    for (part,), table in sorted(cells.group_by(["part"])):
        for remedy in REMEDIES:
            plain = _PLAIN.get(remedy)
            values = table[remedy].unique().sort().to_list()
            if plain in values and len(values) > 1:
                for value in values:
                    if value != plain:
                        rows += _rows(part, table, remedy, value, plain)
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _rows(
    part: object, table: pl.DataFrame, remedy: str, value: object, plain: object
) -> list[tuple[object, ...]]:
    is_it, is_plain = (pl.col(remedy).eq_missing(pl.lit(entry)) for entry in (value, plain))
    both = table.filter(is_it | is_plain).with_columns(arm=is_it)
    others = [name for name in REMEDIES if name != remedy]
    found: list[tuple[object, ...]] = []
    for what in (*_LABELS["initialisation"], *_LABELS["training"]):
        if remedy.startswith("clip") and what in REGIMES:
            continue
        effect = difference(both, what, "arm", (*_PLACE, *others))
        if effect is not None:
            names = (str(part), remedy, str(value), "off" if plain is None else str(plain), what)
            found.append((*names, effect.value, effect.low, effect.high, effect.cells, effect.n))
    return found
