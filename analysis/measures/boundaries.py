"""Critical lines and stable windows of σ_w, estimated from scattered cells, with theory's beside them.

The critical σ_w is where the gradient turns from vanishing to exploding with growing weights: G = 0. The
window is where |G| is at most the stable limit. Depths of a band are brought together as decades per layer,
G / (L − 1), which hardly depends on L; the window is stated at the band's middle depth.
`analysis.measures.level_crossing` estimates each σ_w and says where the cells support none.

Theory stands beside as `theory_sigma_w`, χ = 1 of infinitely deep and wide networks, and as
`predicted_sigma_w`, the zero of the G that is predicted for these very cells at their depth and width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import linregress
from scipy.stats import t as student

from gradatlas.analysis.measures.level_crossing import LEAST_POINTS, Crossing, crossing
from gradatlas.analysis.measures.regions import depth_bands, wilson
from gradatlas.analysis.reading.cells import cells
from gradatlas.analysis.reading.panels import SETTING, setting_columns
from gradatlas.study.choices.families import FAMILIES
from gradatlas.study.regimes import DEFAULT_LIMITS, UNDETERMINED, Limits, regime
from gradatlas.study.theory.critical import critical, has_fixed_points
from gradatlas.study.theory.meanfield import Structure

_NUMBERS = ("depth", "sigma_w", "sigma_b", "gradient_decades", "theory_gradient_decades")
_STRUCTURE = ("family", "norm_eps", "batch_size")


def boundaries(trials: pl.LazyFrame, limits: Limits = DEFAULT_LIMITS) -> pl.DataFrame:
    """One row per setting and band of depth (low and high included) with the critical σ_w of its cells.

    `critical_sigma_w` with its 95 % interval `low`, `high`, `theory_sigma_w`, `predicted_sigma_w`,
    `residual` (measured over theory's, less 1), `cells`, and `note`: why there is no line, or no theory.
    """
    return boundaries_of_cells(cells(trials, limits))


def boundaries_of_cells(frame: pl.LazyFrame) -> pl.DataFrame:
    """`boundaries` of the rows of `analysis.reading.cells.cells`."""
    rows = []
    columns = setting_columns(frame)
    for key, band, group in _bands(frame, columns):
        found = _crossed(group, "gradient_decades", 0.0)
        theory, theory_note = _theory(group)
        sigma = _sigma(found.x)
        rows.append(
            key
            | band
            | {
                "critical_sigma_w": sigma,
                "low": _sigma(found.low),
                "high": _sigma(found.high),
                "theory_sigma_w": theory,
                "predicted_sigma_w": _sigma(_crossed(group, "theory_gradient_decades", 0.0).x),
                "residual": sigma / theory - 1 if sigma and theory else None,
                "cells": len(group),
                "note": "; ".join(filter(None, (found.note, theory_note))),
            }
        )
    return _frame(rows, frame, columns, _BOUNDARY)


_BAND: dict[str, pl.DataType] = {"depth_low": pl.Int64(), "depth_high": pl.Int64()}
_BOUNDARY: dict[str, pl.DataType] = {
    **_BAND,
    **dict.fromkeys(
        ("critical_sigma_w", "low", "high", "theory_sigma_w", "predicted_sigma_w", "residual"), pl.Float64()
    ),
    "cells": pl.Int64(),
    "note": pl.String(),
}
_ENDS = ("lower", "lower_low", "lower_high", "upper", "upper_low", "upper_high")
_WINDOW: dict[str, pl.DataType] = {
    **_BAND,
    "depth": pl.Float64(),
    **dict.fromkeys((*_ENDS, "predicted_lower", "predicted_upper", "decades"), pl.Float64()),
    "cells": pl.Int64(),
    "note": pl.String(),
}


def windows(trials: pl.LazyFrame, limits: Limits = DEFAULT_LIMITS) -> pl.DataFrame:
    """One row per setting and band of depth: the stable window at the band's middle `depth`.

    `lower` and `upper` end (σ_w⁻, σ_w⁺), each with a 95 % interval (`lower_low` … `upper_high`) and the one
    predicted for these cells, `decades` = log10(upper / lower), and `note` where an end is missing.
    """
    return windows_of_cells(cells(trials, limits), limits)


def windows_of_cells(frame: pl.LazyFrame, limits: Limits) -> pl.DataFrame:
    """`windows` of the rows of `analysis.reading.cells.cells`."""
    columns = setting_columns(frame)
    rows = [key | band | _window(group, limits.stable_decades) for key, band, group in _bands(frame, columns)]
    return _frame(rows, frame, columns, _WINDOW)


def _window(group: pl.DataFrame, limit: float) -> dict[str, Any]:
    depth = float(np.exp(np.log(group["depth"].to_numpy() - 1).mean())) + 1
    level = limit / (depth - 1)
    lower, upper = (_crossed(group, "gradient_decades", end) for end in (-level, level))
    predicted = [_sigma(_crossed(group, "theory_gradient_decades", end).x) for end in (-level, level)]
    both = lower.x is not None and upper.x is not None
    ends = [_sigma(value) for value in (*lower[:1], *lower[1:3], *upper[:1], *upper[1:3])]
    notes = [f"{name} end: {end.note}" for name, end in (("lower", lower), ("upper", upper)) if end.note]
    return {
        "depth": depth,
        **dict(zip(_ENDS, ends, strict=True)),
        "predicted_lower": predicted[0],
        "predicted_upper": predicted[1],
        "decades": upper.x - lower.x if both else None,  # type: ignore[operator]
        "cells": len(group),
        "note": "; ".join(notes),
    }


def window_law(windows: pl.DataFrame) -> pl.DataFrame:
    """Per setting with 3 or more windows: `exponent` p of width ∝ (L − 1)^p with 95 % interval, `bands`.

    Where the growth per layer is smooth at the critical σ_w the window shrinks as 1/(L − 1).
    """
    columns = windows.columns[: windows.columns.index("depth_low")]
    rows = []
    known = windows.filter(pl.col("decades") > 0, pl.col("depth") > 1)
    for key, group in known.group_by(columns, maintain_order=True):
        if group.height < 3:
            continue
        line = linregress(np.log10(group["depth"] - 1), np.log10(group["decades"]))
        half = student.ppf(0.975, group.height - 2) * line.stderr
        rows.append(
            (*key, float(line.slope), float(line.slope - half), float(line.slope + half), group.height)
        )
    kept = {name: windows.schema[name] for name in columns}
    numbers = dict.fromkeys(("exponent", "low", "high"), pl.Float64())
    return pl.DataFrame(rows, schema=kept | numbers | {"bands": pl.Int64()}, orient="row")


def score(trials: pl.LazyFrame, limits: Limits = DEFAULT_LIMITS) -> pl.DataFrame:
    """Per setting: how often theory's regime is the measured one.

    `cells` (measured), of them `untold` (theory says nothing) and `undetermined` (the measurement does not
    part the regimes); of the others `agreeing` is the share, with its 95 % interval `low`, `high`.
    """
    return score_of_cells(cells(trials, limits), limits)


def score_of_cells(frame: pl.LazyFrame, limits: Limits) -> pl.DataFrame:
    """`score` of the rows of `analysis.reading.cells.cells`."""
    columns = setting_columns(frame)
    measured = frame.filter(pl.col("regime").is_not_null()).select(
        *columns, "label", "theory_gradient_decades"
    )
    found = measured.collect()
    theory = regime(found["theory_gradient_decades"].cast(pl.Float64).to_numpy(), limits)
    told = pl.col("theory").is_not_null()
    clear = told & (pl.col("label") != UNDETERMINED)
    rows = (
        found.with_columns(theory=pl.Series(theory.tolist(), dtype=pl.String()))
        .group_by(columns)
        .agg(
            cells=pl.len(),
            untold=(~told).sum(),
            undetermined=(told & (pl.col("label") == UNDETERMINED)).sum(),
            clear=clear.sum(),
            right=(clear & (pl.col("theory") == pl.col("label"))).sum(),
        )
        .sort(columns)
    )
    ends = [wilson(right, n) for right, n in rows.select("right", "clear").iter_rows()]
    return rows.with_columns(
        agreeing=pl.when(pl.col("clear") > 0).then(pl.col("right") / pl.col("clear")),
        low=pl.Series([end[0] for end in ends], dtype=pl.Float64()),
        high=pl.Series([end[1] for end in ends], dtype=pl.Float64()),
    ).drop("clear", "right")


def _bands(
    frame: pl.LazyFrame, columns: list[str]
) -> Iterator[tuple[dict[str, Any], dict[str, int], pl.DataFrame]]:
    """(setting, band, its measured cells of 2 and more layers), the bands those of its part."""
    needed = list(dict.fromkeys([*columns, *_NUMBERS, *_STRUCTURE]))
    measured = frame.filter(pl.col("gradient_decades").is_not_null(), pl.col("depth") > 1)
    table = measured.select(needed).collect().sort(columns)
    for _, part in table.group_by("part", maintain_order=True):
        bands = depth_bands(part["depth"].unique().to_list())
        for key, group in part.group_by(columns, maintain_order=True):
            for low, high in bands:
                inside = group.filter(pl.col("depth").is_between(low, high))
                if len(inside):
                    yield dict(zip(columns, key, strict=True)), {"depth_low": low, "depth_high": high}, inside


def _crossed(group: pl.DataFrame, column: str, level: float) -> Crossing:
    """Where decades per layer pass the level, in log10 σ_w."""
    known = group.filter(pl.col("sigma_w") > 0)
    layers = known["depth"].cast(pl.Float64).to_numpy() - 1
    decades = known[column].cast(pl.Float64).to_numpy()
    # Steps add up like a random walk: the variance of their mean falls as 1/(L − 1).
    return crossing(np.log10(known["sigma_w"].to_numpy()), decades / layers, variance=1 / layers, level=level)


def _sigma(log10_sigma: float | None) -> float | None:
    return None if log10_sigma is None else float(10**log10_sigma)


def _theory(group: pl.DataFrame) -> tuple[float | None, str]:
    """Theory's critical σ_w of one setting; None with the reason, and for too few cells to compare with."""
    if len(group) < LEAST_POINTS:
        return None, ""
    for name in ("sigma_b", *_STRUCTURE):
        if group[name].n_unique() > 1:
            return None, f"no one critical σ_w: {name} varies"
    row = group.row(0, named=True)
    return _critical(*(row[name] for name in (*SETTING[1:], *_STRUCTURE, "sigma_b")))


@lru_cache(maxsize=256)
def _critical(*setting: Any) -> tuple[float | None, str]:
    if None in setting:
        return None, "no theory: the setting is not recorded"
    *values, sigma_b = setting
    structure = Structure(**dict(zip((*SETTING[1:], *_STRUCTURE), values, strict=True)))
    if FAMILIES[structure.family].is_recurrent or not has_fixed_points(structure):
        return None, ""
    found = critical(structure, added_variance=sigma_b**2)
    return found.sigma_w, f"theory: {found.note}" if found.note else ""


def _frame(
    rows: list[dict[str, Any]], frame: pl.LazyFrame, columns: list[str], own: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    types = frame.collect_schema()
    return pl.DataFrame(rows, schema={name: types[name] for name in columns} | dict(own), orient="row")
