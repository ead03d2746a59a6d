"""States move: hypotheses are chosen, memory stays, pictures leave with all of theirs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from showtell.decoders.state import DecoderState


@dataclass(frozen=True)
class Notes(DecoderState):
    OF_HYPOTHESES = ("said",)

    said: Tensor
    seen: Tensor


NOTES = Notes(torch.arange(12).view(2, 3, 2), torch.arange(2).view(2, 1))


def test_hypotheses_are_chosen_and_memory_stays_the_same_tensor() -> None:
    moved = NOTES.reorder(torch.tensor([[2, 2], [0, 1]]))
    assert moved.said.tolist() == [[[4, 5], [4, 5]], [[6, 7], [8, 9]]]
    first = NOTES.first(1)
    assert first.said.tolist() == [[[0, 1]], [[6, 7]]]
    assert moved.seen is NOTES.seen is first.seen


def test_pictures_are_kept_with_their_memory() -> None:
    kept = NOTES.filter(torch.tensor([1]))
    assert kept.said.tolist() == [[[6, 7], [8, 9], [10, 11]]]
    assert kept.seen.tolist() == [[1]]
