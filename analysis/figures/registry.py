"""The figures of the report, in its order. A new figure is a module with a `PLOT`, and one entry here."""

from __future__ import annotations

from gradatlas.analysis.figures import (
    batch_size,
    clip_map,
    clip_thresholds,
    coordinates,
    critical_gain,
    depth_window,
    factors,
    forward_backward,
    importance_bars,
    measured_against_predicted,
    outcome_map,
    profiles,
    ranks,
    regime_map,
    slices,
    survival,
    time_steps,
    trainability,
)
from gradatlas.analysis.figures.plot import Plot

FIGURES: dict[str, Plot] = {
    module.PLOT.name: module.PLOT
    for module in (
        regime_map,
        measured_against_predicted,
        critical_gain,
        depth_window,
        profiles,
        factors,
        forward_backward,
        survival,
        time_steps,
        clip_thresholds,
        clip_map,
        batch_size,
        outcome_map,
        trainability,
        importance_bars,
        coordinates,
        slices,
        ranks,
    )
}
