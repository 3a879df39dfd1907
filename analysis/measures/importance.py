"""What matters: importance of each varied parameter for the gradient and for the outcome.

The finished trials are put into an Optuna study in memory, a sample of them where there are many, and
Optuna's PED-ANOVA compares the best tenth with all. For the gradient the best are the trials whose |G| is
smallest, for the outcome those whose final loss is smallest; a trial that diverged is worse than any that
did not.

Source: Watanabe, Bansal & Hutter (2023), as implemented by Optuna.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import optuna
import polars as pl
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from gradatlas.analysis.reading.row_sample import sampled
from gradatlas.study.regimes import DEFAULT_LIMITS, Limits
from gradatlas.study.trial import PARAMETERS

MOST_TRIALS = 5_000  # Optuna takes 0.3 ms for each; the best tenth that PED-ANOVA looks at are 500
_LEAST_TRIALS = 20
_WORST = 1e6  # stands for a gradient of infinitely many decades, and for a loss that is not finite
METHOD = "PED-ANOVA"
SCHEMA = pl.Schema(
    {"target": pl.String(), "parameter": pl.String(), "importance": pl.Float64(), "method": pl.String()}
)


def importances(
    trials: pl.LazyFrame, limits: Limits = DEFAULT_LIMITS, *, most: int = MOST_TRIALS, seed: int = 0
) -> pl.DataFrame:
    """Per `target` (gradient, outcome) and `parameter`: `importance`, which adds up to 1, and `method`.

    A target that fewer than 20 trials have, or a sweep that varies nothing, has no rows.
    """
    varied = _varied(trials)
    if not varied:
        return pl.DataFrame(schema=SCHEMA)
    columns = [*varied, "trial", "gradient_decades", "final_loss", "outcome"]
    sample = sampled(trials.select(columns).collect(), most, by="trial", seed=seed).sort("trial")
    distributions = {name: _distribution(name, sample[name]) for name in varied}
    rows: list[tuple[str, str, float, str]] = []
    for targets in _shared({"gradient": _off_balance(sample), "outcome": _loss(sample)}):
        rows += _evaluated(sample, targets, distributions, seed)
    return pl.DataFrame(rows, schema=SCHEMA, orient="row").sort("target", -pl.col("importance"), "parameter")


def _shared(targets: Mapping[str, np.ndarray]) -> Iterable[Mapping[str, np.ndarray]]:
    """The targets that say something, those of the same trials together: to fill a study takes longest."""
    found: dict[bytes, dict[str, np.ndarray]] = {}
    for name, values in targets.items():
        kept = np.isfinite(values)
        if kept.sum() >= _LEAST_TRIALS and np.ptp(values[kept]) > 0:
            found.setdefault(kept.tobytes(), {})[name] = values
    return found.values()


def _varied(trials: pl.LazyFrame) -> list[str]:
    names = ["part", *PARAMETERS]
    found = trials.select(pl.col(names).n_unique()).collect().row(0, named=True)
    return [name for name in names if found[name] > 1]


def _distribution(name: str, values: pl.Series) -> BaseDistribution:
    """Numbers with room between them as a range, log where all are positive; the rest as a choice."""
    is_number = values.dtype.is_numeric() and values.null_count() == 0 and values.n_unique() > 2
    if not is_number:
        return CategoricalDistribution([_choice(value) for value in values.unique(maintain_order=True)])
    low, high = float(values.min()), float(values.max())  # type: ignore[arg-type]
    return FloatDistribution(low, high, log=low > 0)


def _choice(value: Any) -> Any:
    return "off" if value is None else value


def _off_balance(sample: pl.DataFrame) -> np.ndarray:
    """|G|, nan where it was not measured."""
    g = np.abs(sample["gradient_decades"].cast(pl.Float64).to_numpy())
    return np.where(np.isinf(g), _WORST, g)


def _loss(sample: pl.DataFrame) -> np.ndarray:
    """The final loss, the worst for what diverged, nan without training."""
    loss = sample["final_loss"].cast(pl.Float64).to_numpy()
    return np.where((sample["outcome"] == "diverged").fill_null(False).to_numpy(), _WORST, loss)


def _evaluated(
    sample: pl.DataFrame,
    targets: Mapping[str, np.ndarray],
    distributions: Mapping[str, BaseDistribution],
    seed: int,
) -> Iterator[tuple[str, str, float, str]]:
    """The rows of targets that the same trials have."""
    values = np.column_stack(list(targets.values()))
    kept = np.isfinite(values).all(axis=1)
    study = _quiet_study(seed, len(targets))
    rows = sample.filter(pl.Series(kept)).select(list(distributions)).rows(named=True)
    study.add_trials(
        [
            optuna.trial.create_trial(
                params=_params(row, distributions), distributions=dict(distributions), values=its_values
            )
            for row, its_values in zip(rows, values[kept].tolist(), strict=True)
        ]
    )
    for place, target in enumerate(targets):
        found = _importances(study, place)
        yield from ((target, name, value, METHOD) for name, value in found.items() if math.isfinite(value))


def _importances(study: optuna.Study, place: int) -> dict[str, float]:
    """Of each parameter for the values at a place."""
    with warnings.catch_warnings():
        # Low values are what is asked for.
        warnings.filterwarnings("ignore", "PedAnovaImportanceEvaluator computes the importances of params")
        return optuna.importance.get_param_importances(
            study,
            evaluator=optuna.importance.PedAnovaImportanceEvaluator(),
            target=lambda trial: trial.values[place],
        )


def _quiet_study(seed: int, targets: int) -> optuna.Study:
    """A study in memory; Optuna would announce it on the screen."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(
            sampler=optuna.samplers.RandomSampler(seed), directions=["minimize"] * targets
        )
    finally:
        optuna.logging.set_verbosity(before)


def _params(row: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    return {
        name: float(row[name]) if isinstance(kind, FloatDistribution) else _choice(row[name])
        for name, kind in distributions.items()
    }
