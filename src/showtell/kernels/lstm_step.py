"""A torch LSTM by its own call (`run_lstm`), and a single step of it by plain products (`StepLstm`).

`torch.nn.LSTM` repacks its weights at every call: negligible for a whole caption, most of the time for one word.
"""

import contextlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

LstmOutput = tuple[Any, tuple[Tensor, Tensor]]
"""Outputs in the form of the inputs, and the last hidden state and cell [layers, B, H]."""


def run_lstm(lstm: nn.LSTM, inputs: Any, state: tuple[Tensor, Tensor] | None = None) -> LstmOutput:
    """Call an LSTM; on a GPU in the precision of its weights.

    Under autocast cuDNN computes LSTMs in float16 even if bfloat16 is requested: small gradients become zero.

    Args:
        lstm: Any.
        inputs: float [B, T, X], or a packed sequence.
        state: Initial hidden state and cell, float [layers, B, H]; None: zeros.
    """
    weight = next(lstm.parameters())
    context: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
    if weight.device.type != "cpu":
        context = torch.autocast(weight.device.type, enabled=False)
        if isinstance(inputs, PackedSequence):
            inputs = inputs._replace(data=inputs.data.to(weight.dtype))
        else:
            inputs = inputs.to(weight.dtype)
        if state is not None:
            state = state[0].to(weight.dtype), state[1].to(weight.dtype)
    with context:
        output: LstmOutput = lstm(inputs, state)
    return output


class StepLstm(nn.LSTM):
    """An `nn.LSTM` of one layer that can also advance by a single step.

    Args:
        input_size: Width X of the inputs.
        hidden_size: Width H of hidden state and cell.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, batch_first=True)

    def step(self, inputs: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Return the new hidden state and cell [..., H] for inputs [..., X], hidden state and cell [..., H]."""
        input_weight, hidden_weight, input_bias, hidden_bias = self.parameters()  # torch's order
        # As matrices: torch multiplies a strided [P, K, H] image by image.
        gates = functional.linear(inputs.flatten(0, -2), input_weight, input_bias)
        gates = gates + functional.linear(hidden.flatten(0, -2), hidden_weight, hidden_bias)
        return lstm_update(gates.view(*inputs.shape[:-1], -1), cell)


def lstm_update(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Return the new hidden state and cell [..., H], in the precision of the cell.

    Args:
        gates: Inputs of the input, forget, cell and output gates (torch's order), float [..., 4H].
        cell: float [..., H].
    """
    input_gate, forget_gate, cell_gate, output_gate = gates.to(cell.dtype).chunk(4, dim=-1)
    cell = torch.sigmoid(forget_gate) * cell + torch.sigmoid(input_gate) * torch.tanh(cell_gate)
    return torch.sigmoid(output_gate) * torch.tanh(cell), cell
