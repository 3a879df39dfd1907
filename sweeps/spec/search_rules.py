"""What a sampler asks of a sweep file: messages that name rule, value and remedy."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from itertools import combinations, product
from typing import Any

from gradatlas.study.trial import DEFAULTS, trial_of
from gradatlas.sweeps.sampling.domains import MOST_TRIALS, Domain, grid_values, most_grid_values
from gradatlas.sweeps.sampling.objectives import OBJECTIVES
from gradatlas.sweeps.sampling.samplers import LEARNING, PURE, is_learning, most_trials


def reject_bad_sampler(
    sampler: str, options: Mapping[str, Any], objective: str, *, may_import: bool = True
) -> None:
    """Raises ValueError "KEY: …" where [search] does not hold together.

    Without `may_import` a sampler by import path is not asked what it takes.
    """
    names = [*PURE, *LEARNING]
    if sampler not in names and "." not in sampler:
        raise ValueError(
            f"sampler: must be one of {', '.join(names)}, or the import path of an Optuna sampler, but got "
            f"{sampler!r}{_suggestion(sampler, names)}"
        )
    if objective not in OBJECTIVES:
        raise ValueError(
            f"objective: must be one of {', '.join(OBJECTIVES)}, but got {objective!r}"
            + _suggestion(objective, OBJECTIVES)
        )
    if not is_learning(sampler):
        if options:
            raise ValueError(f"options: must be empty with sampler {sampler}, which has none")
        return
    if may_import or sampler in LEARNING:
        _reject_unfit_learner(sampler, options, objective)


def _reject_unfit_learner(sampler: str, options: Mapping[str, Any], objective: str) -> None:
    """The same of a sampler that learns, which Optuna knows."""
    from gradatlas.sweeps.sampling.learned import learning_sampler, option_names, sampler_class

    try:
        sampler_class(sampler)
    except ValueError as error:
        raise ValueError(f"sampler: {error}") from None
    known = option_names(sampler)
    for name in options:
        if name == "seed":
            raise ValueError("options: seed must not be among them; it follows from search.seed")
        if name not in known:
            raise ValueError(
                f"options: unknown option '{name}'{_suggestion(name, known)}; {sampler} takes "
                + ", ".join(known)
            )
    try:
        learning_sampler(sampler, options, 0)
    except ValueError as error:
        raise ValueError(f"options: {error}") from None
    if sampler == "cmaes" and len(OBJECTIVES[objective]) > 1:
        raise ValueError(
            "objective: must be one number with sampler cmaes, but got 'both'; use final_loss or gradient, "
            "or sampler nsgaii, tpe or gp"
        )


def _suggestion(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def grid_size(scientific: Mapping[str, Domain]) -> int:
    """Points of the grid of these axes; raises ValueError where a range has no levels."""
    return math.prod(_axis_lengths(scientific))


def _axis_lengths(scientific: Mapping[str, Domain]) -> list[int]:
    return [len(grid_values(f"scientific.{name}", domain)) for name, domain in scientific.items()]


def grid_points(scientific: Mapping[str, Domain], asked: int | None) -> int:
    """Points of a part with sampler grid: the whole grid; raises ValueError for another number."""
    bound = math.prod(most_grid_values(f"scientific.{name}", domain) for name, domain in scientific.items())
    if bound > MOST_TRIALS:  # before the levels are made
        raise ValueError(
            f"scientific: a grid must have at most {MOST_TRIALS} points, but levels and lists give {bound}; "
            "take fewer, or sampler qmc"
        )
    size = grid_size(scientific)
    if asked is not None and asked != size:
        factors = " × ".join(map(str, _axis_lengths(scientific)))
        raise ValueError(
            f"search.points: must be the {size} points of the grid ({factors}) or left out with sampler "
            f"grid, but got {asked}; change levels and lists, or take sampler qmc"
        )
    return size


def reject_unlearnable(
    sampler: str,
    options: Mapping[str, Any],
    objective: str,
    *,
    space: Mapping[str, Domain],
    fixed: Mapping[str, Any],
    optuna_trials: int,
) -> None:
    """Raises ValueError where a learning sampler cannot work on a part."""
    most = most_trials(sampler)
    if optuna_trials > most:
        raise ValueError(
            f"search.points: points × nuisance_draws must be <= {most} with sampler {sampler}, which "
            f"searches all earlier ones for each, but got {optuna_trials}; take fewer, or sampler qmc"
        )
    if not space:
        raise ValueError(f"search.sampler: {sampler} needs a parameter in [scientific] or [nuisance]")
    steps = space["steps"].extremes() if "steps" in space else [fixed.get("steps", DEFAULTS["steps"])]
    if objective != "gradient" and 0 in steps:
        raise ValueError(
            f"search.objective: must be 'gradient' where steps is 0, since there is no final loss, but got "
            f"{objective!r}"
        )
    _reject_pairs(space, fixed)
    from gradatlas.sweeps.sampling.learned import Proposer

    proposer = Proposer(sampler, options, space, seed=0, part="", objectives=len(OBJECTIVES[objective]))
    proposer.begin(0)
    try:
        proposer.ask()
    except Exception as error:  # what a constructor takes and does not look at
        raise ValueError(f"search.options: {sampler} cannot propose with them: {error}") from None


def _corners(values: list[Any]) -> list[Any]:
    """The values, of very many only the ends: rules between parameters are about few."""
    return values if len(values) <= 100 else [min(values, key=str), max(values, key=str)]


def _reject_pairs(space: Mapping[str, Domain], fixed: Mapping[str, Any]) -> None:
    """A sampler that learns may meet any two values: what rules forbid must be told before the run."""
    corners = {name: _corners(domain.extremes()) for name, domain in space.items()}
    first = {name: values[0] for name, values in corners.items()}
    for one, other in combinations(corners, 2):
        for value, another in product(corners[one], corners[other]):
            trial_of({**fixed, **first, one: value, other: another})
