"""LSTMs over sequences of different lengths: the numbers and gradients of torch, without computing on padding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from showtell.kernels.packed_lstm import PackedBatch, packed_lstm, shift_steps

PAD = 0


def padded(lengths: list[int], length: int) -> Tensor:
    """Return ids [1, K, T]: tokens of these lengths, then padding."""
    steps = torch.arange(length)
    return torch.where(steps < torch.tensor(lengths).unsqueeze(1), steps + 1, PAD).unsqueeze(0)


@given(st.lists(st.integers(0, 6), min_size=4, max_size=4), st.integers(6, 8))
def test_every_token_is_packed_once_and_unpacked_to_its_position(lengths: list[int], length: int) -> None:
    tokens = padded(lengths, length).view(2, 2, length)
    batch = PackedBatch.of(tokens, PAD)
    packed = batch.pack(tokens)
    assert len(packed) == sum(batch.batch_sizes) == sum(lengths)
    assert batch.batch_sizes == sorted(batch.batch_sizes, reverse=True)
    assert 0 not in batch.batch_sizes
    assert len(batch.nonempty) == sum(length > 0 for length in lengths)
    assert torch.equal(batch.unpack(packed.unsqueeze(1)).squeeze(3), tokens)


def test_the_image_of_each_token() -> None:
    tokens = torch.tensor([[[1, 1], [1, 0]], [[0, 0], [1, 1]]])
    batch = PackedBatch.of(tokens, PAD)
    images = torch.tensor([0, 1]).view(2, 1, 1).expand(2, 2, 2)
    assert torch.equal(batch.images, batch.pack(images))


def test_a_shift_gives_the_value_of_the_previous_step() -> None:
    tokens = padded([2, 3, 0, 1], 3)
    batch = PackedBatch.of(tokens, PAD)
    shifted = shift_steps(batch.pack(tokens), torch.full((3,), -1), batch.batch_sizes)
    assert batch.unpack(shifted.unsqueeze(1)).squeeze(3).tolist() == [
        [[-1, 1, 0], [-1, 1, 2], [0, 0, 0], [-1, 0, 0]]
    ]


def reference(lstm: nn.LSTM, inputs: Tensor, batch: PackedBatch, state: tuple[Tensor, Tensor]) -> Tensor:
    packed = PackedSequence(inputs, torch.tensor(batch.batch_sizes))
    outputs: Tensor = lstm(packed, tuple(part[:, batch.nonempty] for part in state))[0].data
    return outputs


@pytest.mark.thorough
@pytest.mark.parametrize("layers", [1, 2])
def test_outputs_and_gradients_equal_torchs(layers: int) -> None:
    torch.manual_seed(0)
    lstm = nn.LSTM(3, 4, layers).double()
    batch = PackedBatch.of(padded([2, 5, 0, 5, 1], 6), PAD)
    inputs = torch.randn(13, 3, dtype=torch.float64, requires_grad=True)
    hidden, cell = (torch.randn(layers, 5, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    weights = torch.randn(13, 4, dtype=torch.float64)
    leaves = [inputs, hidden, cell, *lstm.parameters()]
    outputs, expected = (form(lstm, inputs, batch, (hidden, cell)) for form in (packed_lstm, reference))
    torch.testing.assert_close(outputs, expected)
    grads, expected_grads = (
        torch.autograd.grad((out * weights).sum(), leaves) for out in (outputs, expected)
    )
    for grad, expected_grad in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(grad, expected_grad)


def test_sequences_start_from_zeros_without_a_state() -> None:
    torch.manual_seed(0)
    lstm, batch = nn.LSTM(3, 4), PackedBatch.of(padded([2, 3], 3), PAD)
    inputs, zeros = torch.randn(5, 3), torch.zeros(1, 2, 4)
    torch.testing.assert_close(
        packed_lstm(lstm, inputs, batch), reference(lstm, inputs, batch, (zeros, zeros))
    )


def test_bfloat16_stays_near_float32() -> None:
    torch.manual_seed(0)
    lstm, batch = nn.LSTM(8, 16), PackedBatch.of(padded([9, 12, 4], 12), PAD)
    inputs = torch.randn(25, 8)
    exact = packed_lstm(lstm, inputs, batch)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = packed_lstm(lstm, inputs, batch)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=0, atol=0.02)
    lstm.zero_grad()
    exact.square().sum().backward()
    expected = [weight.grad.clone() for weight in lstm.parameters() if weight.grad is not None]
    lstm.zero_grad()
    rounded.float().square().sum().backward()
    for weight, grad in zip(lstm.parameters(), expected, strict=True):
        assert weight.grad is not None
        assert float((weight.grad - grad).norm() / grad.norm()) < 0.03


def test_empty_sequences_give_no_outputs() -> None:
    lstm, batch = nn.LSTM(3, 4), PackedBatch.of(padded([0, 0], 2), PAD)
    outputs = packed_lstm(lstm, torch.zeros(0, 3), batch)
    assert outputs.shape == (0, 4)
    outputs.sum().backward()
