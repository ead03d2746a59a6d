"""LSTMs over sentences of different lengths: torch's own numbers, without its work on padding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from showtell.kernels.lstm_step import StepLstm
from showtell.kernels.packed_lstm import PackedBatch, packed_lstm, packed_lstm_with_cells

PAD = 0


def padded(lengths: list[int], length: int) -> Tensor:
    """Return ids [B, T]: so many tokens, then padding."""
    times = torch.arange(length)
    return torch.where(times < torch.tensor(lengths).unsqueeze(1), times + 1, PAD)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=6), st.integers(6, 8))
def test_every_token_is_packed_once_and_comes_back_to_its_place(lengths: list[int], length: int) -> None:
    tokens = padded(lengths, length)
    sentences = PackedBatch.of(tokens, PAD)
    packed = sentences.pack(tokens.unsqueeze(2))
    assert len(packed) == sum(sentences.counts) == sum(lengths)
    assert sentences.counts == sorted(sentences.counts, reverse=True)
    assert 0 not in sentences.counts
    assert torch.equal(sentences.unpack(packed).squeeze(2), tokens)
    assert torch.equal(tokens[sentences.rows].gather(1, packed - 1), packed)


def reference(lstm: nn.LSTM, inputs: Tensor, sentences: PackedBatch, before: tuple[Tensor, Tensor]) -> Tensor:
    counts = torch.tensor(sentences.counts)
    state = tuple(part[:, sentences.order[: counts[0]]] for part in before)
    found: Tensor = lstm(PackedSequence(inputs, counts), state)[0].data
    return found


@pytest.mark.parametrize("layers", [1, 2])
def test_outputs_and_gradients_are_those_of_torch(layers: int) -> None:
    torch.manual_seed(0)
    lstm = nn.LSTM(3, 4, layers).double()
    sentences = PackedBatch.of(padded([2, 5, 0, 5, 1], 6), PAD)
    inputs = torch.randn(13, 3, dtype=torch.float64, requires_grad=True)
    hidden, cell = (torch.randn(layers, 5, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    weigh = torch.randn(13, 4, dtype=torch.float64)
    leaves = [inputs, hidden, cell, *lstm.parameters()]
    found = packed_lstm(lstm, inputs, sentences, (hidden, cell))
    wanted = reference(lstm, inputs, sentences, (hidden, cell))
    torch.testing.assert_close(found, wanted)
    by_found, by_wanted = (torch.autograd.grad((out * weigh).sum(), leaves) for out in (found, wanted))
    for one, other in zip(by_found, by_wanted, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("asked", ["hidden", "cells", "both"])
def test_cells_and_what_is_asked_of_them_are_those_of_steps(asked: str) -> None:
    torch.manual_seed(0)
    lstm = StepLstm(3, 4).double()
    tokens = padded([2, 4, 1], 4)
    sentences = PackedBatch.of(tokens, PAD)
    inputs = torch.randn(3, 4, 3, dtype=torch.float64, requires_grad=True)
    steps = []
    hidden = cell = torch.zeros(3, 4, dtype=torch.float64)
    for part in inputs.unbind(1):
        hidden, cell = lstm.step(part, hidden, cell)
        steps.append(torch.cat((hidden, cell), dim=1))
    wanted = sentences.pack(torch.stack(steps, dim=1))
    found = torch.cat(packed_lstm_with_cells(lstm, sentences.pack(inputs), sentences), dim=1)
    torch.testing.assert_close(found, wanted)
    part = {"hidden": slice(0, 4), "cells": slice(4, 8), "both": slice(0, 8)}[asked]
    leaves = [inputs, *lstm.parameters()]
    by_found, by_wanted = (
        torch.autograd.grad(out[:, part].square().sum(), leaves) for out in (found, wanted)
    )
    for one, other in zip(by_found, by_wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_sentences_start_from_nothing_unless_told() -> None:
    torch.manual_seed(0)
    lstm, sentences = nn.LSTM(3, 4), PackedBatch.of(padded([2, 3], 3), PAD)
    inputs, zeros = torch.randn(5, 3), torch.zeros(1, 2, 4)
    torch.testing.assert_close(
        packed_lstm(lstm, inputs, sentences), reference(lstm, inputs, sentences, (zeros, zeros))
    )


def test_bfloat16_stays_near_float32() -> None:
    torch.manual_seed(0)
    lstm, sentences = nn.LSTM(8, 16), PackedBatch.of(padded([9, 12, 4], 12), PAD)
    inputs = torch.randn(25, 8)
    exact = packed_lstm(lstm, inputs, sentences)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = packed_lstm(lstm, inputs, sentences)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=0, atol=0.02)
    lstm.zero_grad()
    exact.square().sum().backward()
    wanted = [weight.grad.clone() for weight in lstm.parameters() if weight.grad is not None]
    lstm.zero_grad()
    rounded.float().square().sum().backward()
    for weight, gradient in zip(lstm.parameters(), wanted, strict=True):
        assert weight.grad is not None
        assert float((weight.grad - gradient).norm() / gradient.norm()) < 0.03


def test_no_sentence_at_all_gives_nothing() -> None:
    lstm, sentences = nn.LSTM(3, 4), PackedBatch.of(padded([0, 0], 2), PAD)
    found = packed_lstm(lstm, torch.zeros(0, 3), sentences)
    assert found.shape == (0, 4)
    found.sum().backward()
