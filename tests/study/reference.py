"""The outside truth: one trial as plain torch.nn modules, torch.optim and torch.nn.utils, trained alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gradatlas.study.choices.tasks import Data, batch_indices
from gradatlas.study.networks.perceptrons import build
from gradatlas.study.trial import Trial

ACTIVATION_MODULES = {
    "linear": nn.Identity,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
}


def _norm(trial: Trial) -> nn.Module:
    if trial.norm == "batch":
        return nn.BatchNorm1d(trial.width, eps=trial.norm_eps, track_running_stats=False)
    return nn.LayerNorm(trial.width, eps=trial.norm_eps)


class Reference(nn.Module):
    """The network of SCIENCE.md for one trial, written as its definitions read."""

    def __init__(self, trial: Trial, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.trial = trial
        self.phi = ACTIVATION_MODULES[trial.activation]()
        stacked = build([trial], dtype=torch.float64, device=torch.device("cpu"))
        self.linears = nn.ModuleList(_linear(layer.weight[0], layer.bias[0, 0]) for layer in stacked.layers)
        self.norms = nn.ModuleList(
            nn.Identity() if trial.norm == "none" or index == 0 else _norm(trial)
            for index in range(trial.depth)
        )
        self.readout = _linear(stacked.readout.weight[0], stacked.readout.bias[0, 0])
        self.to(dtype)

    def hidden(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """(h^1 … h^L, what the readout takes)."""
        if self.trial.skip == "none":
            return self._plain(x)
        h = self.linears[0](x)
        taps = [h]
        for linear, norm in zip(self.linears[1:], self.norms[1:], strict=True):
            h = h + self._branch(h, linear, norm)
            taps.append(h)
        return taps, h

    def _plain(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        taps = []
        for linear, norm in zip(self.linears, self.norms, strict=True):
            h = linear(x)
            taps.append(h)
            x = self.phi(norm(h)) if self.trial.norm_position == "before" else norm(self.phi(h))
        return taps, x

    def _branch(self, x: Tensor, linear: nn.Module, norm: nn.Module) -> Tensor:
        before = self.trial.norm_position == "before"
        if self.trial.skip == "residual":
            h = linear(x)
            return self.phi(norm(h)) if before else norm(self.phi(h))
        branch = linear(self.phi(norm(x)) if before else norm(self.phi(x)))
        return branch / self.trial.depth**0.5 if self.trial.skip == "scaled" else branch

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.hidden(x)[1])


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    module = nn.Linear(*weight.shape)
    with torch.no_grad():
        module.weight = nn.Parameter(weight.T.clone())
        module.bias = nn.Parameter(bias.clone())
    return module


def _optimizer(trial: Trial, model: nn.Module) -> torch.optim.Optimizer:
    if trial.optimizer == "adam":
        betas = (trial.adam_beta1, trial.adam_beta2)
        return torch.optim.Adam(model.parameters(), lr=trial.learning_rate, betas=betas, eps=trial.adam_eps)
    momentum = trial.momentum if trial.optimizer == "momentum" else 0.0
    return torch.optim.SGD(model.parameters(), lr=trial.learning_rate, momentum=momentum)


def _clip_units(model: nn.Module, limit: float) -> None:
    """Adaptive clipping of Brock et al. (2021), unit by unit; as in their code a vector is one unit, also
    where it is the weight of a single input."""
    for parameter in model.parameters():
        is_vector = parameter.squeeze().ndim < 2
        units = [slice(None)] if is_vector else list(range(len(parameter)))
        for unit in units:
            allowed = limit * max(float(parameter.detach()[unit].norm()), 1e-3)
            if float(parameter.grad[unit].norm()) > allowed:
                parameter.grad[unit] *= allowed / parameter.grad[unit].norm()


def _flat_gradient(model: nn.Module) -> Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def _move_by_an_ulp(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.mul_(1 + torch.finfo(parameter.dtype).eps / 2 * noise)


def trained_alone(trial: Trial, data: Data, *, moved: int | None = None) -> dict[str, list[float]]:
    """Losses, gradient norms and what clipping did to the direction, at each step; by torch, in float64.

    With `moved`, a seed, from weights that are moved at random by about their last bit.
    """
    model = Reference(trial)
    if moved is not None:
        _move_by_an_ulp(model, moved)
    optimizer = _optimizer(trial, model)
    record: dict[str, list[float]] = {"losses": [], "norms_before": [], "norms_after": [], "cosines": []}
    compare = nn.functional.mse_loss if data.targets.is_floating_point() else nn.functional.cross_entropy
    for step in range(trial.steps):
        chosen = batch_indices(len(data.inputs), trial.batch_size, step)
        loss = compare(model(data.inputs[chosen]), data.targets[chosen])
        optimizer.zero_grad()
        loss.backward()
        record["losses"].append(loss.item())
        record["norms_before"].append(float(nn.utils.get_total_norm([p.grad for p in model.parameters()])))
        before = _flat_gradient(model)
        if trial.clip_adaptive is not None:
            _clip_units(model, trial.clip_adaptive)
        if trial.clip_value is not None:
            nn.utils.clip_grad_value_(model.parameters(), trial.clip_value)
        shaped = trial.clip_adaptive is not None or trial.clip_value is not None
        cosine = nn.functional.cosine_similarity(before, _flat_gradient(model), dim=0)
        record["cosines"].append(float(cosine) if shaped else float("nan"))
        if trial.clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), trial.clip_norm)
        record["norms_after"].append(float(nn.utils.get_total_norm([p.grad for p in model.parameters()])))
        optimizer.step()
    return record
