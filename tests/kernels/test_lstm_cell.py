"""Cell updates of an LSTM: the numbers and gradients of the formulas, in any order of the gates."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from showtell.kernels.lstm_cell import GateDerivatives, GateOrder, update_cells


@pytest.mark.parametrize("order", [GateOrder(*positions) for positions in permutations(range(4))])
def test_an_update_and_its_backward_step_equal_the_formulas(order: GateOrder) -> None:
    torch.manual_seed(0)
    gates, previous = (torch.randn(3, width, dtype=torch.float64, requires_grad=True) for width in (20, 5))
    input_gate, forget_gate, cell_gate, output_gate = order.split(gates)
    cell = torch.sigmoid(forget_gate) * previous + torch.sigmoid(input_gate) * torch.tanh(cell_gate)
    hidden = torch.sigmoid(output_gate) * torch.tanh(cell)
    grad_hidden, grad_cell = torch.randn_like(hidden), torch.randn_like(cell)
    expected_gates, expected_previous = torch.autograd.grad(
        (hidden, cell), (gates, previous), (grad_hidden, grad_cell)
    )

    active, cells = gates.detach().clone(), torch.empty_like(previous)
    torch.testing.assert_close(update_cells(active, previous.detach(), cells, order), hidden)
    torch.testing.assert_close(cells, cell)
    grad_gates = torch.empty_like(active)
    derivatives = GateDerivatives.of(active, cells, previous.detach(), order)
    derivatives.backward_step(grad_hidden, grad_cell, grad_gates)
    torch.testing.assert_close(grad_gates, expected_gates)
    torch.testing.assert_close(grad_cell, expected_previous)
