"""Score a set of any size, block by block: what grows with the set lies on the disk.

CIDEr-D weighs an n-gram by the number of pictures of the whole set that say it, so there are two passes: the first
counts, the second scores. In between captions are numbers, those of tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from showtell.metrics.bleu import NAMES, Bleu, BleuCounts
from showtell.metrics.cider import CiderD, DocumentFrequency
from showtell.metrics.large.arrays import DiskArray
from showtell.metrics.large.document_frequency import DocumentFrequencies
from showtell.metrics.ngrams import Captions, Floats, Integers, NgramIndex, NgramTable
from showtell.metrics.ptb_tokenizer import TokenVocab
from showtell.metrics.rouge import rouge_l

ROUGE, CIDER = "ROUGE-L", "CIDEr-D"
PICTURES = 2_500
"""Of a block: its n-grams take some 20 MB."""


@dataclass(frozen=True)
class Block:
    """Tokens of some pictures.

    Attributes:
        references: Of every picture, picture by picture.
        per_image: References of each. int64 [P]
        candidates: One for each picture.
    """

    references: Captions
    per_image: Integers
    candidates: Captions


@dataclass(frozen=True)
class BlockScores:
    """What the metrics say of the pictures of a block; None for metrics that were not asked for.

    Attributes:
        bleu: What BLEU is made of.
        rouge: ROUGE-L of each picture. float64 [P]
        cider: CIDEr-D of each picture. float64 [P]
    """

    bleu: BleuCounts | None
    rouge: Floats | None
    cider: Floats | None


def bounds(pictures: int) -> list[tuple[int, int]]:
    """Return where each block of so many pictures starts and stops."""
    return [(start, min(start + PICTURES, pictures)) for start in range(0, pictures, PICTURES)]


def score_blocks(
    blocks: Callable[[int], Block],
    count: int,
    *,
    pictures: int,
    lexicon: TokenVocab,
    metrics: Collection[str],
) -> Iterator[BlockScores]:
    """Yield the scores of each block.

    Args:
        blocks: Returns a block by its number; asked twice for each.
        count: How many there are.
        pictures: Of all blocks.
        lexicon: Whose tokens they hold.
        metrics: Which to compute, of "bleu", "rouge", "cider".
    """
    frequencies = None
    # The n-grams of a single block are the set's
    if "cider" in metrics and count > 1:
        frequencies = DocumentFrequencies(len(lexicon.texts), count)
        for number in range(count):
            frequencies.add(*_ngrams(blocks(number), lexicon))
        frequencies.add_up()
    for number in range(count):
        block = blocks(number)
        rouge = rouge_l(block.candidates, block.references, block.per_image) if "rouge" in metrics else None
        bleu = cider = None
        if "bleu" in metrics or "cider" in metrics:
            index, candidates = _ngrams(block, lexicon)
            everyone = np.arange(index.pictures)
            if "bleu" in metrics:
                bleu = Bleu(index).count(candidates, everyone)
            if "cider" in metrics:
                known = DocumentFrequency(pictures, frequencies.of(number)) if frequencies else None
                cider = CiderD(index, known).score_each(candidates, everyone)
        yield BlockScores(bleu, rouge, cider)


def summarize(scores: Iterable[BlockScores]) -> tuple[dict[str, float], dict[str, Floats]]:
    """Return the scores of the corpus, by metric, and those of each picture; the latter stay on the disk.

    Returns:
        By name: a float; float64 [P].
    """
    total: BleuCounts | None = None
    columns: dict[str, DiskArray] = {}
    for block in scores:
        found = {}
        if block.bleu is not None:
            total = block.bleu.total() + total if total else block.bleu.total()
            found = dict(zip(NAMES, block.bleu.scores(), strict=True))
        found |= {ROUGE: block.rouge} if block.rouge is not None else {}
        found |= {CIDER: block.cider} if block.cider is not None else {}
        for name, column in found.items():
            columns.setdefault(name, DiskArray(np.float64)).append(column)
    pictures = {name: column.mapped() for name, column in columns.items()}
    values = {name: float(np.mean(column)) for name, column in pictures.items()}
    if total:
        values |= dict(zip(NAMES, total.scores()[:, 0].tolist(), strict=True))
    return values, pictures


def _ngrams(block: Block, lexicon: TokenVocab) -> tuple[NgramIndex, NgramTable]:
    index = NgramIndex(lexicon.words(block.references), block.per_image)
    return index, index.count(lexicon.words(block.candidates))
