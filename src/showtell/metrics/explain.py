"""Which n-grams of a caption earn and lose what of its scores; the parts add up to the scores.

CIDEr-D is ten times a mean, over orders and references, of the product of two unit vectors of TF-IDF weights, clipped
and multiplied by a Gaussian of the lengths. For unit vectors u (candidate) and v (reference) the sum over n-grams of
u v + (u - v)^2 / 2 is 1. So the 10 points split without a rest into those that n-grams earn; those that they lose as
only one side has them, both have them with other weights, or the candidate has them too often (clipping); those lost
to the length; and those of orders in which a side has no n-gram with a weight.

BLEU has no parts by image, since its precisions are ratios of sums over the corpus. Exact are the counts of each
n-gram, which add up to those of the image and of the corpus; the logarithm of the image's own BLEU, the mean of those
of its precisions plus that of the brevity penalty; and the corpus's score without the image.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from showtell.metrics.bleu import bleu_counts, bleu_factors, bleu_scores
from showtell.metrics.blocks import BLOCK_IMAGES, Block
from showtell.metrics.cider import SIGMA
from showtell.metrics.ngrams import ORDERS, Captions, Integers, NgramIndex
from showtell.metrics.ptb_tokenizer import TokenVocab

MOST = 10.0
"""The highest CIDEr-D."""
Ngram = tuple[int, ...]


@dataclass(frozen=True)
class NgramPart:
    """One n-gram of a candidate or of its references."""

    text: str
    order: int  # 1 to 4
    count: int  # in the candidate
    references: int  # number of them that have it
    images: int  # whose references have it, the document frequency
    correct: int  # of the count, as BLEU clips it
    earned: float  # of CIDEr-D
    lost: float  # of CIDEr-D, beside the length

    @property
    def fate(self) -> str:
        """Whether the n-gram is ``shared``, ``wrong`` (in no reference) or ``missing`` (not in the candidate)."""
        return "missing" if not self.count else "shared" if self.references else "wrong"


@dataclass(frozen=True)
class CiderParts:
    """The 10 points of CIDEr-D: ``score`` is what the n-grams earn; all fields add up to 10."""

    score: float
    wrong: float  # lost by n-grams that no reference has
    missing: float  # lost by n-grams of references that the candidate does not have
    uneven: float  # lost by n-grams of both: not in all references, or with another weight
    length: float  # lost by the difference of lengths
    unweighted: float  # lost in orders without an n-gram, or with none that is in fewer than all images


@dataclass(frozen=True)
class BleuParts:
    """The counts of an image, and the parts of the logarithm of its own BLEU.

    The logarithm of BLEU-n is the mean of the first n of ``log_precision`` plus ``log_brevity``.
    """

    score: float  # BLEU-4 of the image
    correct: list[int]  # n-grams of each order
    total: list[int]
    length: int  # words
    reference_length: int  # words of the nearest reference
    log_precision: list[float]
    log_brevity: float | None  # 0 or less; None, in place of -infinity, without a word
    corpus: float  # BLEU-4 of the corpus
    corpus_without: float  # of all other images; 0 without any


@dataclass(frozen=True)
class Explanation:
    """What a caption's n-grams earn and lose; texts are tokens as they are scored, between spaces."""

    id: str
    candidate: str
    references: list[str]
    cider: CiderParts
    bleu: BleuParts
    ngrams: list[NgramPart]  # the one that matters most to CIDEr-D first


def explain_images(
    ids: Sequence[str],
    places: Integers,
    read: Callable[[slice], Block],
    num_images: int,
    vocab: TokenVocab,
) -> list[Explanation]:
    """Return what n-grams of some images earn and lose.

    ``places`` are the numbers of the images with these ids among all, int64 [ids]; ``read`` returns the tokens of a
    range of them.
    """
    captions = []
    for place in places.tolist():
        references, _, candidates = read(slice(place, place + 1))
        captions.append([*_split(vocab.words(candidates)), *_split(vocab.words(references))])
    needed = {ngram for some in captions for caption in some for ngram in _count(caption)}
    frequency, bleu = _corpus_counts(needed, read, num_images, vocab)
    names = vocab.texts
    explanations = []
    for key, place, some in zip(ids, places.tolist(), captions, strict=True):
        cider, parts = _cider_parts(some[0], some[1:], frequency, num_images, names)
        text, *others = (" ".join(names[word] for word in caption) for caption in some)
        explanations.append(Explanation(key, text, others, cider, _bleu_parts(bleu[:, place], bleu), parts))
    return explanations


def _corpus_counts(
    needed: set[Ngram], read: Callable[[slice], Block], num_images: int, vocab: TokenVocab
) -> tuple[Mapping[Ngram, int], Integers]:
    """Return how many images have each n-gram in their references, and BLEU's counts of all images, [10, P]."""
    frequency: Counter[Ngram] = Counter()
    bleu = []
    # As captions of that one n-gram, of which an index then has the number.
    by_order = [sorted(ngram for ngram in needed if len(ngram) == order) for order in range(1, ORDERS + 1)]
    for start in range(0, num_images, BLOCK_IMAGES):
        references, per_image, candidates = read(slice(start, start + BLOCK_IMAGES))
        index = NgramIndex(vocab.words(references), per_image)
        bleu.append(bleu_counts(index, index.count(vocab.words(candidates)), np.arange(len(per_image))))
        for order, (ngrams, holding) in enumerate(zip(by_order, index.frequencies(), strict=True)):
            entries = index.count(Captions.of(ngrams)).orders[order]
            known = entries.ngram < len(holding)
            for place, images in zip(
                entries.caption[known].tolist(), holding[entries.ngram[known]].tolist(), strict=True
            ):
                frequency[ngrams[place]] += images
    return frequency, np.concatenate(bleu, axis=1)


def _cider_parts(
    candidate: Sequence[int],
    references: Sequence[Sequence[int]],
    frequency: Mapping[Ngram, int],
    num_images: int,
    names: Sequence[str],
) -> tuple[CiderParts, list[NgramPart]]:
    ours, theirs = _count(candidate), [_count(reference) for reference in references]
    most = Counter(ours)
    for counts in theirs:
        most |= counts
    rarity = {ngram: math.log(num_images) - math.log(max(frequency.get(ngram, 0), 1)) for ngram in most}
    earned: dict[Ngram, float] = defaultdict(float)
    lost: dict[Ngram, float] = defaultdict(float)
    length_lost = unweighted = 0.0
    norms = _norms(ours, rarity)
    for reference, counts in zip(references, theirs, strict=True):
        delta = max(len(candidate) - 1, 0) - max(len(reference) - 1, 0)
        kept = math.exp(-(delta**2) / (2 * SIGMA**2))
        other_norms = _norms(counts, rarity)
        for order in range(ORDERS):
            unweighted += 1 - ((norms[order] > 0) + (other_norms[order] > 0)) / 2
        for ngram in ours.keys() | counts.keys():
            norm, other_norm = norms[len(ngram) - 1], other_norms[len(ngram) - 1]
            mine = ours[ngram] * rarity[ngram] / norm if norm else 0.0
            other = counts[ngram] * rarity[ngram] / other_norm if other_norm else 0.0
            clipped = min(ours[ngram], counts[ngram]) * rarity[ngram] / norm if norm else 0.0
            earned[ngram] += clipped * other * kept
            length_lost += clipped * other * (1 - kept)
            lost[ngram] += (mine - other) ** 2 / 2 + (mine - clipped) * other
    scale = MOST / (ORDERS * len(references))
    parts = [
        NgramPart(
            text=" ".join(names[word] for word in ngram),
            order=len(ngram),
            count=ours[ngram],
            references=sum(ngram in counts for counts in theirs),
            images=frequency.get(ngram, 0),
            correct=min(ours[ngram], max(counts[ngram] for counts in theirs)),
            earned=scale * earned[ngram],
            lost=scale * lost[ngram],
        )
        for ngram in sorted(most, key=lambda ngram: (-earned[ngram] - lost[ngram], len(ngram), ngram))
    ]
    losses = {
        fate: math.fsum(part.lost for part in parts if part.fate == fate)
        for fate in ("wrong", "missing", "shared")
    }
    return (
        CiderParts(
            score=math.fsum(part.earned for part in parts),
            wrong=losses["wrong"],
            missing=losses["missing"],
            uneven=losses["shared"],
            length=scale * length_lost,
            unweighted=scale * unweighted,
        ),
        parts,
    )


def _bleu_parts(counts: Integers, corpus: Integers) -> BleuParts:
    """Return the parts of an image's BLEU, given its counts, [10], and those of all images, [10, P]."""
    total = corpus.sum(axis=1)
    each = np.stack([counts, total, total - counts], axis=1)
    precision, penalty = bleu_factors(each[:, :1])
    score, whole, without = bleu_scores(each)[-1].tolist()
    *ngrams, length, reference_length = counts.tolist()
    return BleuParts(
        score=score,
        correct=ngrams[:ORDERS],
        total=ngrams[ORDERS:],
        length=length,
        reference_length=reference_length,
        log_precision=np.log(precision[:, 0]).tolist(),
        log_brevity=math.log(penalty[0]) if penalty[0] else None,
        corpus=whole,
        corpus_without=without if corpus.shape[1] > 1 else 0.0,
    )


def _norms(counts: Mapping[Ngram, int], rarity: Mapping[Ngram, float]) -> list[float]:
    """Return the Euclidean norm of the weights of each order."""
    squares = [0.0] * ORDERS
    for ngram, count in counts.items():
        squares[len(ngram) - 1] += (count * rarity[ngram]) ** 2
    return [math.sqrt(square) for square in squares]


def _count(words: Sequence[int]) -> Counter[Ngram]:
    """Return the n-grams of a caption, orders 1 to 4."""
    return Counter(
        tuple(words[place : place + order])
        for order in range(1, ORDERS + 1)
        for place in range(len(words) - order + 1)
    )


def _split(captions: Captions) -> Iterator[list[int]]:
    ends = np.cumsum(captions.lengths)
    for end, length in zip(ends.tolist(), captions.lengths.tolist(), strict=True):
        yield captions.words[end - length : end].tolist()
