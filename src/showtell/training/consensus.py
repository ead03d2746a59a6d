"""How much a human caption says what the others say: its weight among the captions of its picture.

Weighting the cross-entropy so is the first step of consensus-based training (Phan et al. 2017, "Consensus-based
Sequence Training for Video Captioning", section 3.2): human captions are taken for samples, and their CIDEr-D for
their reward.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from showtell.data.batches import Batch, Batches
from showtell.generation import SpecialTokens
from showtell.training.self_critical import make_reward, reward_sequences

PERFECT = 10.0
"""CIDEr-D of a caption against itself."""

Weigh = Callable[[Batch], Tensor]


def build_consensus(batches: Batches, share: float) -> Weigh:
    """Return what weighs the captions of a batch: float32 [P, K], of mean 1 over the captions of each picture.

    Args:
        batches: Whose captions judge one another.
        share: Of a weight that is consensus, 0 to 1; the rest is the same for all.
    """
    reward = make_reward(batches, cider=1.0, bleu=0.0)
    counts = np.array([len(group) for group in batches.references(mirrored=False)])
    specials = SpecialTokens.of(batches.tokenizer)

    def weigh(batch: Batch) -> Tensor:
        scores = reward_sequences(reward, batch, batch.tokens, specials)
        # A caption is one of its own references: what it owes to itself is taken off.
        references = counts[np.searchsorted(batches.rows, batch.rows)][:, None]
        others = np.maximum(references * scores - PERFECT, 0.0)  # [P, K], to a factor
        real = (batch.tokens[:, :, 0] != specials.pad).cpu().numpy()
        mean = (others * real).sum(axis=1, keepdims=True) / np.maximum(real.sum(axis=1, keepdims=True), 1)
        agreed = mean > 0.0
        relative = np.where(agreed, others / np.where(agreed, mean, 1.0), 1.0)
        return torch.from_numpy((1.0 - share + share * relative).astype(np.float32))

    return weigh
