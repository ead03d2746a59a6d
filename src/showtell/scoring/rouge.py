"""ROUGE-L with the conventions of coco-caption: beta 1.2, best precision and best recall taken apart.

Lin 2004, section 3.1, as in tylin/coco-caption ``rouge.py``. The longest common subsequence runs on the bits of one
integer per caption (Hyyro 2004, "Bit-parallel LCS-length computation revisited"): one addition per word.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from showtell.scoring.ngrams import Floats

_BETA_SQUARED = 1.2**2


class RougeL:
    """ROUGE-L against one set of references.

    Args:
        references: Tokens of every reference of every picture. A caption without tokens counts as one empty word, as
            in coco-caption: two empty captions agree.
    """

    names = ("ROUGE-L",)

    def __init__(self, references: Sequence[Sequence[Sequence[str]]]) -> None:
        self._references = [[tuple(tokens) or ("",) for tokens in captions] for captions in references]

    def score(self, candidates: Sequence[Sequence[str]]) -> tuple[dict[str, float], dict[str, Floats]]:
        """Score one candidate per picture.

        Returns:
            The corpus score (0..1), and each picture's, float64 [P]; the former is the mean of the latter.
        """
        pictures = np.array(
            [
                _rouge_l(tuple(candidate) or ("",), references)
                for candidate, references in zip(candidates, self._references, strict=True)
            ]
        )
        return {"ROUGE-L": float(np.mean(pictures))}, {"ROUGE-L": pictures}


def _rouge_l(candidate: tuple[str, ...], references: Sequence[tuple[str, ...]]) -> float:
    places: dict[str, int] = {}
    for place, word in enumerate(candidate):
        places[word] = places.get(word, 0) | 1 << place
    common = [_common_subsequence(places, len(candidate), reference) for reference in references]
    precision = max(common) / len(candidate)
    recall = max(length / len(reference) for length, reference in zip(common, references, strict=True))
    if precision == 0:
        return 0.0
    return (1 + _BETA_SQUARED) * precision * recall / (recall + _BETA_SQUARED * precision)


def _common_subsequence(places: dict[str, int], length: int, other: Sequence[str]) -> int:
    """Return the length of the longest common subsequence of ``other`` and the text whose word places are given."""
    whole = (1 << length) - 1
    open_places = whole
    for word in other:
        matched = open_places & places.get(word, 0)
        if matched:
            open_places = (open_places + matched | open_places - matched) & whole
    return length - open_places.bit_count()
