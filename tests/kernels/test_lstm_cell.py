"""Cells of an LSTM: the numbers and gradients of the formulas, whatever the order of the gates."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from showtell.kernels.lstm_cell import GateDerivatives, GateOrder, update_cells


@pytest.mark.parametrize("order", [GateOrder(*places) for places in permutations(range(4))])
def test_an_update_and_the_way_back_are_those_of_the_formulas(order: GateOrder) -> None:
    torch.manual_seed(0)
    gates, before = (torch.randn(3, width, dtype=torch.float64, requires_grad=True) for width in (20, 5))
    write, keep, content, expose = order.split(gates)
    cell = torch.sigmoid(keep) * before + torch.sigmoid(write) * torch.tanh(content)
    hidden = torch.sigmoid(expose) * torch.tanh(cell)
    asked_hidden, asked_cell = torch.randn_like(hidden), torch.randn_like(cell)
    by_gates, by_before = torch.autograd.grad((hidden, cell), (gates, before), (asked_hidden, asked_cell))

    active, cells = gates.detach().clone(), torch.empty_like(before)
    torch.testing.assert_close(update_cells(active, before.detach(), cells, order), hidden)
    torch.testing.assert_close(cells, cell)
    found = torch.empty_like(active)
    GateDerivatives.of(active, cells, before.detach(), order).back(asked_hidden, asked_cell, found)
    torch.testing.assert_close(found, by_gates)
    torch.testing.assert_close(asked_cell, by_before)
