"""Rewards for training: CIDEr-D and BLEU-4 of many samples at once, against the training captions.

The same code as the scores of a report, with two differences that reward training needs: document frequencies come
from all training captions whatever is scored, and captions are token ids that end with ``<eos>``, so that how a
sentence ends is rewarded as well (Rennie et al. 2017, section 4; without it models learn to stop after "a").
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from showtell.scoring.bleu import Bleu
from showtell.scoring.cider import CiderD
from showtell.scoring.ngrams import Floats, Integers, NgramIndex


class Rewards:
    """A weighted sum of CIDEr-D (0..10) and BLEU-4 (0..1).

    Args:
        references: Token ids of the captions of every training picture, ``<eos>`` included.
        cider: Weight of CIDEr-D.
        bleu: Weight of BLEU-4.
    """

    def __init__(
        self, references: Sequence[Sequence[Sequence[int]]], *, cider: float = 1.0, bleu: float = 0.0
    ) -> None:
        self._index = NgramIndex(references)
        self._cider = (cider, CiderD(self._index)) if cider else None
        self._bleu = (bleu, Bleu(self._index)) if bleu else None

    def __call__(self, samples: Sequence[Sequence[int]], pictures: Integers) -> Floats:
        """Return the reward of each sample, float64 [N].

        Args:
            samples: Token ids, ``<eos>`` included where the sentence ended.
            pictures: Number of the training picture that each is about, int64 [N].
        """
        table = self._index.count(samples)
        total = np.zeros(len(samples))
        if self._cider:
            total += self._cider[0] * self._cider[1].score_each(table, pictures)
        if self._bleu:
            total += self._bleu[0] * self._bleu[1].score_each(table, pictures)[3]
        return total
