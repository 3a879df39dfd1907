"""The outside truth for recurrent nets: a trial as torch.nn.RNN, LSTM or GRU, or step by step as it reads."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gradatlas.study.choices.tasks import TASKS, Data, batch_indices
from gradatlas.study.families import ARCHITECTURES
from gradatlas.study.trial import Trial
from tests.study.oracles import ACTIVATION_MODULES, FAMILY_MODULES
from tests.study.reference import loss_on_test_split, probe_loss

CPU = torch.device("cpu")


class RecurrentReference(nn.Module):
    """torch's own module with a trial's initial weights; a vanilla net with tanh or relu, LSTM or GRU."""

    def __init__(self, trial: Trial) -> None:
        super().__init__()
        stack = ARCHITECTURES[trial.family].build([trial], dtype=torch.float64, device=CPU)
        cell, readout = stack.parameters()
        kind = FAMILY_MODULES[trial.family]
        options = {"nonlinearity": trial.activation} if trial.family == "rnn" else {}
        features, bias = cell.input_weight.shape[1], cell.bias[0, 0]
        self.cell = kind(features, trial.width, batch_first=True, dtype=torch.float64, **options)
        self.readout = nn.Linear(trial.width, readout.weight.shape[2], dtype=torch.float64)
        columns = cell.weight.shape[2]
        with torch.no_grad():
            self.cell.weight_hh_l0.copy_(cell.weight[0].T)
            self.cell.weight_ih_l0.copy_(cell.input_weight[0].T)
            self.cell.bias_ih_l0.copy_(bias[:columns])
            self.cell.bias_hh_l0.zero_()
            self.cell.bias_hh_l0[columns - len(bias[columns:]) :] = bias[columns:]
            self.readout.weight.copy_(readout.weight[0].T)
            self.readout.bias.zero_()
        # torch's second bias of a gate is redundant but in the GRU's reset gate: the others stay zero.
        free = torch.zeros(columns, dtype=torch.float64)
        free[columns - len(bias[columns:]) :] = 1.0
        self.cell.bias_hh_l0.register_hook(lambda gradient: gradient * free)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.cell(x)[0][:, -1])


def hidden_states(trial: Trial, inputs: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """(h_1 … h_T, c_1 … c_T of an LSTM, W_hh as each step used it), all with gradients to be retained."""
    stack = ARCHITECTURES[trial.family].build(
        [trial], features=inputs.shape[2], dtype=torch.float64, device=CPU
    )
    cell = stack.parameters()[0]
    w_in, bias, n = cell.input_weight[0], cell.bias[0], trial.width
    phi = ACTIVATION_MODULES[trial.activation]()
    output, c = (torch.zeros(len(inputs), n, dtype=torch.float64) for _ in range(2))
    taps, cells, weights = [], [], []
    for x in inputs.unbind(dim=1):
        w = cell.weight[0].clone().requires_grad_()
        weights.append(w)
        if trial.family == "rnn":
            h = x @ w_in + output @ w + bias
            output = phi(h)
        elif trial.family == "lstm":
            i, f, g, o = (x @ w_in + output @ w + bias).split(n, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = output = torch.sigmoid(o) * torch.tanh(c)
            c.retain_grad()
            cells.append(c)
        else:
            (xr, xz, xn), (hr, hz, hn) = (x @ w_in + bias[:, : 3 * n]).split(n, 1), (output @ w).split(n, 1)
            r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
            new = torch.tanh(xn + r * (hn + bias[:, 3 * n :]))
            h = output = (1 - z) * new + z * output
        h.retain_grad()
        taps.append(h)
    return taps, cells, weights


def trained_alone(trial: Trial, data: Data) -> dict[str, list[float]]:
    """Losses and gradient norms at each step, and the loss over the test split; by torch, in float64."""
    model = RecurrentReference(trial)
    optimizer = torch.optim.SGD(model.parameters(), lr=trial.learning_rate)
    regression = TASKS[trial.task].loss.correct is None
    loss_of = nn.functional.mse_loss if regression else nn.functional.cross_entropy
    record: dict[str, list[float]] = {"losses": [], "norms_before": [], "norms_after": []}
    record |= {"probe_losses": [probe_loss(model, data, loss_of, trial, [])]} if trial.probe_size else {}
    for step in range(trial.steps):
        chosen = batch_indices(len(data.inputs), trial.batch_size, step)
        loss = loss_of(model(data.inputs[chosen]), data.targets[chosen])
        optimizer.zero_grad()
        loss.backward()
        record["losses"].append(loss.item())
        record["norms_before"].append(float(nn.utils.get_total_norm([p.grad for p in model.parameters()])))
        if trial.clip_value is not None:
            nn.utils.clip_grad_value_(model.parameters(), trial.clip_value)
        if trial.clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), trial.clip_norm)
        record["norms_after"].append(float(nn.utils.get_total_norm([p.grad for p in model.parameters()])))
        optimizer.step()
        if trial.probe_size:
            record["probe_losses"].append(probe_loss(model, data, loss_of, trial, record["losses"]))
    record["test_loss"] = [loss_on_test_split(model, data, loss_of, trial, record["losses"])]
    return record
