"""Captions weigh what the picture's other captions agree with; on average a caption weighs what it did."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from showtell.data.batches import Batch
from showtell.encoders.features import Features
from showtell.metrics.reward import Rewards
from showtell.training.consensus import build_consensus

PAD, BOS, EOS = 0, 1, 2
DOG, ODD = [4, 5, 6, 7, 8, EOS], [9, 10, 11, 12, EOS]
SETS = [
    [DOG, [4, 5, 6, 7, 13, EOS], ODD],
    [[14, 15, 16, 17, EOS], [18, 19, 20, 21, EOS]],
    [[22, 23, 24, 25, EOS]],
]
ROWS = np.array([3, 5, 9])


def make_batches() -> Any:
    return SimpleNamespace(
        rows=ROWS,
        tokenizer=SimpleNamespace(pad_id=PAD, bos_id=BOS, eos_id=EOS, unk_id=3),
        options=SimpleNamespace(flip=False),
        references=lambda *, mirrored: iter(SETS),
    )


def make_batch(rows: Sequence[int], lines: Sequence[Sequence[Sequence[int]]], hypotheses: int = 3) -> Batch:
    tokens = torch.full((len(rows), hypotheses, 8), PAD)
    for place, group in enumerate(lines):
        for number, ids in enumerate(group):
            tokens[place, number, : len(ids) + 1] = torch.tensor([BOS, *ids])
    nothing = torch.zeros(len(rows), 1, 1)
    features = Features(nothing, nothing[:, 0], torch.ones(len(rows), 1, dtype=torch.bool))
    return Batch(np.array(rows), np.zeros(len(rows), bool), features, tokens)


def test_what_others_say_too_weighs_more_and_a_picture_weighs_what_it_did() -> None:
    weights = build_consensus(make_batches(), 1.0)(make_batch([3], [SETS[0]]))
    assert weights.shape == (1, 3)
    assert weights[0, 0] > 1.0 > weights[0, 2]
    assert weights.mean().item() == pytest.approx(1.0)


def test_a_weight_is_the_score_against_the_other_captions_alone() -> None:
    weights = build_consensus(make_batches(), 1.0)(make_batch([3], [SETS[0]]))
    # The index of the whole set, so that document frequencies are the same; a fourth picture holds the others alone.
    scores = []
    for number, caption in enumerate(SETS[0]):
        others = [one for place, one in enumerate(SETS[0]) if place != number]
        pairs = [Rewards([[one, one], *SETS[1:]])([caption], np.array([0]))[0] for one in others]
        scores.append(sum(pairs))
    assert weights[0, 2].item() == pytest.approx(0.0, abs=1e-6) == pytest.approx(scores[2])
    assert weights[0, 0].item() == pytest.approx(weights[0, 1].item())
    assert scores[0] == pytest.approx(scores[1])


def test_where_nobody_agrees_or_there_is_one_caption_all_weigh_the_same() -> None:
    weights = build_consensus(make_batches(), 0.7)(make_batch([5, 9], [SETS[1], SETS[2]]))
    assert weights[0, :2].tolist() == [1.0, 1.0]
    assert weights[1, 0] == 1.0


def test_half_a_share_is_half_way() -> None:
    batch = make_batch([3, 5], [SETS[0], SETS[1]])
    whole, half = (build_consensus(make_batches(), share)(batch) for share in (1.0, 0.5))
    torch.testing.assert_close(half[0], 0.5 + 0.5 * whole[0])


def test_order_and_company_of_captions_do_not_matter() -> None:
    weigh = build_consensus(make_batches(), 1.0)
    forward = weigh(make_batch([3], [SETS[0]]))
    backward = weigh(make_batch([9, 3], [SETS[2], SETS[0][::-1]]))
    torch.testing.assert_close(forward[0], backward[1].flip(0))
