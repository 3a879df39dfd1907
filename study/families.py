"""How the stacks of each family are built and measured; `study.choices.families` says what a family is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradatlas.study.networks import perceptrons, recurrent
from gradatlas.study.networks.model import Model
from gradatlas.study.profiles import perceptron_profile, recurrent_profile
from gradatlas.study.profiles.profile import Profile, probes
from gradatlas.study.shapes import Float
from gradatlas.study.trial import Trial


@dataclass(frozen=True)
class Architecture:
    """`build(trials, features=…, dtype=…, device=…)`, and `measured(network, inputs, probe)` of a stack in
    float64."""

    build: Callable[..., Model]
    measured: Callable[..., Profile]

    def profile(
        self,
        trials: Sequence[Trial],
        inputs: Float[Tensor, "batch ..."],
        *,
        device: torch.device | None = None,
    ) -> tuple[Profile, Model]:
        """The profile of each trial at initialisation, and the stack in float64 that it was measured on.

        Trials share a pack key and come deepest first.
        """
        device = torch.device("cpu") if device is None else device
        network = self.build(trials, features=inputs.shape[-1], dtype=torch.float64, device=device)
        probe = probes(trials, len(inputs)).to(device)
        return self.measured(network, inputs.to(device, torch.float64), probe), network


_PERCEPTRONS = Architecture(perceptrons.build, perceptron_profile.measured)
_RECURRENT = Architecture(recurrent.build, recurrent_profile.measured)

ARCHITECTURES: dict[str, Architecture] = {
    "mlp": _PERCEPTRONS,
    "rnn": _RECURRENT,
    "lstm": _RECURRENT,
    "gru": _RECURRENT,
}
