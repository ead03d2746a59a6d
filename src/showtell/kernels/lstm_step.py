"""A torch LSTM by its own call, and one time step of it by plain products.

`torch.nn.LSTM` packs its weights anew at every call, which costs nothing over a sentence and most of the time over a
single word.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

Run = tuple[Any, tuple[Tensor, Tensor]]
"""Outputs as the inputs were, and the last hidden and cell [layers, B, H]."""


def run_lstm(lstm: nn.LSTM, inputs: Any, before: tuple[Tensor, Tensor] | None = None) -> Run:
    """Return what an LSTM's own call gives; on a graphics card in the precision of its weights.

    Under autocast cuDNN's runs in float16, whatever precision was asked for: small gradients become zero there.

    Args:
        lstm: Any.
        inputs: float [B, T, X], or packed sentences.
        before: Hidden and cell to start from, float [layers, B, H]; None: zeros.
    """
    weight = next(lstm.parameters())
    context: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
    if weight.device.type != "cpu":
        context = torch.autocast(weight.device.type, enabled=False)
        if isinstance(inputs, PackedSequence):
            inputs = inputs._replace(data=inputs.data.to(weight.dtype))
        else:
            inputs = inputs.to(weight.dtype)
        if before is not None:
            before = before[0].to(weight.dtype), before[1].to(weight.dtype)
    with context:
        found: Run = lstm(inputs, before)
    return found


class StepLstm(nn.LSTM):
    """An `nn.LSTM` of one layer that can also advance by a single step.

    Args:
        input_size: Width X of the inputs.
        hidden_size: Width H of hidden state and cell.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, batch_first=True)

    def step(self, inputs: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Return the new hidden state and cell [N, H] for inputs [N, X], hidden state and cell [N, H]."""
        input_weight, hidden_weight, input_bias, hidden_bias = self.parameters()  # torch's order
        gates = functional.linear(inputs, input_weight, input_bias)
        gates = gates + functional.linear(hidden, hidden_weight, hidden_bias)
        return lstm_update(gates, cell)


def lstm_update(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Return the new hidden and cell [..., H], in the precision of the cell.

    Args:
        gates: What four layers give, in torch's order: write, keep, content, expose, float [..., 4H].
        cell: float [..., H].
    """
    write, keep, content, expose = gates.to(cell.dtype).chunk(4, dim=-1)
    cell = torch.sigmoid(keep) * cell + torch.sigmoid(write) * torch.tanh(content)
    return torch.sigmoid(expose) * torch.tanh(cell), cell
