"""The sentence that says over which weight scales gradients are stable, by activation.

A window is told by its estimated ends with their 95 % intervals, beside theory's. The outermost stable
networks are no such ends: how far out they lie depends on which σ_w happened to be tried. They are named,
as what was tried, only where the data do not support an estimate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, geometric_mean
from typing import Any

import polars as pl

from gradatlas.analysis.measures.boundaries import windows_of_cells
from gradatlas.analysis.measures.regions import StableRange, stable_ranges
from gradatlas.analysis.reading.panels import setting_columns
from gradatlas.analysis.words import count, joined, network, number, percent, plain_weights, word
from gradatlas.study.regimes import Limits
from gradatlas.study.trial import PARAMETERS

_MOST_NAMED = 5  # activations, or groups of them, in one sentence
_SAME = 1.02  # ratio up to which two of theory's ends count as one


@dataclass(frozen=True)
class End:
    """The σ_w at which a stable window ends, its 95 % interval, and theory's (None where there is none)."""

    sigma_w: float
    low: float
    high: float
    theory: float | None

    def is_like(self, other: End) -> bool:
        """Whether each lies in the other's interval and theory says the same of both."""
        if self.theory is None or other.theory is None:
            is_told_apart = self.theory != other.theory
        else:
            is_told_apart = max(self.theory, other.theory) > _SAME * min(self.theory, other.theory)
        inside = other.low <= self.sigma_w <= other.high and self.low <= other.sigma_w <= self.high
        return inside and not is_told_apart


@dataclass(frozen=True)
class StableWindow:
    """Where the cells of one activation and band of depth are stable.

    An end that is None is open: stable up to the last σ_w tried. Where both are, the window cannot be
    estimated, and `range` has what is known of the stable cells.
    """

    activation: str
    band: tuple[int, int]
    depth: float
    range: StableRange
    lower: End | None
    upper: End | None

    @property
    def kind(self) -> str:
        """Window, or where that is not estimated the kind of the range."""
        return "window" if self.lower or self.upper else self.range.kind

    def is_like(self, other: StableWindow) -> bool:
        """Whether both are windows with ends that cannot be told apart."""
        pairs = ((self.lower, other.lower), (self.upper, other.upper))
        both = [(one, another) for one, another in pairs if one and another]
        is_open_alike = all((one is None) == (another is None) for one, another in pairs)
        return bool(both) and is_open_alike and all(one.is_like(another) for one, another in both)

    def first_scale(self) -> float | None:
        """The first σ_w that is named; None where none is."""
        end = self.lower or self.upper
        if end:
            return end.sigma_w
        return self.range.high if self.range.open_low else self.range.low


def stable_sentence(cells: pl.LazyFrame, limits: Limits) -> str:
    """Over which σ_w the plainest networks are stable, at the depth at which most activations show it.

    Where more than the activation differs between them, it is about the setting with the most cells.
    """
    kind = baseline(cells)
    if kind is None:
        return ""
    alike = cells.filter(pl.col("norm") == kind[0], pl.col("skip") == kind[1], pl.col("depth") > 1)
    plain, setting = _most_usual(alike)
    chosen = _telling([window for window in _windows(plain, limits) if window.kind != "few"])
    if not chosen:
        return ""
    groups = _groups(chosen)[:_MOST_NAMED]
    phrases = [_phrase(group, is_first=place == 0) for place, group in enumerate(groups)]
    where = joined(phrases) if all(len(group) == 1 for group in groups) else "; ".join(phrases)
    text = f"In {network(*kind)} of {_layers(chosen)}{setting}, gradients are stable {where}."
    scale = groups[0][0].first_scale()
    return text if scale is None else f"{text} {plain_weights(scale, _width(plain))}."


def baseline(cells: pl.LazyFrame) -> tuple[str, str] | None:
    """(norm, skip) of the plainest networks there are."""
    kinds = cells.select("norm", "skip").unique().collect().rows()
    return min(kinds, key=lambda kind: ((kind[0] != "none") + (kind[1] != "none"), kind)) if kinds else None


def _most_usual(cells: pl.LazyFrame) -> tuple[pl.LazyFrame, str]:
    """The cells of the most usual setting, activations aside, and in brackets what tells it from others."""
    # The position of a norm that is not there makes no settings.
    frame = cells.with_columns(norm_position=pl.when(pl.col("norm") != "none").then("norm_position"))
    names = [name for name in setting_columns(frame) if name != "activation"]
    counted = frame.group_by(names).len().sort(["len", *names], descending=[True, *[False] * len(names)])
    settings = counted.collect()
    varied = [name for name in names if name != "part" and settings[name].n_unique() > 1]
    told = ", ".join(word(name, settings[name][0]) for name in varied)
    usual = settings.head(1).select(names).lazy()
    return frame.join(usual, on=names, how="semi", nulls_equal=True), f" ({told})" if told else ""


def _width(cells: pl.LazyFrame) -> int:
    """The width that most cells have."""
    return int(cells.select(pl.col("width").mode().min()).collect().item())


def _windows(cells: pl.LazyFrame, limits: Limits) -> list[StableWindow]:
    """One per activation and band of depth."""
    estimated = windows_of_cells(cells, limits).rows_by_key(
        ["activation", "depth_low", "depth_high"], named=True, unique=True
    )
    return [
        _window(row, estimated[row["activation"], row["depth_low"], row["depth_high"]])
        for row in stable_ranges(cells, ["activation"])
    ]


def _window(row: Mapping[str, Any], estimated: Mapping[str, Any]) -> StableWindow:
    tried = row["range"]
    lower, upper = _end(estimated, "lower"), _end(estimated, "upper")
    # One end alone tells a window only where the other side is stable as far as it was tried.
    is_open = tried.kind == "range" and (tried.open_high if lower else tried.open_low)
    if not (lower and upper) and not is_open:
        lower = upper = None
    band = (row["depth_low"], row["depth_high"])
    return StableWindow(row["activation"], band, estimated["depth"], tried, lower, upper)


def _end(estimated: Mapping[str, Any], name: str) -> End | None:
    sigma_w, low, high = (estimated[column] for column in (name, f"{name}_low", f"{name}_high"))
    return None if sigma_w is None else End(sigma_w, low, high, estimated[f"predicted_{name}"])


_ORDER = ("window", "range", "all", "most", "mixed", "none")


def _telling(found: Sequence[StableWindow]) -> list[StableWindow]:
    """Those of the band in which most activations have some stable σ_w, the deepest of such bands.

    An activation whose window is estimated counts twice.
    """

    def score(band: tuple[int, int]) -> tuple[int, int]:
        kinds = [window.kind for window in found if window.band == band]
        return sum(kind not in ("none", "mixed") for kind in kinds) + kinds.count("window"), band[1]

    best = max((window.band for window in found), key=score, default=None)
    chosen = [window for window in found if window.band == best]
    declared = PARAMETERS["activation"].choices
    place = {name: number for number, name in enumerate(declared)}
    return sorted(
        chosen,
        key=lambda one: (_ORDER.index(one.kind), place.get(one.activation, len(place)), one.activation or ""),
    )


def _groups(windows: Sequence[StableWindow]) -> list[list[StableWindow]]:
    """The windows in their order, those that cannot be told apart together."""
    groups: list[list[StableWindow]] = []
    for window in windows:
        group = next((group for group in groups if all(window.is_like(other) for other in group)), None)
        if group is None:
            groups.append([window])
        else:
            group.append(window)
    return groups


def _layers(windows: Sequence[StableWindow]) -> str:
    """'20 hidden layers'; of a band '16 to 31 hidden layers', and the depth at which its windows are told."""
    low, high = windows[0].band
    depths = [window.depth for window in windows if window.kind == "window"]
    if low == high:
        return count(high, "hidden layer")
    if depths:
        return f"about {fmean(depths):.0f} hidden layers ({low} to {high} pooled)"
    return f"{low} to {count(high, 'hidden layer')}"


def _phrase(group: Sequence[StableWindow], *, is_first: bool) -> str:
    """Where a group is stable and which it is; the first says what stands in brackets."""
    names = joined([word("activation", window.activation) for window in group])
    if group[0].kind != "window":
        return f"{_range_phrase(group[0].range)} with {names}"
    lower = _pooled([window.lower for window in group if window.lower])
    upper = _pooled([window.upper for window in group if window.upper])
    first = "95 % interval " if is_first else ""
    start = f"from {_end_words(lower, first)}" if lower else "from the smallest tried"
    stop = f"to {_end_words(upper, '' if lower else first)}" if upper else "to the largest tried"
    told = [number(end.theory, 3) for end in (lower, upper) if end and end.theory]
    theory = f" (theory {' to '.join(told)})" if told else ""
    return f"for σ_w {start} {stop} with {names}{theory}"


def _pooled(ends: Sequence[End]) -> End | None:
    """Ends that cannot be told apart as one: the geometric mean, in an interval that holds all of theirs."""
    if not ends:
        return None
    theory = [end.theory for end in ends if end.theory is not None]
    return End(
        geometric_mean([end.sigma_w for end in ends]),
        min(end.low for end in ends),
        max(end.high for end in ends),
        geometric_mean(theory) if theory else None,
    )


def _end_words(end: End, bracket: str) -> str:
    return f"{number(end.sigma_w, 3)} ({bracket}{number(end.low, 3)} to {number(end.high, 3)})"


def _range_phrase(found: StableRange) -> str:
    return {
        "all": "at every σ_w tried",
        "most": f"in {percent(found.stable_share)} of the cases at any σ_w tried",
        "none": f"in none of the {found.cells} cases",
        "mixed": f"in {percent(found.stable_share)} of the cases",
    }.get(found.kind) or f"in those tried for σ_w {range_words(found)}"


def range_words(found: StableRange) -> str:
    """'from 0.9 to 1.5', 'from the smallest tried to 1.5', 'from 0.9 to the largest tried'."""
    assert found.low is not None
    assert found.high is not None
    low, high = number(found.low), number(found.high)
    if found.open_low:
        return f"from the smallest tried to {high}"
    if found.open_high:
        return f"from {low} to the largest tried"
    return f"around {low}" if low == high else f"from {low} to {high}"
