"""The cell update of an LSTM: plain, and forward and backward for kernels with hand-written gradients.

In the kernels all that does not depend on later gradients is computed for all time steps at once (`GateDerivatives`),
which leaves products alone for each step.
"""

from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional


class StepLstm(nn.LSTM):
    """An `nn.LSTM` of one layer that can also advance by a single step.

    `nn.LSTM` repacks its weights at every call: negligible for a whole caption, most of the time for one word.
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
    """Return the new hidden state and cell [..., H] for a cell [..., H], in its precision.

    ``gates`` float [..., 4H] holds the inputs of the input, forget, cell and output gates (torch's order).
    """
    input_gate, forget_gate, cell_gate, output_gate = gates.to(cell.dtype).chunk(4, dim=-1)
    cell = torch.sigmoid(forget_gate) * cell + torch.sigmoid(input_gate) * torch.tanh(cell_gate)
    return torch.sigmoid(output_gate) * torch.tanh(cell), cell


class GateOrder(NamedTuple):
    """The positions of an LSTM's gates among the four parts of [N, 4H]."""

    input: int
    forget: int
    cell: int
    output: int

    def split(self, gates: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return views [N, H] of the input, forget, cell and output gates."""
        parts = gates.chunk(4, dim=1)
        return parts[self.input], parts[self.forget], parts[self.cell], parts[self.output]


TORCH_ORDER = GateOrder(input=0, forget=1, cell=2, output=3)


def update_cells(gates: Tensor, previous: Tensor, cells: Tensor, order: GateOrder) -> Tensor:
    """Return the hidden states [N, H] after an update of the ``previous`` cells [N, H], and write the new ``cells``.

    The gates, float [N, 4H], are activated in place.
    """
    input_gate, forget_gate, cell_gate, output_gate = order.split(gates)
    for gate in (input_gate, forget_gate, output_gate):
        gate.sigmoid_()
    cell_gate.tanh_()
    torch.mul(forget_gate, previous, out=cells).addcmul_(input_gate, cell_gate)
    return cells.tanh().mul_(output_gate)


class GateDerivatives(NamedTuple):
    """Local derivatives of cell updates; those by the output gate's input are of the hidden state, not the cell."""

    gates: Tensor  # of the cell by the gates' inputs, float [N, 4H]
    cells: Tensor  # of the hidden state by the cell, float [N, H]
    forget: Tensor  # of the cell by the previous one, float [N, H]
    order: GateOrder

    @classmethod
    def of(cls, active: Tensor, cells: Tensor, previous: Tensor, order: GateOrder) -> Self:
        """Compute them from activated gates [N, 4H], cells [N, H] and the cells before the updates [N, H]."""
        input_gate, forget_gate, cell_gate, output_gate = order.split(active.to(cells.dtype))
        tanh_cells, gates = cells.tanh(), cells.new_empty(active.shape)
        d_input, d_forget, d_cell, d_output = order.split(gates)
        _sigmoid_derivative(input_gate, out=d_input).mul_(cell_gate)
        _sigmoid_derivative(forget_gate, out=d_forget).mul_(previous)
        torch.mul(cell_gate, cell_gate, out=d_cell).neg_().add_(1.0).mul_(input_gate)
        _sigmoid_derivative(output_gate, out=d_output).mul_(tanh_cells)
        return cls(gates, tanh_cells.square_().neg_().add_(1.0).mul_(output_gate), forget_gate, order)

    def split_steps(self, batch_sizes: list[int]) -> list[Self]:
        """Return those of each time step."""
        parts = split_steps(batch_sizes, self.gates, self.cells, self.forget)
        return [type(self)(gates, cells, forget, self.order) for gates, cells, forget in parts]

    def backward_step(self, grad_hidden: Tensor, grad_cell: Tensor, grad_gates: Tensor) -> None:
        """Propagate the gradients of hidden states and cells [N, H] after an update back through it.

        ``grad_cell`` becomes the gradient of the cells before the update; ``grad_gates`` [N, 4H] receives that of the
        gates' inputs.
        """
        grad_cell.addcmul_(grad_hidden, self.cells)
        parts = zip(self.order.split(self.gates), self.order.split(grad_gates), strict=True)
        grads = (grad_cell, grad_cell, grad_cell, grad_hidden)
        for grad, (derivative, out) in zip(grads, parts, strict=True):
            torch.mul(derivative, grad, out=out)
        grad_cell.mul_(self.forget)


def split_steps(batch_sizes: list[int], *values: Tensor) -> list[tuple[Tensor, ...]]:
    """Return the rows of packed values [N, ...] that belong to each time step."""
    return list(zip(*(torch.split(value, batch_sizes) for value in values), strict=True))


def _sigmoid_derivative(gate: Tensor, *, out: Tensor) -> Tensor:
    """Return g - g^2 for a sigmoid's value g."""
    return torch.addcmul(gate, gate, gate, value=-1.0, out=out)
