"""The figures of the report, in its order. A new figure is a module with a `PLOT`, and one entry here."""

from __future__ import annotations

from gradatlas.analysis.figures import (
    batch_size,
    clip_map,
    clipping,
    coordinates,
    critical_gain,
    depth_window,
    factors,
    forward_backward,
    importance,
    outcome_map,
    profiles,
    ranks,
    recurrent,
    regime_map,
    slices,
    survival,
    trainability,
)
from gradatlas.analysis.figures.plot import Plot

FIGURES: dict[str, Plot] = {
    module.PLOT.name: module.PLOT
    for module in (
        regime_map,
        critical_gain,
        depth_window,
        profiles,
        factors,
        forward_backward,
        survival,
        recurrent,
        clipping,
        clip_map,
        batch_size,
        outcome_map,
        trainability,
        importance,
        coordinates,
        slices,
        ranks,
    )
}
