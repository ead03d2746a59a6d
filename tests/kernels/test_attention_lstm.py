"""The recurrence of Show, Attend and Tell: the numbers and gradients of the formulas, one word after another."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from showtell.kernels import additive_attention
from showtell.kernels.attention_lstm import AttentionLstmLayers, attention_lstm
from showtell.kernels.packed_lstm import PackedBatch

PAD, IMAGES, CAPTIONS, LENGTH, REGIONS = 0, 2, 3, 4, 3
HIDDEN, MEMORY, ATTENTION = 4, 5, 6
TOKENS = torch.tensor(
    [[[3, 1, 2, 0], [4, 0, 0, 0], [0, 0, 0, 0]], [[2, 2, 0, 0], [1, 2, 3, 4], [1, 1, 1, 0]]]
)
"""Three captions of each image, one of them empty, not sorted by length."""
MASK = torch.tensor([[True, True, True], [True, False, True]])


def draw(dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    torch.manual_seed(0)
    shapes = {
        "gates": (13, 4 * HIDDEN),
        "hidden": (IMAGES, CAPTIONS, HIDDEN),
        "cell": (IMAGES, CAPTIONS, HIDDEN),
        "values": (IMAGES, REGIONS, MEMORY),
        "keys": (IMAGES, REGIONS, ATTENTION),
        "query": (ATTENTION, HIDDEN),
        "gate": (MEMORY, HIDDEN),
        "gate_bias": (MEMORY,),
        "context": (4 * HIDDEN, MEMORY + HIDDEN),
        "energy": (1, ATTENTION),
    }
    return {name: torch.randn(shape, dtype=dtype, requires_grad=True) for name, shape in shapes.items()}


def kernel(of: dict[str, Tensor], batch: PackedBatch) -> tuple[Tensor, Tensor]:
    layers = [
        SimpleNamespace(weight=of[name], bias=of["gate_bias"])
        for name in ("query", "gate", "context", "energy")
    ]
    state = {name: of[name] for name in ("hidden", "cell", "keys", "values")}
    return attention_lstm(of["gates"], batch, AttentionLstmLayers(*cast(Any, layers)), **state, mask=MASK)


def reference(of: dict[str, Tensor], batch: PackedBatch) -> tuple[Tensor, Tensor]:
    """Return the same by Xu et al. 2015, equations 1 to 6 and section 4.2.1."""
    gates, values, keys = batch.unpack(of["gates"]), of["values"].unsqueeze(1), of["keys"].unsqueeze(1)
    hidden, cell, steps = of["hidden"], of["cell"], []
    for step in range(LENGTH):
        energy = torch.tanh(keys + (hidden @ of["query"].t()).unsqueeze(2)) @ of["energy"].squeeze(
            0
        )  # [P, K, R]
        attention = energy.masked_fill(~MASK.unsqueeze(1), float("-inf")).softmax(dim=2)
        context = (attention.unsqueeze(3) * values).sum(dim=2)  # [P, K, M]
        context = torch.sigmoid(hidden @ of["gate"].t() + of["gate_bias"]) * context
        raw = gates[:, :, step] + torch.cat((context, hidden), dim=2) @ of["context"].t()
        forget_gate, input_gate, output_gate, cell_gate = raw.chunk(4, dim=2)
        cell = torch.sigmoid(forget_gate) * cell + torch.sigmoid(input_gate) * torch.tanh(cell_gate)
        hidden = torch.sigmoid(output_gate) * torch.tanh(cell)
        steps.append((hidden, context))
    hidden, context = (batch.pack(torch.stack(parts, dim=2)) for parts in zip(*steps, strict=True))
    return hidden, context


@pytest.mark.parametrize("elements", [1, 40, 2**19])
def test_outputs_and_gradients_equal_the_formulas(elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(additive_attention, "BLOCK_ELEMENTS", elements)
    of, batch = draw(), PackedBatch.of(TOKENS, PAD)
    weights = torch.randn(len(of["gates"]), HIDDEN + MEMORY, dtype=torch.float64)
    outputs, expected = (torch.cat(form(of, batch), dim=1) for form in (kernel, reference))
    torch.testing.assert_close(outputs, expected)
    grads, expected_grads = (
        torch.autograd.grad((out * weights).sum(), list(of.values())) for out in (outputs, expected)
    )
    for name, grad, expected_grad in zip(of, grads, expected_grads, strict=True):
        torch.testing.assert_close(grad, expected_grad, msg=lambda text, name=name: f"{name}: {text}")


def test_bfloat16_stays_near_the_exact() -> None:
    batch, of = PackedBatch.of(TOKENS, PAD), draw()
    rounded = {
        name: part.detach().to(torch.bfloat16 if name in ("gates", "values", "keys") else torch.float32)
        for name, part in of.items()
    }
    for part in rounded.values():
        part.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = torch.cat(kernel(rounded, batch), dim=1)
    assert outputs.dtype == torch.bfloat16
    expected = torch.cat(kernel(of, batch), dim=1)
    torch.testing.assert_close(outputs.double(), expected, rtol=0, atol=0.05)
    grads = torch.autograd.grad(outputs.float().square().sum(), list(rounded.values()))
    expected_grads = torch.autograd.grad(expected.square().sum(), list(of.values()))
    for name, grad, expected_grad in zip(of, grads, expected_grads, strict=True):
        assert grad.dtype == rounded[name].dtype
        assert float((grad.double() - expected_grad).norm() / expected_grad.norm()) < 0.05, name


def test_empty_captions_give_no_outputs() -> None:
    of = draw()
    of["gates"] = of["gates"].detach()[:0].requires_grad_()
    hidden, context = kernel(of, PackedBatch.of(torch.zeros_like(TOKENS), PAD))
    assert (hidden.shape, context.shape) == ((0, HIDDEN), (0, MEMORY))
    (hidden.sum() + context.sum()).backward()
