"""The explorer: the regime map as a chart to hover over, embedded in the report with the scripts it needs.

A mark is a trial. Under the pointer its settings, regime and outcome are told, and its gradient profile is
drawn beside the map; drop-downs keep one activation, norm or skip. At most 2,000 trials are embedded, each
profile at 24 layers at most, so that the file stays small however large the run is.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import altair as alt
import numpy as np
import polars as pl
import vl_convert

from gradatlas.analysis.colours import REGIME_COLOURS
from gradatlas.analysis.figures.sampled import sampled
from gradatlas.analysis.figures.settings import varied
from gradatlas.analysis.words import number, word
from gradatlas.study.regimes import DEFAULT_LIMITS, OUTCOMES, REGIMES, Limits

MOST_TRIALS, MOST_LAYERS = 2000, 24
_FILTERS = ("part", "family", "activation", "norm", "skip")
_SHAPES = {
    "learned": "circle",
    "stalled": "triangle-down",
    "diverged": "cross",
    "failed": "diamond",
    "not trained": "square",
}
_FRAME = 12.0  # decades; a profile that goes further leaves the frame
_ALL = "all"


def records(trials: pl.LazyFrame) -> list[dict[str, Any]]:
    """One object per embedded trial: its place, what is told of it, its profile in decades by layer."""
    shown = list(
        dict.fromkeys([*_FILTERS, *(name for name in varied(trials) if name not in ("depth", "sigma_w"))])
    )
    placed = trials.filter(
        pl.col("sigma_w") > 0,
        pl.col("sigma_w").is_finite(),
        pl.col("depth") > 0,
        pl.col("regime").is_not_null(),
    )
    columns = ["depth", "sigma_w", "gradient_decades", "gradient_profile", *shown]
    frame = sampled(placed, columns, MOST_TRIALS)
    return [_record(row, shown) for row in frame.sort("trial").iter_rows(named=True)]


def _record(row: dict[str, Any], shown: list[str]) -> dict[str, Any]:
    layers, profile = _thinned(row["gradient_profile"] or [])
    told = {name: _told(name, row[name]) for name in shown}
    return {
        "trial": row["trial"], "depth": row["depth"], "sigma": float(f"{row['sigma_w']:.4g}"),
        "regime": row["regime"], "outcome": row["outcome"] or "not trained",
        "G": number(row["gradient_decades"]), "layers": layers, "decades": profile, **told,
    }  # fmt: skip


def _told(name: str, value: Any) -> str:
    if name in _FILTERS:
        return word(name, value)
    if value is None:
        return "off"
    return number(value) if isinstance(value, int | float) else word(name, value)


def _thinned(profile: list[float | None]) -> tuple[list[int], list[float]]:
    """(layers, decades relative to the last layer) at evenly chosen layers, the ends among them."""
    values = np.array(profile, dtype=float)
    if not len(values) or not np.isfinite(values[-1]):
        return [], []
    kept = np.unique(np.linspace(0, len(values) - 1, min(MOST_LAYERS, len(values))).round().astype(int))
    kept = kept[~np.isnan(values[kept])]
    decades = np.clip(values[kept] - values[-1], -_FRAME * 2, _FRAME * 2)
    return (kept + 1).tolist(), [round(float(value), 2) for value in decades]


def spec(rows: list[dict[str, Any]], limits: Limits = DEFAULT_LIMITS) -> dict[str, Any]:
    """The chart in Vega-Lite: the map and the profile of the trial under the pointer."""
    filters = _filters(rows)
    hover = alt.selection_point(
        name="hover", on="pointerover", nearest=True, fields=["trial"], empty=False, clear=False,
        value=[{"trial": _first_shown(rows)}],
    )  # fmt: skip
    data = alt.NamedData("trials")
    chart = alt.concat(
        _map(data, rows, hover, [test for _, test in filters]), _profile(data, hover, limits), columns=2
    ).resolve_scale(color="independent")
    chart = chart.add_params(*(parameter for parameter, _ in filters))
    styled = chart.configure_view(stroke="#8a8d91").configure(background="#ffffff")
    # Validating and copying the rows would take seconds: they are put in afterwards, once.
    found: dict[str, Any] = styled.to_dict(validate=False)
    return found | {"datasets": found.get("datasets", {}) | {"trials": rows}}


def _first_shown(rows: list[dict[str, Any]]) -> int:
    """A deep trial, so that a profile is there before anything is hovered over."""
    trial: int = max(rows, key=lambda row: (len(row["layers"]), row["depth"]))["trial"]
    return trial


def _filters(rows: list[dict[str, Any]]) -> list[tuple[alt.Parameter, str]]:
    """(drop-down, its test) of each setting that has several values here."""
    found = []
    for name in _FILTERS:
        values = sorted({row[name] for row in rows})
        if len(values) > 1:
            menu = alt.binding_select(options=[_ALL, *values], name=f"{name} ")
            parameter = alt.param(name=f"only_{name}", bind=menu, value=_ALL)
            found.append((parameter, f"only_{name} == '{_ALL}' || datum.{name} == only_{name}"))
    return found


def _regime_scale() -> alt.Scale:
    return alt.Scale(domain=list(REGIMES), range=[REGIME_COLOURS[name] for name in REGIMES])


def _map(
    data: alt.NamedData, rows: list[dict[str, Any]], hover: alt.Parameter, tests: list[str]
) -> alt.Chart:
    outcomes = [name for name in (*OUTCOMES, "not trained") if any(row["outcome"] == name for row in rows)]
    shapes = alt.Scale(domain=outcomes, range=[_SHAPES[name] for name in outcomes])
    depths = alt.Axis(values=[2**power for power in range(14)])
    octaves = alt.Scale(type="log", base=2, nice=False, padding=12)
    legend = alt.Legend(orient="bottom", direction="horizontal", title=None, columns=3)
    chart: alt.Chart = (
        alt.Chart(data, width=520, height=380, title="Every dot a trial: hover over it or tap it")
        .mark_point(filled=True, size=46, tooltip=alt.TooltipContent("data"))
        .encode(
            x=alt.X("depth:Q", scale=octaves, axis=depths, title="depth L (hidden layers)"),
            y=alt.Y("sigma:Q", scale=octaves, title="weight scale σ_w"),
            color=alt.Color("regime:N", scale=_regime_scale(), legend=legend),
            shape=alt.Shape("outcome:N", scale=shapes, legend=legend),
            opacity=alt.condition(hover, alt.value(1.0), alt.value(0.72)),
            stroke=alt.condition(hover, alt.value("#000000"), alt.value("transparent")),
            size=alt.condition(hover, alt.value(170), alt.value(46)),
        )
        .add_params(hover)
    )  # fmt: skip
    for test in tests:
        chart = chart.transform_filter(test)
    return chart


def _profile(data: alt.NamedData, hover: alt.Parameter, limits: Limits) -> Any:
    chosen = alt.Chart(data).transform_filter(hover)
    x = alt.X(
        "layers:Q", title="layer (1: the first)", scale=alt.Scale(nice=False), axis=alt.Axis(tickMinStep=1)
    )
    y = alt.Y(
        "decades:Q",
        title="gradient, decades from the last layer",
        scale=alt.Scale(domain=[-_FRAME, _FRAME], clamp=False),
    )
    line = (
        chosen.transform_flatten(["layers", "decades"])
        .mark_line(point=alt.OverlayMarkDef(size=28, clip=True), clip=True)
        .encode(
            x=x, y=y, order="layers:Q",
            color=alt.Color("regime:N", legend=None, scale=_regime_scale()),
        )
    )  # fmt: skip
    stable = limits.stable_decades
    band = (
        alt.Chart(alt.InlineData(values=[{"low": -stable, "high": stable}]))
        .mark_rect(color="#f1e8c8", opacity=0.8)
        .encode(y=alt.Y("low:Q", title=None), y2="high:Q")
    )
    said = (
        "'Trial ' + datum.trial + ': ' + datum.activation + ', depth ' + datum.depth + ', σ_w ' + datum.sigma"
        " + '\\n' + datum.regime + ' (G = ' + datum.G + '), ' + datum.outcome"
    )
    text = (
        chosen.transform_calculate(said=said)
        .mark_text(align="left", baseline="top", fontSize=11, dx=4, dy=4, lineBreak="\n")
        .encode(text="said:N", x=alt.value(0), y=alt.value(0))
    )
    return alt.layer(band, line, text, width=380, height=380, title="Its gradient, layer by layer")


def embedded(rows: list[dict[str, Any]], limits: Limits = DEFAULT_LIMITS) -> str:
    """The chart as JSON that may stand inside a script element."""
    return json.dumps(spec(rows, limits), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


@cache
def bundle() -> str:
    """The scripts of Vega, Vega-Lite and Vega-Embed in one, for a script element of type module."""
    return vl_convert.javascript_bundle("window.vegaEmbed=vegaEmbed;").replace("</script", "<\\/script")
