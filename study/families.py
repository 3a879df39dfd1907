"""Families of networks: how a stack is built and measured. A new family is one entry of `FAMILIES`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from study import networks, recurrent
from study.networks import Model
from study.propagation import Profile, gradient_profile, measured
from study.recurrent_profile import measured as recurrent_measured
from study.recurrent_profile import recurrent_profile


@dataclass(frozen=True)
class Family:
    """`build(trials, features=…, dtype=…, device=…)`, `profile(trials, inputs, device=…)` at initialisation,
    and `measured(network, inputs, probe)` of a stack in float64."""

    build: Callable[..., Model]
    profile: Callable[..., Profile]
    measured: Callable[..., Profile]
    tied: bool  # one weight for all layers (time steps)

    def weights(self, depth: int) -> int:
        """How many hidden weights a trial of this depth has."""
        return 1 if self.tied else depth


_RECURRENT = Family(recurrent.build, recurrent_profile, recurrent_measured, tied=True)

FAMILIES: dict[str, Family] = {
    "mlp": Family(networks.build, gradient_profile, measured, tied=False),
    "rnn": _RECURRENT,
    "lstm": _RECURRENT,
    "gru": _RECURRENT,
}
