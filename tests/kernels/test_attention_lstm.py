"""Sentences read by an LSTM that looks: the numbers and gradients of plain steps, one word after another."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from showtell.kernels import additive_attention as additive
from showtell.kernels.attention_lstm import AttentionInputs, AttentionLstmWeights, attention_lstm
from showtell.kernels.packed_lstm import PackedBatch

PAD, PICTURES, REGIONS = 0, 2, 3
HIDDEN, MEMORY, ATTENTION = 4, 5, 6
TOKENS = torch.tensor([[3, 1, 2, 0], [4, 0, 0, 0], [0, 0, 0, 0], [2, 2, 0, 0], [1, 2, 3, 4], [1, 1, 1, 0]])
"""Three sentences about each picture, one of them empty, none in the order of lengths."""


def drawn(dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    torch.manual_seed(0)
    shapes = {
        "words": (13, 4 * HIDDEN),
        "hidden": (len(TOKENS), HIDDEN),
        "cell": (len(TOKENS), HIDDEN),
        "values": (PICTURES, REGIONS, MEMORY),
        "keys": (PICTURES, REGIONS, ATTENTION),
        "from_hidden": (ATTENTION + MEMORY + 4 * HIDDEN, HIDDEN),
        "gate": (MEMORY,),
        "from_seen": (4 * HIDDEN, MEMORY),
        "energy": (ATTENTION,),
    }
    return {name: torch.randn(shape, dtype=dtype, requires_grad=True) for name, shape in shapes.items()}


def mask() -> Tensor:
    return torch.tensor([[True, True, True], [True, False, True]])


def read(of: dict[str, Tensor], sentences: PackedBatch) -> tuple[Tensor, Tensor]:
    weights = AttentionLstmWeights(of["from_hidden"], of["gate"], of["from_seen"], of["energy"])
    sight = AttentionInputs(of["values"], of["keys"], mask())
    return attention_lstm(of["words"], sentences, (of["hidden"], of["cell"]), sight, weights)


def step_by_step(of: dict[str, Tensor], sentences: PackedBatch) -> tuple[Tensor, Tensor]:
    """Return the same by the formulas, a sentence at a time: Xu et al. 2015, equations 1 to 6 and section 4.2.1."""
    words = sentences.unpack(of["words"])
    held: list[Any] = [(of["words"].new_zeros(TOKENS.shape[1], HIDDEN),) * 2 for _ in TOKENS]
    context = [of["words"].new_zeros(TOKENS.shape[1], MEMORY) for _ in TOKENS]
    for number, tokens in enumerate(TOKENS):
        picture = number // (len(TOKENS) // PICTURES)
        values, keys, real = of["values"][picture], of["keys"][picture], mask()[picture]
        hidden, cell, said, looked = of["hidden"][number], of["cell"][number], [], []
        for word in words[number][: int((tokens != PAD).sum())]:
            query, gate, gates = (of["from_hidden"] @ hidden).split((ATTENTION, MEMORY, 4 * HIDDEN))
            energy = torch.tanh(keys + query) @ of["energy"]
            attention = energy.masked_fill(~real, float("-inf")).softmax(0)
            seen = torch.sigmoid(gate + of["gate"]) * (attention @ values)
            keep, write, expose, content = (word + gates + of["from_seen"] @ seen).chunk(4)
            cell = torch.sigmoid(keep) * cell + torch.sigmoid(write) * torch.tanh(content)
            hidden = torch.sigmoid(expose) * torch.tanh(cell)
            said.append(hidden)
            looked.append(seen)
        rest = TOKENS.shape[1] - len(said)
        held[number] = torch.stack([*said, *[hidden.new_zeros(HIDDEN)] * rest])
        context[number] = torch.stack([*looked, *[hidden.new_zeros(MEMORY)] * rest])
    return sentences.pack(torch.stack(held)), sentences.pack(torch.stack(context))


@pytest.mark.parametrize("at_once", [1, 40, 2**19])
def test_outputs_and_gradients_are_those_of_the_formulas(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(additive, "NUMBERS_AT_ONCE", at_once)
    of, sentences = drawn(), PackedBatch.of(TOKENS, PAD)
    weigh = torch.randn(len(of["words"]), HIDDEN + MEMORY, dtype=torch.float64)
    found, wanted = (torch.cat(form(of, sentences), dim=1) for form in (read, step_by_step))
    torch.testing.assert_close(found, wanted)
    by_found, by_wanted = (
        torch.autograd.grad((out * weigh).sum(), list(of.values())) for out in (found, wanted)
    )
    for name, one, other in zip(of, by_found, by_wanted, strict=True):
        torch.testing.assert_close(one, other, msg=lambda text, name=name: f"{name}: {text}")


def test_bfloat16_stays_near_the_exact() -> None:
    sentences, of = PackedBatch.of(TOKENS, PAD), drawn()
    rounded = {
        name: part.detach().to(torch.bfloat16 if name in ("words", "values", "keys") else torch.float32)
        for name, part in of.items()
    }
    for part in rounded.values():
        part.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = torch.cat(read(rounded, sentences), dim=1)
    assert found.dtype == torch.bfloat16
    wanted = torch.cat(read(of, sentences), dim=1)
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=0.05)
    by_found = torch.autograd.grad(found.float().square().sum(), list(rounded.values()))
    by_wanted = torch.autograd.grad(wanted.square().sum(), list(of.values()))
    for name, one, other in zip(of, by_found, by_wanted, strict=True):
        assert one.dtype == rounded[name].dtype
        assert float((one.double() - other).norm() / other.norm()) < 0.05, name


def test_no_sentence_at_all_gives_nothing() -> None:
    of = drawn()
    of["words"] = of["words"].detach()[:0].requires_grad_()
    hidden, context = read(of, PackedBatch.of(torch.zeros_like(TOKENS), PAD))
    assert (hidden.shape, context.shape) == ((0, HIDDEN), (0, MEMORY))
    (hidden.sum() + context.sum()).backward()
