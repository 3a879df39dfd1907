"""A run opened for reading: what `gradatlas tables` writes, as Polars LazyFrames.

`trials`, `layers` and `cells` are plans over the run's files, which nothing reads before `collect`. What is
estimated from cells (regions, boundaries, windows, mitigations, claims) is computed when it is first asked
for, and kept: it is that of the moment, also of a run that goes on. Open the run again to see more of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import polars as pl

from gradatlas.analysis import table_files
from gradatlas.analysis.reading import tables
from gradatlas.study.regimes import REGIMES, Limits

TABLES = ("trials", "layers", "cells", "regions", "boundaries", "windows", "mitigations", "claims")


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A run's tables, limits and sweep.

    `sweep` is the resolved sweep file, `limits` what the labels were derived with, `unreadable` the result
    files that are left out because they cannot be read.

        run = gradatlas.open("runs/quickstart-20261125-070502")
        run.trials.filter(regime="exploding").select("depth", "sigma_w").collect()
    """

    path: Path | str
    sweep: dict[str, Any]
    limits: Limits
    unreadable: tuple[str, ...]
    trials: pl.LazyFrame
    """One row per trial: parameters, measurements (lists: one value per layer), `regime`, `outcome`."""

    @cached_property
    def layers(self) -> pl.LazyFrame:
        """One row per trial and layer, layer 1 nearest to the input."""
        return table_files.long_layers(self.trials)

    @cached_property
    def cells(self) -> pl.LazyFrame:
        """One row per point: the median over its draws and repetitions, with its labels."""
        return tables.cells(self.trials, self.limits)

    @cached_property
    def regions(self) -> pl.LazyFrame:
        """One row per setting: the shares of the regimes with intervals, and the stable area."""
        return self._estimated("regions")

    @cached_property
    def boundaries(self) -> pl.LazyFrame:
        """One row per setting and band of depth: the critical σ_w, with theory's beside it."""
        return self._estimated("boundaries")

    @cached_property
    def windows(self) -> pl.LazyFrame:
        """One row per setting and band of depth: the σ_w between which the gradient is stable."""
        return self._estimated("windows")

    @cached_property
    def mitigations(self) -> pl.LazyFrame:
        """One row per norm, skip connection or clipping, and what it changes."""
        return self._estimated("mitigations")

    @cached_property
    def claims(self) -> pl.LazyFrame:
        """One row per question of the study: verdict, effect, interval, trials."""
        return self._estimated("claims")

    @cached_property
    def _estimates(self) -> table_files.Estimates:
        return table_files.estimates(self.trials, self.cells.collect().lazy(), self.limits)

    def _estimated(self, name: str) -> pl.LazyFrame:
        return self._estimates[name]().lazy()

    @cached_property
    def _regimes(self) -> dict[str, int]:
        """Trials by regime."""
        counted = self.trials.group_by("regime").agg(trials=pl.len()).collect()
        return dict(counted.rows())

    def _summary(self) -> str:
        counts = [f"{self._regimes[name]} {name}" for name in REGIMES if name in self._regimes]
        left_out = [f"unreadable files: {len(self.unreadable)}"] if self.unreadable else []
        return ", ".join([f"{sum(self._regimes.values())} trials", *counts, *left_out])

    def __repr__(self) -> str:
        question = self.sweep.get("question", "")
        return f"<gradatlas.Run {self.path}: {question} {self._summary()}>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        question = escape(str(self.sweep.get("question", "")))
        names = ", ".join(f"<code>.{name}</code>" for name in TABLES)
        return (
            f"<p><b>{question}</b><br>{escape(str(self.path))}: {escape(self._summary())}<br>"
            f"LazyFrames: {names}</p>"
        )


def opened(path: Path | str) -> Run:
    """The run of a folder or URL; raises NoResultsError, a ValueError, where it has no results."""
    trials, unreadable = tables.scan_results(path)
    sweep = tables.read_sweep(path)
    limits = tables.sweep_limits(sweep)
    left_out = tuple(f"{entry.file.parent.name}/{entry.file.name}" for entry in unreadable)
    return Run(path, sweep, limits, left_out, tables.labelled(trials, limits))
