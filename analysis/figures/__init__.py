"""The figures of the report, in its order. A new figure is a module with a `PLOT`, and one entry here."""

from __future__ import annotations

from analysis.figures import clipping, outcome_map, profiles, regime_map
from analysis.figures.plot import Drawing, Plot, save

FIGURES: dict[str, Plot] = {
    plot.name: plot for plot in (regime_map.PLOT, profiles.PLOT, outcome_map.PLOT, clipping.PLOT)
}

__all__ = ["FIGURES", "Drawing", "Plot", "save"]
