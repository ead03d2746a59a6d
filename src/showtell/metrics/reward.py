"""Rewards for training: CIDEr-D and linear BLEU of many samples at once, against the training captions.

CIDEr-D is that of a report, with two differences that reward training needs: document frequencies come from all
training captions whatever is scored, and captions are token ids that end with ``<eos>``, so that how a sentence ends
is rewarded as well (without it models learn to stop after "a").

BLEU is a matter of a whole corpus, and the BLEU-4 of most single captions is nothing. What one caption adds to the
logarithm of the corpus's BLEU is, to first order, a sum over its words and its right n-grams (Tromble et al. 2008,
"Lattice Minimum Bayes-Risk Decoding for Statistical Machine Translation", equation 3). The reward is that, less what
the caption is shorter than its nearest reference.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from showtell.metrics.bleu import Bleu
from showtell.metrics.cider import CiderD
from showtell.metrics.ngrams import ORDERS, Captions, Floats, Integers, NgramIndex, NgramTable

# Precision of single words, and the ratio of the precision of each order to that of the order below, of a captioner
# on Flickr8k's development photographs (precisions 0.60, 0.29, 0.13, 0.064).
_PRECISION, _RATIO = 0.6, 0.475
_USUAL_LENGTH = 10.0


class Rewards:
    """A weighted sum of CIDEr-D (0..10) and linear BLEU (about -1 where nothing is right, 0 for usual captions).

    Args:
        references: Token ids of the captions of every training picture, ``<eos>`` included.
        cider: Weight of CIDEr-D.
        bleu: Weight of linear BLEU.
    """

    def __init__(
        self, references: Sequence[Sequence[Sequence[int]]], *, cider: float = 1.0, bleu: float = 0.0
    ) -> None:
        per_image = np.array([len(captions) for captions in references], np.int64)
        captions = Captions.of([caption for captions in references for caption in captions])
        self._index = NgramIndex(captions, per_image)
        self._cider = (cider, CiderD(self._index)) if cider else None
        self._bleu = (bleu, Bleu(self._index)) if bleu else None

    def __call__(self, samples: Sequence[Sequence[int]], images: Integers) -> Floats:
        """Return the reward of each sample, float64 [N].

        Args:
            samples: Token ids, ``<eos>`` included where the sentence ended.
            images: Number of the training picture that each is about, int64 [N].
        """
        table = self._index.count(Captions.of(samples))
        total = np.zeros(len(samples))
        if self._cider:
            total += self._cider[0] * self._cider[1].score_each(table, images)
        if self._bleu:
            total += self._bleu[0] * _linear(self._bleu[1], table, images)
        return total


def _linear(bleu: Bleu, table: NgramTable, images: Integers) -> Floats:
    """Return what each caption adds to the logarithm of the corpus's BLEU-4, times its images. [N]

    The brevity penalty is that of each caption by itself: that of the corpus would let all become short together
    before it says so.
    """
    counts = bleu.count(table, images)
    worth = 1.0 / (ORDERS * _PRECISION * _RATIO ** np.arange(ORDERS))
    brevity = np.minimum(0.0, 1.0 - counts.reference / np.maximum(counts.length, 1))
    gain: Floats = (worth @ counts.correct - counts.length) / _USUAL_LENGTH + brevity
    return gain
