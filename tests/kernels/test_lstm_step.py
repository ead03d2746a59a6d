"""A single step of an LSTM: the numbers and gradients of torch's own call."""

from __future__ import annotations

import torch

from showtell.kernels.lstm_step import StepLstm


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
