"""Rewards for training: CIDEr-D and linear BLEU of many samples at once, against the training captions.

CIDEr-D is that of evaluation, with two differences: document frequencies are those of all training captions, and
captions are token ids that end with ``<eos>``, so that the ending is rewarded as well (without it models learn to
stop after "a").

BLEU-4 of most single captions is 0. The contribution of a caption to the logarithm of the corpus's BLEU is, to first
order, a sum over its words and its right n-grams (Tromble et al. 2008, "Lattice Minimum Bayes-Risk Decoding for
Statistical Machine Translation", equation 3). The reward is that sum, with the brevity penalty of the caption.
"""

from collections.abc import Sequence

import numpy as np

from showtell.metrics.bleu import bleu_counts
from showtell.metrics.cider import CiderD
from showtell.metrics.ngrams import ORDERS, Captions, Floats, Integers, NgramIndex

# Precision of single words, and the ratio of the precision of each order to that of the order below, of a captioner
# on Flickr8k's development photographs (precisions 0.60, 0.29, 0.13, 0.064).
_PRECISION, _RATIO = 0.6, 0.475
_USUAL_LENGTH = 10.0


class Rewards:
    """A weighted sum of CIDEr-D (0..10) and linear BLEU (about -1 for a wrong caption, 0 for usual ones).

    The references are token ids of the captions of every training image, ``<eos>`` included.
    """

    def __init__(
        self, references: Sequence[Sequence[Sequence[int]]], *, cider: float = 1.0, bleu: float = 0.0
    ) -> None:
        per_image = np.array([len(captions) for captions in references], np.int64)
        captions = Captions.of([caption for captions in references for caption in captions])
        self._index = NgramIndex(captions, per_image)
        self._weights = cider, bleu
        self._cider = CiderD(self._index) if cider else None

    def __call__(self, samples: Sequence[Sequence[int]], images: Integers) -> Floats:
        """Return the reward of each sample, float64 [N].

        Args:
            samples: Token ids, ``<eos>`` included where the caption ended.
            images: Number of the training image of each, int64 [N].
        """
        table = self._index.count(Captions.of(samples))
        cider, bleu = self._weights
        total = np.zeros(len(samples))
        if self._cider:
            total += cider * self._cider.score_each(table, images)
        if bleu:
            total += bleu * _linear_bleu(bleu_counts(self._index, table, images))
        return total


def _linear_bleu(counts: Integers) -> Floats:
    """Return the contribution of each caption to the logarithm of the corpus's BLEU-4, times the images. [N]

    The brevity penalty is per caption: the corpus's would let all become short together.
    """
    correct, (length, reference) = counts[:ORDERS], counts[-2:]
    gain_of_order = 1.0 / (ORDERS * _PRECISION * _RATIO ** np.arange(ORDERS))
    brevity = np.minimum(0.0, 1.0 - reference / np.maximum(length, 1))
    gain: Floats = (gain_of_order @ correct - length) / _USUAL_LENGTH + brevity
    return gain
