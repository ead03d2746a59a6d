"""ROUGE-L with the conventions of coco-caption: beta 1.2, best precision and recall over the references.

Lin 2004, section 3.1, as in tylin/coco-caption ``rouge.py``. The longest common subsequence runs on the bits of one
integer per caption (Hyyro 2004, "Bit-parallel LCS-length computation revisited"): one addition per word, for
thousands of pairs of captions at once.
"""

import numpy as np
import numpy.typing as npt

from showtell.metrics.ngrams import Captions, Floats, Integers, ragged_arange

_BETA_SQUARED = 1.2**2
_BITS = 64
_PAIRS_AT_ONCE = 2_048


def rouge_l(candidates: Captions, references: Captions, per_image: Integers) -> Floats:
    """Return the score of each image's candidate, float64 [P], 0..1; the score of a corpus is their mean.

    The references come image by image; ``per_image`` int64 [P] counts them, at least one each. A caption without
    tokens counts as one empty word, as in coco-caption: two empty captions agree.
    """
    candidates, references = _never_empty(candidates), _never_empty(references)
    image = np.repeat(np.arange(len(candidates)), per_image)
    common = _common_subsequences(candidates, references, image)
    first = np.cumsum(per_image) - per_image
    precision = np.maximum.reduceat(common, first) / candidates.lengths
    recall = np.maximum.reduceat(common / references.lengths, first)
    both = np.where(precision == 0, 1.0, recall + _BETA_SQUARED * precision)
    scores: Floats = (1 + _BETA_SQUARED) * precision * recall / both
    return scores


def _never_empty(captions: Captions) -> Captions:
    """Put the empty word, 0, where a caption has none."""
    empty = np.flatnonzero(captions.lengths == 0)
    ends = np.cumsum(captions.lengths)
    return Captions(np.insert(captions.words, ends[empty], 0), np.maximum(captions.lengths, 1))


def _common_subsequences(candidates: Captions, references: Captions, image: Integers) -> Integers:
    """Return the length of the longest common subsequence of each reference and its image's candidate. [pairs]"""
    lengths = candidates.lengths[image]
    first, other_first = _starts(candidates)[image], _starts(references)
    common = np.empty(len(image), np.int64)
    # Pairs of about the same length go together, so that they need little padding.
    order = np.argsort(np.maximum(lengths, references.lengths), kind="stable")
    short = order[lengths[order] <= _BITS]
    for begin in range(0, len(short), _PAIRS_AT_ONCE):
        pairs = short[begin : begin + _PAIRS_AT_ONCE]
        ours = _padded(candidates.words, first[pairs], lengths[pairs], -1)
        theirs = _padded(references.words, other_first[pairs], references.lengths[pairs], -2)
        common[pairs] = _common_bits(ours, theirs, lengths[pairs])
    for pair in np.flatnonzero(lengths > _BITS).tolist():
        candidate = candidates.words[first[pair] :][: lengths[pair]]
        reference = references.words[other_first[pair] :][: references.lengths[pair]]
        common[pair] = _common_long(candidate.tolist(), reference.tolist())
    return common


def _starts(captions: Captions) -> Integers:
    return np.cumsum(captions.lengths) - captions.lengths


def _padded(words: Integers, first: Integers, lengths: Integers, pad: int) -> npt.NDArray[np.int32]:
    """Return captions as rows of one width, int32 [N, width]."""
    rows = np.full((len(lengths), int(lengths.max(initial=0))), pad, np.int32)
    within = ragged_arange(lengths)
    rows[np.repeat(np.arange(len(lengths)), lengths), within] = words[np.repeat(first, lengths) + within]
    return rows


def _common_bits(ours: npt.NDArray[np.int32], theirs: npt.NDArray[np.int32], lengths: Integers) -> Integers:
    """Return the length of the longest common subsequence of each row of two arrays, the first at most 64 wide."""
    same = np.packbits(theirs.T[:, :, None] == ours[None], axis=2, bitorder="little")
    positions = np.zeros((*same.shape[:2], _BITS // 8), np.uint8)
    positions[:, :, : same.shape[2]] = same
    whole = ~np.uint64(0) >> (_BITS - lengths).astype(np.uint64)
    unmatched = whole
    for word in positions.view(np.dtype("<u8"))[:, :, 0]:
        matched = unmatched & word
        unmatched = (unmatched + matched | unmatched - matched) & whole
    left = np.unpackbits(unmatched.astype("<u8")[:, None].view(np.uint8), axis=1)
    common: Integers = lengths - left.sum(axis=1, dtype=np.int64)
    return common


def _common_long(ours: list[int], theirs: list[int]) -> int:
    """Return the same for one pair of any length."""
    positions: dict[int, int] = {}
    for position, word in enumerate(ours):
        positions[word] = positions.get(word, 0) | 1 << position
    unmatched = whole = (1 << len(ours)) - 1
    for word in theirs:
        matched = unmatched & positions.get(word, 0)
        unmatched = (unmatched + matched | unmatched - matched) & whole
    return len(ours) - unmatched.bit_count()
