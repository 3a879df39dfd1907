"""Every column of the results: name, dtype, unit, meaning. Declared here once, for writers and readers.

A dtype is the name of a Polars (and Arrow) type; "List(…)" holds one value per layer, first layer first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from gradatlas.study.trial import PARAMETERS, Parameter

SCHEMA_VERSION = 3

Role = Literal["identity", "parameter", "derived", "initialisation", "training", "cost"]


@dataclass(frozen=True)
class Column:
    """One column of the results."""

    name: str
    dtype: str
    unit: str
    meaning: str
    role: Role


def _columns(role: Role, *rows: tuple[str, str, str, str]) -> list[Column]:
    return [Column(name, dtype, unit, meaning, role) for name, dtype, unit, meaning in rows]


def _parameter_column(name: str, parameter: Parameter) -> Column:
    dtype = {"choice": "String", "integer": "Int64", "number": "Float64", "threshold": "Float64"}
    off = "; null: off" if parameter.kind == "threshold" else ""
    return Column(name, dtype[parameter.kind], "", parameter.meaning + off, "parameter")


_DECADES, _LAYERS, _LOSS = "decades", "layers", "nats, or squared error"

COLUMNS: dict[str, Column] = {
    column.name: column
    for column in (
        *_columns(
            "identity",
            ("trial", "Int64", "", "number of the trial, 0 … N − 1, fixed by the plan"),
            ("part", "String", "", "part of the study"),
            ("point", "Int64", "", "setting of the scientific parameters"),
            ("draw", "Int64", "", "setting of the nuisance parameters at the point"),
            ("repetition", "Int64", "", "seed of the draw, 0, 1, …"),
            ("seed", "Int64", "", "seed of all random numbers of the trial"),
            ("pack", "String", "", "trials with this name were trained together"),
        ),
        *(_parameter_column(name, parameter) for name, parameter in PARAMETERS.items()),
        *_columns(
            "derived",
            ("sigma_w", "Float64", "", "σ_w of a square hidden layer: the scheme's times weight_gain"),
            ("sigma_b", "Float64", "", "σ_b of a square hidden layer, the scheme's own biases included"),
        ),
        *_columns(
            "initialisation",
            ("gradient_decades", "Float64", _DECADES, "G = log10(RMS δ^1 / RMS δ^L)"),
            ("forward_decades", "Float64", _DECADES, "F = log10(RMS h^L / RMS h^1)"),
            (
                "relative_gradient_decades",
                "Float64",
                _DECADES,
                "G − F, the gain of δ relative to that of h; null where either is",
            ),
            (
                "weight_gradient_decades",
                "Float64",
                _DECADES,
                "log10(RMS ∂ℓ/∂W^1 / RMS ∂ℓ/∂W^L); no measure of vanishing",
            ),
            (
                "gradient_slope",
                "Float64",
                "decades per layer",
                "mean step of log10 RMS δ; null below 3 layers",
            ),
            ("gradient_slope_stderr", "Float64", "decades per layer", "its standard error"),
            ("gradient_profile", "List(Float64)", "log10", "RMS of δ^l"),
            ("forward_profile", "List(Float64)", "log10", "RMS of h^l"),
            (
                "weight_gradient_profile",
                "List(Float64)",
                "log10",
                "RMS of ∂ℓ/∂W^l; recurrent: of time step l's part of ∂ℓ/∂W_hh, of which the first has none",
            ),
            (
                "recurrent_weight_gradient",
                "Float64",
                "log10",
                "RMS of ∂ℓ/∂W_hh, all time steps together; no measure of vanishing; null for mlp",
            ),
            ("cell_gradient_profile", "List(Float64)", "log10", "RMS of ∂ℓ/∂c_t; null but for lstm"),
            (
                "weight_factor_profile",
                "List(Float64)",
                _DECADES,
                "the weights' factor of the step to layer l",
            ),
            ("derivative_factor_profile", "List(Float64)", _DECADES, "φ′'s factor of the step to layer l"),
            ("norm_factor_profile", "List(Float64)", _DECADES, "the norm's factor of the step to layer l"),
            ("saturated_profile", "List(Float64)", "share", "of φ′ below 0.01 of its maximum"),
            ("dead_profile", "List(Float64)", "share", "of units whose φ′ is 0 on the whole batch"),
            (
                "survival_float32",
                "Int64",
                _LAYERS,
                "from the last on that a δ^L of RMS 1 reaches before float32 loses it",
            ),
            ("survival_bfloat16", "Int64", _LAYERS, "the same in bfloat16"),
            ("survival_float16", "Int64", _LAYERS, "the same in float16"),
            ("theory_gradient_decades", "Float64", _DECADES, "predicted G; null where there is no theory"),
            (
                "theory_slope",
                "Float64",
                "decades per layer",
                "predicted slope; null where there is no theory",
            ),
            (
                "theory_sd",
                "Float64",
                _DECADES,
                "predicted spread of G over seeds; null where there is no theory",
            ),
        ),
        *_columns(
            "training",
            ("initial_loss", "Float64", _LOSS, "training loss at the first step"),
            (
                "final_loss",
                "Float64",
                _LOSS,
                "mean of the last min(20, steps) losses in training; null if diverged",
            ),
            ("final_accuracy", "Float64", "share", "of the test split; null if diverged, and in regression"),
            ("final_test_loss", "Float64", _LOSS, "mean over the test split at the end; null if diverged"),
            ("outcome", "String", "", "learned, stalled, diverged, failed; null without training"),
            ("failure", "String", "", "reason of a failed trial"),
            ("diverged_step", "Int64", "steps", "at which training diverged, from 0; null if it did not"),
            ("diverged_layer", "Int64", "", "first layer, from 1, that was not finite; null if all were"),
            ("clipped_fraction", "Float64", "share", "of steps at which clipping changed the gradient"),
            ("gradient_norm_before", "Float64", "", "median norm of the whole gradient before clipping"),
            ("gradient_norm_after", "Float64", "", "median norm of the whole gradient after clipping"),
            ("clip_cosine", "Float64", "", "mean cosine of the gradient before and after value clipping"),
            (
                "update_profile",
                "List(Float64)",
                "ratio",
                "‖Σ updates‖ / ‖W_start‖ of layer l, also where the weights cannot hold updates so small; "
                "recurrent: of W_hh",
            ),
            ("loss_sign_changes", "Int64", "", "of the loss's difference in the last half of training"),
            ("measured_steps", "List(Int64)", "steps", "done before each measurement during training"),
            ("measured_gradient_decades", "List(Float64)", _DECADES, "G at measured_steps"),
            ("measured_gradient_profiles", "List(List(Float64))", "log10", "RMS of δ^l at measured_steps"),
            ("measured_forward_profiles", "List(List(Float64))", "log10", "RMS of h^l at measured_steps"),
            (
                "measured_weight_gradient_profiles",
                "List(List(Float64))",
                "log10",
                "RMS of ∂ℓ/∂W^l at measured_steps",
            ),
            ("losses", "List(Float64)", _LOSS, "training loss at loss_steps, at most 64 points"),
            ("loss_steps", "List(Int64)", "steps", "steps of `losses`, from 0"),
            (
                "probe_losses",
                "List(Float64)",
                _LOSS,
                "loss on the first probe_size training examples at probe_steps; null without",
            ),
            (
                "probe_steps",
                "List(Int64)",
                "steps",
                "done before each of `probe_losses`: 0, 1, … steps; of more than 128 the first 64 and the "
                "last 64, two runs without gaps; a trial that diverged has those up to diverged_step",
            ),
        ),
        *_columns(
            "cost",
            ("seconds", "Float64", "s", "the trial's share of its pack's time"),
            ("device", "String", "", "what it ran on"),
        ),
    )
}


def column_types(library: Any, *roles: Role) -> dict[str, Any]:
    """The type of each column in a library of tables; of some roles only if any are named.

    `column_types(polars)` is a Polars schema: the library has types of the names that are used here, and
    List of a type. It is given, not imported, since the study runs where only torch and numpy are installed.
    """

    def typed(name: str) -> Any:
        if name.startswith("List("):
            return library.List(typed(name.removeprefix("List(").removesuffix(")")))
        return getattr(library, name)()

    return {c.name: typed(c.dtype) for c in COLUMNS.values() if not roles or c.role in roles}
