"""The phase diagram of an activation: slope over σ_w and σ_b, critical line, depth scales, measured points.

The plane is theory at infinite depth; a point is a cell of a run, in the colour of its measured slope. Where
a point's colour is that of the ground below, theory and measurement agree.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, SymLogNorm
from matplotlib.figure import Figure

from gradatlas.analysis.colours import FAINT, INK, STABLE
from gradatlas.analysis.figures import theme
from gradatlas.analysis.reading.tables import scan_results
from gradatlas.study.theory.critical import critical, has_fixed_points, log_chi
from gradatlas.study.theory.phase import PhasePoint

_DPI = 160
_SPAN, _BIASES = 2.5, (0.02, 2.0)  # factors of σ_w around the critical one; σ_b
_SCALES = (6.0, 30.0)  # depth scales that are drawn, in layers
_HEIGHTS = (0.72, 0.34, 0.1, 0.2, 0.34)  # of the names of χ = 1 and of those lines, as shares of the height
_LIMITS = 0.3, 0.01  # decades per layer: of the colours, and up to which they are linear


def plane(point: PhasePoint, points: pl.DataFrame | None = None, size: int = 121) -> pl.DataFrame:
    """(sigma_w, sigma_b, slope): theory on a grid around the critical line, or over the points."""
    if points is None or points.is_empty():
        low_b, high_b = _BIASES
        centre = critical(point.structure, added_variance=point.added_variance()).sigma_w or np.sqrt(2.0)
        low_w, high_w = centre / _SPAN, centre * _SPAN
    else:
        (low_w, high_w), (low_b, high_b) = (_range(points[name]) for name in ("sigma_w", "sigma_b"))
    sigma_w, sigma_b = np.geomspace(low_w, high_w, size), np.geomspace(low_b, high_b, size)
    rows = [log_chi(point.structure, sigma_w, sigma_b=float(b), input_std=point.input_std) for b in sigma_b]
    grid_w, grid_b = np.meshgrid(sigma_w, sigma_b)
    slope = np.array(rows) / (2 * np.log(10))
    return pl.DataFrame({"sigma_w": grid_w.ravel(), "sigma_b": grid_b.ravel(), "slope": slope.ravel()})


def _range(values: pl.Series) -> tuple[float, float]:
    positive = values.filter(values > 0)
    return float(positive.min()) / 1.03, float(positive.max()) * 1.03  # type: ignore[arg-type]


def measured(run: Path, point: PhasePoint) -> pl.DataFrame:
    """(sigma_w, sigma_b, slope, rows) of a run's cells with this structure; σ_b > 0."""
    structure = point.structure
    same = [
        pl.col(name) == getattr(structure, name)
        for name in ("activation", "family", "norm", "norm_position", "skip")
    ]
    trials, _ = scan_results(run)
    return (
        trials.filter(*same, pl.col("sigma_b") > 0)
        .group_by("part", "point")
        .agg(
            pl.col("sigma_w", "sigma_b").first(),
            slope=pl.col("gradient_slope").fill_nan(None).median(),
            rows=pl.len(),
            depth=pl.col("depth").first(),
            width=pl.col("width").first(),
        )
        .drop_nulls("slope")
        .sort("part", "point")
        .collect()
    )


def draw(point: PhasePoint, data: pl.DataFrame, points: pl.DataFrame | None = None) -> Figure:
    """The plane, χ = 1, the lines of equal depth scale, and the points."""
    figure = Figure(figsize=(7.6, 5.0), layout="constrained")
    axes = figure.subplots()
    size = data["sigma_w"].n_unique()
    x, y, slope = (data[name].to_numpy().reshape(-1, size) for name in ("sigma_w", "sigma_b", "slope"))
    colours = LinearSegmentedColormap.from_list("slope", ["#1c5a9c", "#8fbfe3", STABLE, "#f3ab92", "#bf3237"])
    largest, linear = _LIMITS
    norm = SymLogNorm(linear, linscale=0.6, vmin=-largest, vmax=largest)
    mesh = axes.pcolormesh(x, y, slope, cmap=colours, norm=norm, shading="gouraud", rasterized=True)
    axes.set(xscale="log", yscale="log", xlabel="weights σ_w", ylabel="biases σ_b")
    axes.set(xlim=(x.min(), x.max()), ylim=(y.min(), y.max()))
    _draw_lines(axes, x, y, slope)
    if points is not None and not points.is_empty():
        axes.scatter(
            points["sigma_w"], points["sigma_b"], c=points["slope"], cmap=colours, norm=norm, s=34,
            edgecolor=INK, linewidth=0.7, zorder=4,
        )  # fmt: skip
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "25" else "")
    bar = figure.colorbar(
        mesh, ax=axes, extend="both", pad=0.02, label="slope of the gradient, decades per layer"
    )
    ticks = [-0.3, -0.1, -0.03, -0.01, 0.0, 0.01, 0.03, 0.1, 0.3]
    bar.set_ticks(ticks, labels=[f"{tick:g}".replace("-", "−") for tick in ticks])
    bar.minorticks_off()
    axes.set_title(_title(point, points), loc="left", fontsize="medium")
    sns.despine(figure)
    return figure


def _draw_lines(axes: Axes, x: np.ndarray, y: np.ndarray, slope: np.ndarray) -> None:
    """χ = 1, and where the depth scale is 6 and 30 layers on both sides, each with its name."""
    scales = sorted(sign / (2 * scale * np.log(10)) for scale in _SCALES for sign in (-1.0, 1.0))
    for place, level in enumerate([0.0, *scales]):
        if not slope.min() < level < slope.max():
            continue
        colour, width, style = (FAINT, 0.9, "--") if level else (INK, 2.0, "-")
        line = axes.contour(x, y, slope, levels=[level], colors=[colour], linewidths=width, linestyles=style)
        name = f"ξ = {1 / abs(2 * level * np.log(10)):.0f}" if level else "χ = 1"
        _name(axes, np.asarray(line.get_paths()[0].vertices), name, height=_HEIGHTS[place], bold=not level)


def _name(axes: Axes, line: np.ndarray, name: str, *, height: float, bold: bool) -> None:
    """The line's name on it, at a share of the diagram's height."""
    low, high = axes.get_ylim()
    wanted = low * (high / low) ** height
    x, y = line[np.argmin(np.abs(np.log(line[:, 1] / wanted)))]
    axes.text(
        x, y, name, fontsize="small" if bold else "x-small", ha="center", va="center", zorder=3,
        color=INK, weight="bold" if bold else "normal", clip_on=True,
        bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "boxstyle": "round,pad=0.15"},
    )  # fmt: skip


def _title(point: PhasePoint, points: pl.DataFrame | None) -> str:
    structure = point.structure
    name = structure.activation + ("" if structure.norm == "none" else f", {structure.norm} norm")
    name += "" if structure.family == "mlp" else f", {structure.family}"
    if points is None or points.is_empty():
        return f"{name}: mean-field theory"
    depths, widths = points["depth"].unique().sort(), points["width"].unique().sort()
    shown = [f"{s[0]}" if len(s) == 1 else f"{s[0]}–{s[-1]}" for s in (depths, widths)]
    networks = f"{len(points)} measured networks (points), depth {shown[0]}, width {shown[1]}"
    return f"{name}: theory (ground) and {networks}"


def write_phase_diagram(point: PhasePoint, file: Path, run: Path | None = None) -> None:
    """Draws into a file in the format of its suffix; raises ValueError where there is nothing to draw."""
    if not has_fixed_points(point.structure):
        raise ValueError(
            "plot: the diagram shows χ where the variance has come to rest, but with a skip connection or "
            "batch norm it never does, and of lstm and gru there is no theory; leave these"
        )
    points = None if run is None else measured(run, point)
    if points is not None and points.is_empty():
        raise ValueError(
            f"measured: {run} must have cells of {point.structure.activation} with biases, but has none"
        )
    with theme.theme(theme.WIDE):
        figure = draw(point, plane(point, points), points)
        dates = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
        figure.savefig(file, dpi=_DPI, metadata=dates.get(file.suffix.lower()))
