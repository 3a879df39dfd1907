"""What no machine here can do, told by the parameter's name before anything starts.

One trial is asked, by what it is predicted to take: its memory, and its time. Nothing is allocated, nothing
loops over what a sweep file counts, and Python's whole numbers do not overflow. A pack that does not fit is
cut; that many trials together take long is said by the forecast.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

from gradatlas.study.choices.families import FAMILIES
from gradatlas.study.choices.tasks import task_named
from gradatlas.study.networks.memory import pack_memory
from gradatlas.study.trial import DEFAULTS, PARAMETERS, Trial, trial_of
from gradatlas.sweeps.errors import UserError
from gradatlas.sweeps.planning.costs import cost, duration, pack_cost
from gradatlas.sweeps.planning.machine import RAY_BYTES, WORKER_BYTES, Node, available_cpus, memory_bytes
from gradatlas.sweeps.planning.packing import GPU_IN_CPUS
from gradatlas.sweeps.sampling.domains import Choices

if TYPE_CHECKING:
    from gradatlas.sweeps.spec.parts import Part
    from gradatlas.sweeps.spec.sweep import Sweep

MOST_SECONDS = 30 * 86400  # of one trial on one core
_SIZES = ("width", "depth", "batch_size", "steps", "measure_steps", "probe_size")
_STEP_BYTES = 100  # that a step leaves in the result, and a layer at each measurement


def reject_impossible(sweep: Sweep, nodes: Sequence[Node]) -> None:
    """Raise UserError where one trial fits none of these machines, or takes over a month.

    Without machines only the time is asked. Of a list every value counts, of a range its ends.
    """
    is_on_gpus = sweep.schedule.gpus_per_pack > 0
    speed = GPU_IN_CPUS if is_on_gpus else 1.0
    room = max((max(node.memory, node.gpu_memory if is_on_gpus else 0) for node in nodes), default=None)
    for part in sweep.parts:
        where = "" if len(sweep.parts) == 1 else f"part {part.name}: "
        roles = {"scientific": part.scientific, "nuisance": part.nuisance, "fixed": part.fixed}
        for trial in _largest_trials(part):
            _reject(trial, roles, where, room=room, seconds=pack_cost([trial]) / speed)


def reject_impossible_network(trial: Trial, seeds: int) -> None:
    """Raise ValueError where one network cannot be measured here, or so many take over a month."""
    untrained = replace(trial, steps=0)
    _reject(untrained, {}, "", room=memory_bytes(), seconds=cost(untrained))
    if cost(untrained) * seeds > MOST_SECONDS:
        raise ValueError(f"seeds: must take at most {duration(MOST_SECONDS)}, but got {seeds}; take fewer")


def reject_too_many_cpus(node: Node, name: str) -> None:
    """Raise UserError for more CPUs than there are where their workers alone would fill the memory."""
    most = max(available_cpus(), int((node.memory - RAY_BYTES) / WORKER_BYTES))
    if node.cpus > most:
        raise UserError(
            f"{name}: must be <= {most}, the workers that {node.memory / 2**30:.3g} GiB of memory hold, but "
            f"got {node.cpus}; there are {available_cpus()} CPUs here"
        )


def _largest_trials(part: Part) -> Iterator[Trial]:
    """The trials that ask for most: lists at their largest, and each range at its end beside the least."""
    corners = {name: domain.extremes() for name, domain in part.space.items()}
    lists = [name for name in _SIZES if isinstance(part.space.get(name), Choices)]
    ranges = [name for name in _SIZES if name in corners and name not in lists]
    least = {name: min(values) if name in _SIZES else values[0] for name, values in corners.items()}
    largest = [{name: max(corners[name]) for name in lists}, *({name: max(corners[name])} for name in ranges)]
    choices = [name for name in corners if PARAMETERS[name].kind == "choice"]
    kinds = [{}, *({name: value} for name in choices for value in corners[name])]
    for kind, sizes in product(kinds, largest):
        with suppress(ValueError):  # values that may not meet: planning says so where they do
            yield trial_of({**part.fixed, **least, **kind, **sizes})


def _reject(
    trial: Trial, roles: Mapping[str, Mapping[str, Any]], where: str, *, room: int | None, seconds: float
) -> None:
    memory = _memory(trial)
    if room is not None and memory > room:
        name = _culprit(trial, _memory)
        raise UserError(
            f"{where}{_named(name, roles)}: one trial must fit the {_gib(room)} of memory here, but with "
            f"{name} = {getattr(trial, name)} it is predicted to take {_gib(memory)}; take less"
        )
    if seconds > MOST_SECONDS:
        name = _culprit(trial, lambda other: pack_cost([other]) if other.steps else cost(other))
        raise UserError(
            f"{where}{_named(name, roles)}: one trial must take at most {duration(MOST_SECONDS)}, but with "
            f"{name} = {getattr(trial, name)} it is predicted to take {duration(seconds)}; take less"
        )


def _memory(trial: Trial) -> int:
    """Bytes of a pack of this trial, its task's data, and what its steps leave."""
    data = 0
    if trial.task is not None:
        task = task_named(trial.task)
        examples = task.training_examples * 5 // 4 + trial.probe_size  # a fifth is for testing
        data = 8 * examples * task.features * (trial.depth if FAMILIES[trial.family].is_recurrent else 1)
    measured = trial.measure_steps + min(trial.measure_steps, trial.steps) * trial.depth
    return pack_memory([trial]) + data + _STEP_BYTES * (trial.steps + measured)


def _culprit(trial: Trial, size: Any) -> str:
    """The parameter without whose value the trial would take least."""

    def without(name: str) -> float:
        least = min(getattr(trial, name), DEFAULTS[name])
        try:
            return float(size(replace(trial, **{name: least})))
        except ValueError:  # the task asks for this value
            return float(size(trial))

    return min(_SIZES, key=without)


def _named(name: str, roles: Mapping[str, Mapping[str, Any]]) -> str:
    """The parameter as the sweep file has it."""
    return next((f"{role}.{name}" for role, table in roles.items() if name in table), name)


def _gib(count: int) -> str:
    return f"{count / 2**30:.3g} GiB"
