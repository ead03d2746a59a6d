"""Score a set of any size block by block: only a block's n-grams are in memory.

CIDEr-D weighs an n-gram by the number of images of the whole set that hold it, so there are two passes: the first
counts, the second scores.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from showtell.metrics.bleu import NAMES, Bleu, BleuCounts
from showtell.metrics.cider import CiderD, DocumentFrequency
from showtell.metrics.document_frequency import DiskDocumentFrequency
from showtell.metrics.ngrams import Captions, Floats, Integers, NgramIndex, NgramTable
from showtell.metrics.ptb_tokenizer import TokenVocab
from showtell.metrics.rouge import rouge_l

ROUGE, CIDER = "ROUGE-L", "CIDEr-D"
BLOCK_IMAGES = 2_500
"""Images of a block; their n-grams take about 20 MB."""


@dataclass(frozen=True)
class Block:
    """Tokens of some images.

    Attributes:
        references: Image by image.
        per_image: References of each image. int64 [P]
        candidates: One for each image.
    """

    references: Captions
    per_image: Integers
    candidates: Captions


@dataclass(frozen=True)
class BlockScores:
    """Scores of the images of a block; None for metrics that are not computed.

    Attributes:
        bleu: Counts of each image.
        rouge: ROUGE-L of each image. float64 [P]
        cider: CIDEr-D of each image. float64 [P]
    """

    bleu: BleuCounts | None
    rouge: Floats | None
    cider: Floats | None

    def columns(self) -> dict[str, Floats]:
        """Return the scores of each image by metric. float64 [P]"""
        bleu = {} if self.bleu is None else dict(zip(NAMES, self.bleu.scores(), strict=True))
        others = {ROUGE: self.rouge, CIDER: self.cider}
        return bleu | {name: column for name, column in others.items() if column is not None}


def score_blocks(
    read: Callable[[int, int], Block], num_images: int, *, vocab: TokenVocab, metrics: Collection[str]
) -> Iterator[BlockScores]:
    """Yield the scores of each block.

    Args:
        read: Returns the block of the images from a start to a stop; called twice for each.
        num_images: Images of all blocks.
        vocab: Of their tokens.
        metrics: Of "bleu", "rouge", "cider".
    """
    bounds = [(start, min(start + BLOCK_IMAGES, num_images)) for start in range(0, num_images, BLOCK_IMAGES)]
    frequency = None
    # A single block has the n-grams of the set.
    if "cider" in metrics and len(bounds) > 1:
        frequency = DiskDocumentFrequency(len(vocab.texts))
        for start, stop in bounds:
            frequency.add(*_count_ngrams(read(start, stop), vocab))
        frequency.merge()
    for number, (start, stop) in enumerate(bounds):
        block = read(start, stop)
        rouge = rouge_l(block.candidates, block.references, block.per_image) if "rouge" in metrics else None
        bleu = cider = None
        if "bleu" in metrics or "cider" in metrics:
            index, candidates = _count_ngrams(block, vocab)
            images = np.arange(index.num_images)
            if "bleu" in metrics:
                bleu = Bleu(index).count(candidates, images)
            if "cider" in metrics:
                known = DocumentFrequency(num_images, frequency.of_block(number)) if frequency else None
                cider = CiderD(index, known).score_each(candidates, images)
        yield BlockScores(bleu, rouge, cider)


def summarize(scores: Iterable[BlockScores]) -> tuple[dict[str, float], dict[str, Floats]]:
    """Return the scores of the corpus and those of each image, float64 [P], by metric."""
    total: BleuCounts | None = None
    parts: dict[str, list[Floats]] = {}
    for block in scores:
        if block.bleu is not None:
            total = block.bleu.total() + total if total else block.bleu.total()
        for name, column in block.columns().items():
            parts.setdefault(name, []).append(column)
    columns: dict[str, Floats] = {}
    while parts:  # one metric at a time in two copies
        name = next(iter(parts))
        columns[name] = np.concatenate(parts.pop(name))
    values = {name: float(np.mean(column)) for name, column in columns.items()}
    if total:
        values |= dict(zip(NAMES, total.scores()[:, 0].tolist(), strict=True))
    return values, columns


def _count_ngrams(block: Block, vocab: TokenVocab) -> tuple[NgramIndex, NgramTable]:
    index = NgramIndex(vocab.words(block.references), block.per_image)
    return index, index.count(vocab.words(block.candidates))
