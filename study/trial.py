"""A trial: one setting of every parameter, with its seed. One place for names, defaults and rules.

A new parameter is one field of `Trial`; sweep files, the ledger's columns and the command's options follow.
Parameters marked `shared` change tensor shapes or the sequence of operations: trials of a pack agree on them
(`Trial.pack_key`). Depth is the exception, a pack may mix depths, unless they are numbers of time steps.
"""

from __future__ import annotations

import difflib
import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from gradatlas.study.choices.activations import ACTIVATIONS
from gradatlas.study.choices.choice import Choice
from gradatlas.study.choices.families import FAMILIES, RECURRENT
from gradatlas.study.choices.initializers import INITIALIZERS
from gradatlas.study.choices.optimizers import OPTIMIZERS
from gradatlas.study.choices.structures import NORM_POSITIONS, NORMS, SKIPS, StructureKind
from gradatlas.study.choices.tasks import OTHER_TASKS, TASKS, is_task_name, task_named

Kind = Literal["choice", "integer", "number", "threshold"]

DTYPES: dict[str, StructureKind] = {
    "float32": StructureKind("float32", "24 bits of precision"),
    "bfloat16": StructureKind("bfloat16", "8 bits of precision, the range of float32"),
}


@dataclass(frozen=True)
class Parameter:
    """What a parameter is and which values it takes. A threshold is a positive number or "off" (None)."""

    kind: Kind
    meaning: str
    table: Mapping[str, Choice] = field(default_factory=dict)  # of what may be chosen
    is_other: Callable[[str], bool] | None = None  # whether a name beside the choices may stand here
    others: str = ""  # those names in words
    low: float = -math.inf
    open_low: bool = False  # the lower limit itself is excluded
    below: float = math.inf
    shared: bool = False
    training: bool = False  # changes training alone, nothing that is measured at initialisation
    since: int = 1  # the version of the columns that brought it; plans of earlier ones lack it

    @property
    def choices(self) -> tuple[str, ...]:
        """The names that may be chosen."""
        return tuple(self.table)

    def names(self) -> tuple[str, ...]:
        """The choices, and in words what else may stand here."""
        return (*self.choices, self.others) if self.others else self.choices

    def rule(self) -> str:
        """The rule in words, for messages and reference tables."""
        if self.kind == "choice":
            return f"must be one of {', '.join(self.names())}"
        if self.kind == "threshold":
            return 'must be a positive number or "off"'
        noun = "a whole number" if self.kind == "integer" else "a finite number"
        upper = f" and < {self.below:g}" if math.isfinite(self.below) else ""
        return f"must be {noun} {'>' if self.open_low else '>='} {self.low:g}{upper}"

    def accepts(self, value: Any) -> bool:
        """Whether one value obeys the rule; booleans do not count as numbers."""
        if self.kind == "choice":
            is_other = self.is_other is not None and isinstance(value, str) and self.is_other(value)
            return is_other or (isinstance(value, str) and value in self.choices)
        if self.kind == "threshold" and (value is None or value == "off"):
            return True
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if self.kind == "integer" and not isinstance(value, int):
            return False
        if isinstance(value, int) and abs(value) >= 2**63:
            return False
        above = value > self.low if self.open_low else value >= self.low
        return math.isfinite(value) and above and value < self.below


def _choice(default: str, table: Mapping[str, Choice], meaning: str, *, training: bool = False) -> Any:
    parameter = Parameter("choice", meaning, table=table, shared=True, training=training)
    return field(default=default, metadata={"parameter": parameter})


def _task(default: str, meaning: str) -> Any:
    parameter = Parameter(
        "choice", meaning, table=TASKS, is_other=is_task_name, others=OTHER_TASKS, shared=True
    )
    return field(default=default, metadata={"parameter": parameter})


def _integer(default: int, low: int, meaning: str, *, shared: bool = True, **options: Any) -> Any:
    parameter = Parameter("integer", meaning, low=low, shared=shared, **options)
    return field(default=default, metadata={"parameter": parameter})


def _number(default: float, meaning: str, *, positive: bool = False, **options: Any) -> Any:
    parameter = Parameter("number", meaning, low=0.0, open_low=positive, **options)
    return field(default=default, metadata={"parameter": parameter})


def _threshold(meaning: str) -> Any:
    parameter = Parameter("threshold", meaning, low=0.0, open_low=True, training=True)
    return field(default=None, metadata={"parameter": parameter})


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One network, its initialisation, its training, its seed; raises ValueError for a bad value.

    With task None it is measured at initialisation alone, on inputs of the network's width.
    """

    family: str = _choice("mlp", FAMILIES, "kind of network")
    depth: int = _integer(10, 1, "hidden layers; time steps of the recurrent families", shared=False)
    width: int = _integer(64, 1, "units per hidden layer")
    activation: str = _choice("relu", ACTIVATIONS, "activation function φ of mlp and rnn")
    init: str = _choice("lecun", INITIALIZERS, "weight initialisation of the hidden layers")
    weight_gain: float = _number(1.0, "multiplier on the scheme's σ_w")
    bias_std: float = _number(0.0, "standard deviation σ_b of the hidden layers' biases")
    input_gain: float = _number(1.0, "multiplier on the recurrent families' input weights")
    norm: str = _choice("none", NORMS, "normalisation of blocks 2 … L")
    norm_position: str = _choice("before", NORM_POSITIONS, "before or after the activation")
    norm_eps: float = _number(1e-5, "added to the variance under the norm's root", shared=True)
    skip: str = _choice("none", SKIPS, "skip connection of blocks 2 … L")
    clip_norm: float | None = _threshold("largest norm of the whole gradient")
    clip_value: float | None = _threshold("largest absolute value of a gradient's element")
    clip_adaptive: float | None = _threshold(
        "largest length of a unit's gradient, as a share of its weights'"
    )
    optimizer: str = _choice("sgd", OPTIMIZERS, "update rule", training=True)
    learning_rate: float = _number(0.1, "step size", positive=True, training=True)
    momentum: float = _number(0.9, "momentum coefficient", below=1.0, training=True)
    adam_beta1: float = _number(0.9, "decay of Adam's mean", below=1.0, training=True)
    adam_beta2: float = _number(0.999, "decay of Adam's mean square", below=1.0, training=True)
    adam_eps: float = _number(1e-8, "ε in Adam's denominator", positive=True, training=True)
    task: str | None = _task("digits", "data and loss")
    batch_size: int = _integer(64, 1, "examples per training step")
    steps: int = _integer(100, 0, "training steps; 0 measures at initialisation only", training=True)
    measure_steps: int = _integer(
        0, 0, "measurements during training, at steps even in the logarithm", training=True
    )
    probe_size: int = _integer(
        0,
        0,
        "training examples, always the same, whose loss is taken before and after each step; 0: none",
        training=True,
        since=3,
    )
    dtype: str = _choice("float32", DTYPES, "format of training; profiles are always float64", training=True)
    seed: int = 0

    def __post_init__(self) -> None:
        for name in PARAMETERS:
            if not (name == "task" and self.task is None):
                reject_bad_value(name, getattr(self, name))
            if isinstance(getattr(self, name), int) and PARAMETERS[name].kind != "integer":
                object.__setattr__(self, name, float(getattr(self, name)))
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed: must be a whole number in 0 … 2^63 - 1, but got {self.seed}")
        if self.norm == "batch" and self.batch_size == 1:
            raise ValueError(
                "batch_size: must be >= 2 with norm 'batch' (one example has no variance), but got 1"
            )
        if self.task is not None:
            reject_bad_task(self)
        reject_bad_family(self)

    @property
    def features(self) -> int:
        """Dimension of an input, or of one of its time steps."""
        return self.width if self.task is None else task_named(self.task).features

    @property
    def outputs(self) -> int:
        """How many units the trial's readout has."""
        return 1 if self.task is None else task_named(self.task).outputs

    def pack_key(self) -> tuple[object, ...]:
        """What trials must agree on to be trained in one pack."""
        shared = tuple(getattr(self, name) for name, parameter in PARAMETERS.items() if parameter.shared)
        return (*shared, self.depth) if FAMILIES[self.family].is_recurrent else shared


PARAMETERS: dict[str, Parameter] = {
    entry.name: entry.metadata["parameter"] for entry in fields(Trial) if "parameter" in entry.metadata
}
DEFAULTS: dict[str, Any] = {entry.name: entry.default for entry in fields(Trial)}


def trial_of(settings: Mapping[str, Any]) -> Trial:
    """The trial of settings as sweep files write them, where "off" means None; raises ValueError."""
    values: dict[str, Any] = {name: None if value == "off" else value for name, value in settings.items()}
    return Trial(**values)


def reject_bad_value(name: str, value: Any) -> None:
    """Raise ValueError with the rule, the value and the nearest allowed one."""
    parameter = PARAMETERS[name]
    if parameter.accepts(value):
        return
    text = shown(value)
    near = difflib.get_close_matches(text.strip("'"), parameter.choices, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise ValueError(f"{name}: {parameter.rule()}, but got {text}{hint}")


def shown(value: Any) -> str:
    """A value for a message: Python refuses to write whole numbers of more than 4300 digits."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"a whole number of {value.bit_length()} bits"
    return reprlib.repr(value) if isinstance(value, str | list) and len(value) > 100 else repr(value)


def reject_bad_task(trial: Trial) -> None:
    """Raise ValueError where there is no such task, or where batch size, family or depth do not fit it."""
    try:
        task = task_named(trial.task)
    except ValueError as error:
        raise ValueError(f"task: {error}") from None
    for name in ("batch_size", "probe_size"):
        if getattr(trial, name) > task.training_examples:
            raise ValueError(
                f"{name}: must be <= {task.training_examples}, the training examples of task "
                f"'{trial.task}', but got {getattr(trial, name)}"
            )
    is_recurrent = FAMILIES[trial.family].is_recurrent
    if is_recurrent != task.is_sequence:
        noun = "a sequence" if is_recurrent else "no sequence"
        fitting = ", ".join(name for name, other in TASKS.items() if other.is_sequence == is_recurrent)
        raise ValueError(
            f"task: must be {noun} with family '{trial.family}', but got '{trial.task}'; "
            f"choose one of {fitting}"
            + ("" if is_recurrent else f", or one of the families {', '.join(RECURRENT)}")
        )
    if task.steps not in (None, trial.depth):
        raise ValueError(
            f"depth: must be {task.steps}, the time steps of task '{trial.task}', but got {trial.depth}"
        )
    if trial.depth < (task.least_steps or 1):
        raise ValueError(
            f"depth: must be >= {task.least_steps}, the fewest time steps of task '{trial.task}', "
            f"but got {trial.depth}"
        )


def reject_bad_family(trial: Trial) -> None:
    """Raise ValueError where family and structure do not go together."""
    for name in ("norm", "norm_position", "skip"):
        if FAMILIES[trial.family].is_recurrent and getattr(trial, name) != DEFAULTS[name]:
            raise ValueError(
                f"{name}: must be '{DEFAULTS[name]}' with family '{trial.family}', which has none, "
                f"but got '{getattr(trial, name)}'; remove it or use family 'mlp'"
            )
