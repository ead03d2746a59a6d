"""One time step of a torch LSTM by plain products.

`torch.nn.LSTM` packs its weights anew at every call, which costs nothing over a sentence and most of the time over a
single word.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def lstm_step(lstm: nn.Module, inputs: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Return what an LSTM of one layer holds after one more input.

    Args:
        lstm: A torch LSTM of one layer, one direction, with biases, or one that `showtell.models.packed` made of it.
        inputs: float [N, X].
        hidden: float [N, H].
        cell: float [N, H].

    Returns:
        The new hidden and cell, [N, H].
    """
    if not isinstance(lstm, nn.LSTM):
        stepped: tuple[Tensor, Tensor] = lstm(inputs, hidden, cell)
        return stepped
    from_input, from_hidden, input_bias, hidden_bias = lstm.parameters()  # torch's order
    gates = functional.linear(inputs, from_input, input_bias)
    gates = gates + functional.linear(hidden, from_hidden, hidden_bias)
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
