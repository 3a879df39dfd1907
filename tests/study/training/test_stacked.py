"""Parameters of any rank: the stacked engine clips and updates each trial as torch does it alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradatlas.study.choices.optimizers import OPTIMIZERS
from gradatlas.study.networks.model import Model, ParameterGroup, Workspace
from gradatlas.study.randomness import stream
from gradatlas.study.training.clipping import clip_units, gradient_norms
from gradatlas.study.training.engine import CLIPS, Batches, Engine, TrainingState
from gradatlas.study.training.stacked import engine
from gradatlas.study.trial import Trial
from tests.study import oracles

CPU = torch.device("cpu")
SHAPES = {"kernel": (3, 4, 3, 3), "weight": (4, 5), "bias": (5,), "gain": ()}  # of one trial
STEPS = 4


@dataclass(frozen=True)
class Group:
    """Tensors as torch's modules have them: output units first."""

    tensors: dict[str, Tensor]
    unit_axis: int = 1

    def named(self) -> dict[str, Tensor]:
        """The tensors."""
        return self.tensors

    def mapped(self, function: Callable[[Tensor], Tensor]) -> Group:
        """A group of what the function makes of them."""
        return Group({name: function(tensor) for name, tensor in self.tensors.items()})


def _group(trials: int, purpose: str) -> Group:
    draw = stream(0, purpose).standard_normal
    return Group({name: torch.as_tensor(draw((trials, *shape))) for name, shape in SHAPES.items()})


class Parabola:
    """ℓ = ½ |θ − target|² for parameters θ of all ranks: its gradient is θ − target."""

    def __init__(self, parameters: Group, target: Group) -> None:
        self.group, self.target = parameters, target
        self.depths = (1,) * len(parameters.tensors["gain"])

    def parameters(self) -> Sequence[ParameterGroup]:
        """One group."""
        return [self.group]

    def hidden_weights(self) -> list[Tensor]:
        """The tensors with units."""
        return [self.group.tensors["kernel"], self.group.tensors["weight"]]

    def outputs(self, inputs: Tensor, workspace: Workspace) -> Tensor:
        """Nothing is read out."""
        raise AssertionError

    def loss_gradients(
        self, batch: Any, loss: Any, gradients: Sequence[Any], workspace: Any, observer: Any = None
    ) -> Tensor:
        """The losses; writes the gradients."""
        losses = torch.zeros(len(self.depths), dtype=torch.float64)
        for name, value in self.group.tensors.items():
            torch.sub(value, self.target.tensors[name], out=gradients[0].tensors[name])
            losses += gradients[0].tensors[name].reshape(len(self.depths), -1).square().sum(dim=1) / 2
        return losses

    def cast(self, dtype: torch.dtype) -> Model:
        """It is in float64."""
        return self

    def selected(self, keep: Tensor) -> Model:
        """Some of the trials."""
        return Parabola(*(group.mapped(lambda tensor: tensor[keep]) for group in (self.group, self.target)))


def _state(trials: Sequence[Trial], model: Parabola) -> TrainingState:
    optimizer = OPTIMIZERS[trials[0].optimizer]
    columns = {
        name: torch.tensor(
            [torch.inf if getattr(t, name) is None else getattr(t, name) for t in trials], dtype=torch.float64
        )
        for name in (*CLIPS, *optimizer.rates)
    }
    none = torch.full((len(trials),), -1)
    columns |= {"first_loss": torch.full_like(none, torch.nan, dtype=torch.float64), "diverged_step": none}
    return TrainingState(
        trial=trials[0],
        network=model,
        slots=[[model.group.mapped(torch.zeros_like)] for _ in range(optimizer.slots)],
        updates=[torch.zeros_like(weight) for weight in model.hidden_weights()],
        columns=columns,
        clips_in_use=frozenset(
            name for name in CLIPS for trial in trials if getattr(trial, name) is not None
        ),
        steps_done=0,
        diverged_factor=1e6,
        workspace=Workspace(torch.float64, CPU),
    )


def _alone(trial: Trial, start: dict[str, Tensor], target: dict[str, Tensor]) -> dict[str, Tensor]:
    """Where torch's optimizer takes one trial, clipped by torch."""
    parameters = {name: nn.Parameter(value.clone()) for name, value in start.items()}
    optimizer = oracles.OPTIMIZERS[trial.optimizer](trial, list(parameters.values()))
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = sum((parameters[name] - target[name]).square().sum() / 2 for name in SHAPES)
        loss.backward()
        if trial.clip_value is not None:
            nn.utils.clip_grad_value_(parameters.values(), trial.clip_value)
        if trial.clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters.values(), trial.clip_norm)
        optimizer.step()
    return {name: value.detach() for name, value in parameters.items()}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_parameters_of_any_rank_are_clipped_and_updated_as_torch_does_alone(optimizer):
    trials = [
        Trial(optimizer=optimizer, learning_rate=rate, steps=STEPS, **clip)
        for rate, clip in itertools.product((0.03, 0.3), ({}, {"clip_norm": 0.5}, {"clip_value": 0.2}))
    ]
    start, target = _group(len(trials), "start"), _group(len(trials), "target")
    model = Parabola(start.mapped(torch.clone), target)
    state = _state(trials, model)
    trained: Engine = engine(trials[0], CPU)
    with torch.no_grad():
        for _ in range(STEPS):
            window = trained.steps(state, Batches(torch.zeros(1, 1, 1), torch.zeros(1, 1)))
            state.steps_done += 1
            assert not window.has_diverged
    for index, trial in enumerate(trials):
        expected = _alone(trial, *({n: t[index] for n, t in g.tensors.items()} for g in (start, target)))
        for name, value in expected.items():
            torch.testing.assert_close(model.group.tensors[name][index], value, rtol=1e-11, atol=1e-12)
        for name, total in zip(("kernel", "weight"), state.updates, strict=True):
            moved = expected[name] - start.tensors[name][index]
            torch.testing.assert_close(total[index], moved, rtol=1e-11, atol=1e-12)


def test_norms_and_units_of_any_rank_are_those_of_a_loop_over_trials():
    gradients, weights = _group(3, "gradients"), _group(3, "weights")
    limits = torch.tensor([0.05, 0.5, torch.inf], dtype=torch.float64)
    for index, norm in enumerate(gradient_norms([gradients])):
        parts = [tensor[index].flatten() for tensor in gradients.tensors.values()]
        assert float(norm) == pytest.approx(float(torch.cat(parts).norm()), rel=1e-14)
    clipped = gradients.mapped(torch.clone)
    clip_units([clipped], [weights], limits)
    for index, (name, shape) in itertools.product(range(3), SHAPES.items()):
        units = range(shape[0]) if len(shape) > 1 else [slice(None) if shape else ()]
        for unit in units:
            before, weight = gradients.tensors[name][index][unit], weights.tensors[name][index][unit]
            allowed = limits[index] * max(float(weight.norm()), 1e-3)
            expected = before * min(1.0, float(allowed / before.norm()))
            torch.testing.assert_close(clipped.tensors[name][index][unit], expected, rtol=1e-12, atol=0)


def test_a_state_leaves_out_the_groups_that_no_trial_has_any_more():
    trials = [Trial(learning_rate=0.1)] * 3
    state = _state(trials, Parabola(_group(3, "start"), _group(3, "target")))
    deep = Group({"weight": torch.ones(1, 2, 2)})  # of the first trial alone
    state.slots = [[deep, *state.network.parameters()]]
    state.updates = [torch.ones(1, 2, 2), torch.arange(3.0)]
    rest = state.selected(torch.tensor([1, 2]))
    assert [total.tolist() for total in rest.updates] == [[1.0, 2.0]]
    assert [list(group.named()) for group in rest.slots[0]] == [list(SHAPES)]
    assert all(len(column) == 2 for column in rest.columns.values())
    kept = partial(torch.equal, rest.slots[0][0].named()["bias"])
    assert kept(state.network.parameters()[0].named()["bias"][1:])
