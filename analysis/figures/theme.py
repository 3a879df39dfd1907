"""One look for all figures: layouts, fonts, colours, marks.

Two layouts exist for each figure, one for a page and one for a phone: same data, other columns.
Vanishing is blue, stable light, exploding red, everywhere; the three also differ in lightness, so they are
told apart without colour vision.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from gradatlas.analysis.colours import FAINT, INK, OUTCOME_COLOURS, OUTCOME_MARKERS, REGIME_COLOURS, STABLE
from gradatlas.study.regimes import Limits
from gradatlas.study.trial import PARAMETERS

_VANISHING_ARM = ("#08264a", "#1c5a9c", "#8fbfe3")
_EXPLODING_ARM = ("#f3ab92", "#bf3237", "#5c0a1e")


@dataclass(frozen=True)
class Layout:
    """Sizes in inches and points; a figure is never wider than `width`."""

    name: str
    width: float
    columns: int
    panel_height: float
    font: float
    wrap: int  # characters of a panel's subheading


WIDE = Layout("wide", width=11.6, columns=4, panel_height=1.5, font=9.5, wrap=40)
NARROW = Layout("narrow", width=4.0, columns=2, panel_height=1.5, font=8.8, wrap=26)


@contextmanager
def theme(layout: Layout) -> Iterator[None]:
    """Matplotlib's settings while a figure is drawn and saved."""
    settings = {
        **sns.axes_style("ticks"),
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": layout.font,
        "axes.labelsize": layout.font + 0.5,
        "xtick.labelsize": layout.font - 0.8,
        "ytick.labelsize": layout.font - 0.8,
        "axes.edgecolor": FAINT,
        "axes.linewidth": 0.7,
        "xtick.color": INK,
        "ytick.color": INK,
        "xtick.major.width": 0.7,
        "ytick.major.width": 0.7,
        "xtick.major.size": 3,
        "ytick.major.size": 3,
        "text.color": INK,
        "axes.labelcolor": INK,
        "figure.facecolor": "white",
        "legend.frameon": False,
        "svg.fonttype": "none",  # letters as letters: half the size of their outlines
        "svg.hashsalt": "gradatlas",  # the same figure is the same file
    }
    with mpl.rc_context(settings):
        yield


def regime_colours(limits: Limits) -> tuple[ListedColormap, Normalize]:
    """The map of G to colour: one light colour for stable, a jump at its limits, two arms to 2 × severe."""
    end = 2 * limits.severe_decades
    arms = [LinearSegmentedColormap.from_list("arm", arm) for arm in (_VANISHING_ARM, _EXPLODING_ARM)]
    g = np.linspace(-end, end, 513)
    reach = (np.abs(g) - limits.stable_decades) / (end - limits.stable_decades)
    colours = np.where((g < 0)[:, None], arms[0](1 - reach), arms[1](reach))
    colours[np.abs(g) <= limits.stable_decades] = mpl.colors.to_rgba(STABLE)
    return ListedColormap(colours, name="regime"), Normalize(-end, end)


def activation_colours(names: Iterable[str]) -> dict[str, str]:
    """The colour of each activation, the same in every figure, in the order in which they are declared.

    Names that are not declared come last, by the alphabet.
    """
    declared = PARAMETERS["activation"].choices
    shown = set(names)
    every = (*declared, *sorted(shown - set(declared), key=str))
    colours = sns.color_palette("colorblind").as_hex()
    return {name: colours[place % len(colours)] for place, name in enumerate(every) if name in shown}


def literal(text: str) -> str:
    """A user's text where matplotlib looks for formulas between dollars."""
    return text.replace("$", r"\$")


def line_handle(colour: object, label: str) -> Line2D:
    """A legend's entry for a curve."""
    return Line2D([], [], color=colour, linewidth=2.2, label=label)  # type: ignore[arg-type]


def patch_handle(colour: str, label: str) -> Patch:
    """A legend's entry for an area."""
    return Patch(facecolor=colour, edgecolor=FAINT, linewidth=0.5, label=label)


def regime_handle(regime: str) -> Line2D:
    """A legend's entry for a network in the colour of its regime."""
    return Line2D(
        [], [], linestyle="none", marker="o", markersize=5.5, color=REGIME_COLOURS[regime], label=regime
    )


def outcome_handle(outcome: str, label: str, *, size: float) -> Line2D:
    """A legend's entry for an outcome, as it is marked in every figure."""
    colour = OUTCOME_COLOURS[outcome]
    face = "white" if outcome == "stalled" else colour
    marker = OUTCOME_MARKERS[outcome]
    return Line2D(
        [],
        [],
        linestyle="none",
        marker=marker,
        color=colour,
        markerfacecolor=face,
        markersize=size,
        label=label,
    )
