"""The readout, a linear map from the last layer to the task's outputs; the same in every family."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gradatlas.study.choices.initializers import INITIALIZERS
from gradatlas.study.choices.losses import Loss
from gradatlas.study.networks.blocks import Kept, Layer, Linear
from gradatlas.study.networks.model import Workspace
from gradatlas.study.randomness import stream
from gradatlas.study.shapes import Float
from gradatlas.study.trial import Trial

_READOUT = Linear()


def draw_readout(trial: Trial) -> np.ndarray:
    """The readout's weight, LeCun in every trial."""
    return INITIALIZERS["lecun"].draw(stream(trial.seed, "readout"), trial.width, trial.outputs)


def read_out(
    readout: Layer, x: Float[Tensor, "trials batch width"], workspace: Workspace
) -> tuple[Tensor, Kept]:
    """(What the readout puts out, what its backward pass needs)."""
    return _READOUT.forward(readout, x, workspace.within("readout"), is_block_input=True)


def loss_through_readout(
    readout: Layer,
    x: Float[Tensor, "trials batch width"],
    targets: Tensor,
    *,
    loss: Loss,
    gradient: Layer,
    workspace: Workspace,
) -> tuple[Float[Tensor, " trials"], Float[Tensor, "trials batch width"]]:
    """(The losses in float64, their gradient at x); writes the readout's gradients into `gradient`."""
    outputs, kept = read_out(readout, x, workspace)
    losses, at_outputs = loss_of_outputs(outputs, targets, loss)
    out = workspace.take("output gradient", tuple(x.shape))
    return losses, _READOUT.backward(readout, at_outputs.to(outputs.dtype), kept, gradient, out)


def loss_of_outputs(
    outputs: Float[Tensor, "trials batch outputs"], targets: Tensor, loss: Loss
) -> tuple[Float[Tensor, " trials"], Float[Tensor, "trials batch outputs"]]:
    """(The losses in float64, their gradient at the outputs, which may be overwritten)."""
    # In float32 at least: a softmax in bfloat16 has two digits.
    exact = outputs.float() if outputs.dtype == torch.bfloat16 else outputs
    losses, gradient = loss.value_and_gradient(exact, targets)
    return losses.double(), gradient
