"""One time after another: all that has a word is read, and captions that are over leave the work."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from showtell.decoders.state import DecoderState
from showtell.decoders.unroll import unroll


@dataclass(frozen=True)
class Sum(DecoderState):
    OF_HYPOTHESES = ("total",)

    total: Tensor


def test_every_word_is_read_and_captions_that_are_over_are_not() -> None:
    tokens = torch.tensor(
        [[[1, 2, 3, 0], [4, 5, 0, 0], [6, 0, 0, 0]], [[1, 1, 0, 0], [2, 2, 2, 0], [0, 0, 0, 0]]]
    )
    sizes: list[int] = []

    def advance(inputs: Tensor, state: Sum) -> tuple[Sum, tuple[Tensor, ...]]:
        sizes.append(inputs.shape[1])
        state = replace(state, total=state.total + inputs)
        return state, (state.total, -inputs)

    totals, negatives = unroll(tokens.unsqueeze(3), tokens, 0, Sum(torch.zeros(2, 3, 1)), advance)
    real = tokens != 0
    assert torch.equal(totals.squeeze(3)[real], tokens.cumsum(2)[real].float())
    assert torch.equal(negatives.squeeze(3), -tokens)
    assert sizes == [3, 2, 2, 1]  # the last time has no word, and one caption is read for its shape
