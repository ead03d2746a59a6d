"""Fluency and diversity of captions: repetitions, bad endings, unknown words, distinct and unseen captions.

Scores reward agreement with references, even of sentences that nobody would write. Compare each figure with that of
human captions, which end on "on" as well ("a crowd watches on"). The tokens are those of the scores.

===============================  ==========================================================================
``a dog runs runs on grass``     repeats: a word follows itself
``a man and a man on a bike``    repeats: "a man"; two words twice, unless both only join others ("in the")
``a man standing on the``        bad ending
``a <unk> on a bike``            unknown word
===============================  ==========================================================================
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice, pairwise

from showtell.metrics.ptb_tokenizer import TokenVocab
from showtell.metrics.score_tokenizers import load_tokenizer
from showtell.text.bad_endings import BAD_ENDINGS, JOINING

UNKNOWN = "<unk>"
_CAPTIONS_AT_ONCE = 5_000
Tokens = tuple[str, ...]


@dataclass(frozen=True)
class CaptionStats:
    """Statistics of the captions of a set, one for each image; all are fractions but the numbers of words."""

    repeated: float  # a word or phrase repeats
    bad_ending: float  # the last word needs another
    unknown: float | None  # <unk>, or a word of no training caption; None without training captions
    words: float  # mean length in words
    distinct_words: float  # in all captions together
    distinct_captions: float  # different from all before
    unseen: float | None  # no training caption is equal word for word; None without training captions

    def cells(self) -> dict[str, str]:
        """Return each figure as text by its heading; shares are percentages."""
        return {TITLES[name]: shown(name, value) for name, value in asdict(self).items()}


TITLES = {
    "repeated": "repeats %",
    "bad_ending": "bad endings %",
    "unknown": "unknown words %",
    "words": "words",
    "distinct_words": "distinct words",
    "distinct_captions": "distinct captions %",
    "unseen": "unseen %",
}


class TrainingCaptions:
    """The words and the captions that a captioner was trained on."""

    def __init__(self, captions: Iterable[str], tokenizer: str = "ptb") -> None:
        self.captions = frozenset(_tokens(captions, tokenizer))
        self.words = frozenset(word for caption in self.captions for word in caption) - {UNKNOWN}


def measure(
    captions: Sequence[str], training: TrainingCaptions | None, tokenizer: str = "ptb"
) -> CaptionStats:
    """Return the statistics of captions, one of each image; ``training`` is what their author was trained on."""
    distinct = Counter(_tokens(captions, tokenizer))

    def mean(test: Callable[[Tokens], float]) -> float:
        return sum(count * test(caption) for caption, count in distinct.items()) / len(captions)

    return CaptionStats(
        repeated=mean(repeats),
        bad_ending=mean(ends_badly),
        unknown=None if training is None else mean(lambda caption: not training.words.issuperset(caption)),
        words=mean(len),
        distinct_words=len({word for caption in distinct for word in caption}),
        distinct_captions=len(distinct) / len(captions),
        unseen=None if training is None else mean(lambda caption: caption not in training.captions),
    )


def _tokens(captions: Iterable[str], tokenizer: str) -> Iterator[Tokens]:
    """Yield the tokens of each caption; few are in memory at a time."""
    vocab, rest = TokenVocab(load_tokenizer(tokenizer)[0]), iter(captions)
    while some := list(islice(rest, _CAPTIONS_AT_ONCE)):
        yield from map(tuple, vocab.detokenize_ids(vocab.tokens(some)))


def repeats(tokens: Sequence[str]) -> bool:
    """Return whether a word follows itself, or a pair of words that are not both joining words comes twice."""
    pairs = Counter(pairwise(tokens))
    return any(
        first == second or (count > 1 and not {first, second} <= JOINING)
        for (first, second), count in pairs.items()
    )


def ends_badly(tokens: Sequence[str]) -> bool:
    """Return whether the last word needs another, or there is none."""
    return not tokens or tokens[-1] in BAD_ENDINGS


def shown(name: str, value: float | None) -> str:
    """Return a figure as text: shares as percentages, counts as whole numbers."""
    if value is None:
        return "–"
    if name == "distinct_words":
        return f"{value:.0f}"
    return f"{value:.1f}" if name == "words" else f"{100 * value:.1f}"
