"""Cell updates of an LSTM: the numbers and gradients of the formulas in any order of gates, and of torch."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from showtell.kernels.lstm_cell import GateDerivatives, GateOrder, StepLstm, update_cells


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


def test_steps_equal_torchs_lstm_forward_and_backward() -> None:
    torch.manual_seed(0)
    lstm = StepLstm(3, 4).double()
    inputs = torch.randn(6, 5, 3, dtype=torch.float64, requires_grad=True)
    hidden = cell = torch.zeros(2, 3, 4, dtype=torch.float64)
    steps = []
    for part in inputs.unbind(1):
        hidden, cell = lstm.step(part.view(2, 3, 3), hidden, cell)
        steps.append(hidden.flatten(0, 1))
    outputs, (expected, _) = torch.stack(steps, dim=1), lstm(inputs)
    torch.testing.assert_close(outputs, expected)
    leaves = [inputs, *lstm.parameters()]
    grads, expected_grads = (torch.autograd.grad(out.square().sum(), leaves) for out in (outputs, expected))
    for grad, expected_grad in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(grad, expected_grad)
