"""Colours and marks, the same in every figure and in the explorer."""

from __future__ import annotations

INK, FAINT = "#26282b", "#8a8d91"
STABLE = "#f8f4e6"
REGIME_COLOURS = {"vanishing": "#2f6fb0", "stable": "#b9ab7d", "exploding": "#c23b3a"}
EMPTY = "#d9dbdf"  # no trial near
REGIME_TINTS = {"vanishing": "#cfe0f0", "stable": "#fdfbf3", "exploding": "#f6d5cd"}
OUTCOME_COLOURS = {"learned": "#00755e", "stalled": "#7d8186", "diverged": "#000000", "failed": "#b0479f"}
OUTCOME_MARKERS = {"learned": "o", "stalled": "o", "diverged": "X", "failed": "P"}
