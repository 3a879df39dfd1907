"""Samplers that learn: Optuna's own by name, any other by import path, asked in batches.

Each batch gets a sampler of its own, whose seed follows from (search.seed, part, number of the batch): what
it proposes depends on the history alone, so that a fresh process with the same history proposes the same.
What a sampler keeps between its proposals (CMA-ES its covariance, NSGA-II its generations) stands in the
study, and comes back when the batches are asked again in their order, with the values known at each.
"""

from __future__ import annotations

import inspect
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

import optuna
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, TPESampler

from gradatlas.study.randomness import stream
from gradatlas.sweeps.sampling.domains import Domain
from gradatlas.sweeps.sampling.pure import PureSampler, distributions
from gradatlas.sweeps.sampling.samplers import LEARNING

# They keep nothing in the study beside its trials, so that a study is rebuilt without asking again.
_STATELESS = (TPESampler, GPSampler)


def sampler_class(sampler: str) -> type[BaseSampler]:
    """The class of a name or an import path; raises ValueError with the remedy."""
    if sampler in LEARNING:
        known: type[BaseSampler] = getattr(optuna.samplers, LEARNING[sampler])
        return known
    module, _, name = sampler.rpartition(".")
    try:
        if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", module):
            raise ImportError(module)
        if module.partition(".")[0] != "optuna":
            _announce(module, sampler)
        found = getattr(import_module(module), name)
    except (Exception, SystemExit):  # of whatever kind: importing runs the module
        raise ValueError(
            f"must be importable, but {sampler!r} is not; put its folder into PYTHONPATH"
        ) from None
    if not (isinstance(found, type) and issubclass(found, BaseSampler)) or issubclass(found, PureSampler):
        raise ValueError(f"must be a class of Optuna samplers, but {sampler!r} is not")
    return found


@cache
def _announce(module: str, sampler: str) -> None:
    """Says once in a process that a module's code is about to run: a sweep file may be someone else's."""
    print(f"imports {module} for sampler {sampler}", file=sys.stderr, flush=True)


def option_names(sampler: str) -> list[str]:
    """What `options` may hold: what the constructor takes and a sweep file can write."""
    parameters = inspect.signature(sampler_class(sampler)).parameters.values()
    return [
        parameter.name
        for parameter in parameters
        if parameter.name != "seed"
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and not any(word in str(parameter.annotation) for word in ("Callable", "Base", "FrozenTrial"))
    ]


def learning_sampler(sampler: str, options: Mapping[str, Any], seed: int) -> BaseSampler:
    """A sampler with its options; raises ValueError where the constructor does not take them."""
    chosen = sampler_class(sampler)
    taken = inspect.signature(chosen).parameters
    given = dict(options)
    if "seed" in taken:
        given["seed"] = seed
    if chosen in (GPSampler, CmaEsSampler):  # the README says which parameters they leave to chance
        given.setdefault("warn_independent_sampling", False)
    try:
        with quiet():
            return chosen(**given)
    except Exception as error:
        raise ValueError(f"{sampler} refuses them: {error}") from None


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna's remarks on its own interfaces are not for the user of the command."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Proposer:
    """One study in memory: asked in batches, told what came of it. Trials count from 0 in asking's order."""

    def __init__(
        self,
        sampler: str,
        options: Mapping[str, Any],
        space: Mapping[str, Domain],
        *,
        seed: int,
        part: str,
        objectives: int,
    ) -> None:
        self._sampler, self._options = sampler, dict(options)
        self._space = distributions(space)
        self._seed, self._part = seed, part
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with quiet():
            self._study = optuna.create_study(
                directions=["minimize"] * objectives, sampler=optuna.samplers.RandomSampler(seed=0)
            )

    def begin(self, batch: int) -> None:
        """What is asked from now on belongs to a batch of this number."""
        words = f"{self._sampler} {self._part} {batch}"
        seed = int(stream(self._seed, words).integers(2**32))
        self._study.sampler = learning_sampler(self._sampler, self._options, seed)

    def ask(self) -> dict[str, Any]:
        """The parameters of the next trial."""
        with quiet():
            return self._study.ask(self._space).params

    def repeat(self, parameters: Mapping[str, Any]) -> None:
        """The next trial, as it was asked in an earlier process: the same, and the study's state follows."""
        if isinstance(self._study.sampler, _STATELESS):
            self.add(parameters)
            return
        with quiet():
            trial = self._study.ask(self._space)
        for name, value in parameters.items():
            if trial.params[name] != value:  # by another version of the sampler; what is planned stands
                distribution = self._space[name]
                self._study._storage.set_trial_param(
                    trial._trial_id, name, distribution.to_internal_repr(value), distribution
                )

    def add(self, parameters: Mapping[str, Any]) -> None:
        """The next trial, whose parameters come from elsewhere."""
        self._study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.RUNNING,
                params=dict(parameters),
                distributions=self._space,
            )
        )

    def tell(self, number: int, values: Sequence[float] | None) -> None:
        """What came of a trial; None if it failed."""
        with quiet():
            if values is None:
                self._study.tell(number, state=optuna.trial.TrialState.FAIL)
            else:
                self._study.tell(number, list(values))
