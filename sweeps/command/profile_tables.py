"""What `gradatlas profile` shows in a terminal: the network, a line for each seed, a line for each layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich import box
from rich.console import RenderableType
from rich.table import Table

from gradatlas.study.choices.families import FAMILIES
from gradatlas.study.experiment import Row

_SURVIVAL = {"survival_float32": "fp32", "survival_bfloat16": "bf16", "survival_float16": "fp16"}
_LAYER_COLUMNS = {
    "gradient_profile": "δ",
    "forward_profile": "h",
    "weight_gradient_profile": "∂W",
    "weight_factor_profile": "weights",
    "derivative_factor_profile": "φ′",
    "norm_factor_profile": "norm",
    "saturated_profile": "saturated",
    "dead_profile": "dead",
}
_SHARES = ("saturated_profile", "dead_profile")
_ENDS, _MIDDLE = 4, 12  # layers shown of a deep net: at each end, and evenly between


def tables(rows: Sequence[Row], median: Row) -> list[RenderableType]:
    """Headline, seeds, layers, each with a line that says how to read it."""
    shown, depth = len(shown_layers(median["depth"])), median["depth"]
    medians = " Medians over the seeds." if len(rows) > 1 else ""
    abridged = f"\n{shown} of {depth} layers are shown; --json has all." if shown < depth else ""
    return [
        _headline(median),
        "",
        _seed_table(rows, median),
        _verdict(median, len(rows)),
        "G, F, G_w: decades that gradient, signal and weight gradient gain; slope: of the\n"
        "gradient, decades per layer; fp32, bf16, fp16: layers, from the last on, that a\n"
        "gradient of RMS 1 reaches in that format.\n",
        _layer_table(median),
        "δ, h, ∂W: log10 RMS; weights, φ′, norm: decades of the step here from the next\n"
        "layer's δ; saturated, dead: shares of the units." + medians + abridged,
    ]


def _verdict(median: Row, seeds: int) -> str:
    """The regime with what it rests on, the phase, and the prediction beside."""
    error, predicted = median["standard_error"], median["theory_gradient_decades"]
    g = _shown(median["gradient_decades"], ".3f") + ("" if error is None else f" ± {error:.3f}")
    where = f"the median of {seeds} seeds" if seeds > 1 else "one seed"
    verdict = f"G = {g} ({where}): {median['regime'] or 'no regime'}"
    phase = "" if median["phase"] is None else f"; by its slope {median['phase']}"
    if predicted is None:
        return f"{verdict}{phase}; no theory.\n"
    sd = median["theory_sd"]
    spread = "" if sd is None else f", ± {sd:.3f} over seeds"
    return f"{verdict}{phase}.\nTheory: G = {_shown(predicted, '.3f')}{spread}.\n"


def _headline(row: Row) -> str:
    """The network in words: of its parameters those that its family uses."""
    parts = [f"{row['family']}, depth {row['depth']}, width {row['width']}"]
    if FAMILIES[row["family"]].has_activation:
        parts.append(row["activation"])
    parts.append(f"{row['init']} σ_w {row['sigma_w']:.4g} σ_b {row['sigma_b']:.4g}")
    if row["norm"] != "none":
        parts.append(f"{row['norm']} norm {row['norm_position']} φ")
    if row["skip"] != "none":
        parts.append(f"{row['skip']} skip")
    kind = f"from N(0, {row['input_std']:g}²)" if row["task"] is None else f"of task {row['task']}"
    return ", ".join(parts) + f"\n{row['batch_size']} inputs {kind}"


def _seed_table(rows: Sequence[Row], median: Row) -> Table:
    table = _table("seed", "G", "F", "G_w", "slope ± stderr", "regime", *_SURVIVAL.values())
    for row in rows:
        table.add_row(str(row["seed"]), *_seed_cells(row))
    if len(rows) > 1:
        table.add_section()
        table.add_row("median", *_seed_cells(median))
    return table


def _seed_cells(row: Row) -> list[str]:
    decades = ("gradient_decades", "forward_decades", "weight_gradient_decades")
    slope, error = row["gradient_slope"], row["gradient_slope_stderr"]
    return [
        *(_shown(row[name], ".3f") for name in decades),
        "–" if slope is None else f"{_shown(slope, '.3f')} ± {_shown(error, '.3f')}",
        row["regime"] or "–",
        *(_shown(row[name], ".4g") for name in _SURVIVAL),
    ]


def _layer_table(median: Row) -> Table:
    # A column that no layer has a number in (a norm's, in a net without) is left out.
    used = {name: head for name, head in _LAYER_COLUMNS.items() if any(x is not None for x in median[name])}
    table = _table("layer", *used.values())
    formats = {name: ".1%" if name in _SHARES else ".3f" for name in used}
    for layer in shown_layers(median["depth"]):
        table.add_row(str(layer), *(_shown(median[name][layer - 1], formats[name]) for name in used))
    return table


def shown_layers(depth: int) -> list[int]:
    """The layers of the table, 1 … depth: all of a shallow net, else both ends and even steps between."""
    if depth <= 2 * _ENDS + _MIDDLE:
        return list(range(1, depth + 1))
    between = np.linspace(_ENDS, depth - _ENDS + 1, _MIDDLE + 2).round().astype(int)
    ends = [*range(1, _ENDS + 1), *range(depth - _ENDS + 1, depth + 1)]
    return sorted({*ends, *between.tolist()})


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _shown(value: Any, form: str) -> str:
    return "–" if value is None else format(value, f"z{form}").replace("-", "−")
