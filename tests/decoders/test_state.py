"""Decoder states: hypotheses are reordered, shared tensors are not copied, images are filtered with all of theirs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from showtell.decoders.base import DecoderState


@dataclass(frozen=True)
class State(DecoderState):
    PER_HYPOTHESIS = ("hidden",)

    hidden: Tensor
    keys: Tensor


STATE = State(torch.arange(12).view(2, 3, 2), torch.arange(2).view(2, 1))


def test_hypotheses_are_reordered_and_shared_tensors_not_copied() -> None:
    moved = STATE.reorder(torch.tensor([[2, 2], [0, 1]]))
    assert moved.hidden.tolist() == [[[4, 5], [4, 5]], [[6, 7], [8, 9]]]
    assert moved.keys is STATE.keys


def test_images_are_filtered_with_what_their_hypotheses_share() -> None:
    kept = STATE.filter(torch.tensor([1]))
    assert kept.hidden.tolist() == [[[6, 7], [8, 9], [10, 11]]]
    assert kept.keys.tolist() == [[1]]
