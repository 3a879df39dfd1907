"""Families of networks: what each is. How they are built and measured is in `study.families`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """What a family is.

    A recurrent family uses one cell again at every time step: its depth counts time steps, its tasks are
    sequences, its input enters at each of them, and it has no norm or skip. `gates` and `biases` are the
    blocks of `width` columns in the cell's weights and in its bias, `kept` the signals of a layer's size that
    a time step keeps for the backward pass.
    """

    title: str
    meaning: str
    is_recurrent: bool = False
    has_activation: bool = True  # rather than functions of its own
    gates: int = 1
    biases: int = 1
    kept: int = 0

    def hidden_weights(self, depth: int) -> int:
        """How many hidden weight matrices a network of this depth has."""
        return 1 if self.is_recurrent else depth


FAMILIES: dict[str, Family] = {
    "mlp": Family("MLP", "multilayer perceptron, with norms and skips"),
    "rnn": Family("RNN", "h_t = W_hh φ(h_{t−1}) + W_ih x_t + b", is_recurrent=True, kept=2),
    "lstm": Family(
        "LSTM", "as torch.nn.LSTM", is_recurrent=True, has_activation=False, gates=4, biases=4, kept=7
    ),
    "gru": Family(
        "GRU", "as torch.nn.GRU", is_recurrent=True, has_activation=False, gates=3, biases=4, kept=7
    ),
}
RECURRENT = tuple(name for name, family in FAMILIES.items() if family.is_recurrent)
FEED_FORWARD = tuple(name for name, family in FAMILIES.items() if not family.is_recurrent)
