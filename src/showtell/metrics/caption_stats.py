"""How captions read, apart from whether they are right: what repeats, breaks off, is unknown, or is said by all.

Scores reward what references say, and a captioner may win there with sentences nobody would write. These figures see
that. Each is meant to be read beside the same figure of human captions, since people end a sentence on "on" as well
("a crowd looks on"). All work on the Penn Treebank tokens that scores work on.

===============================  ==========================================================================
``a dog runs runs on grass``     repeats: a word right behind itself
``a man and a man on a bike``    repeats: "a man"; two words twice, unless both only join others ("in the")
``a man standing on the``        bad ending
``a <unk> on a bike``            unknown word
===============================  ==========================================================================
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice, pairwise

from showtell.metrics.ptb_tokenizer import TokenVocab

UNKNOWN = "<unk>"
_AT_ONCE = 5_000
Tokens = tuple[str, ...]

# The first line is what ImageCaptioning.pytorch (captioning/models/AttModel.py, bad_endings) does not let a sentence
# end on. The others are of the same kinds: prepositions that want a noun, conjunctions, determiners, "to be". Left
# out is what people end captions on all the time: by, up, down, out, off, over, around, behind, outside, her.
_BAD_ENDINGS = """
a an the in for at of with before after on upon near to is are am
from into onto and or but nor while as that which whose than was were be his its their my your our
"""
_ALSO_JOINING = "by up down out off over around behind between through under her it"
BAD_ENDINGS = frozenset(_BAD_ENDINGS.split())
_JOINING = BAD_ENDINGS.union(_ALSO_JOINING.split())


@dataclass(frozen=True)
class CaptionStats:
    """How the captions of a set of pictures read, one of each.

    Attributes:
        repeated: Share of captions in which a word or phrase repeats.
        bad_ending: Share of captions whose last word wants another.
        unknown: Share of captions with ``<unk>`` or a word that no training caption has; None where none are known.
        words: Mean length in words.
        distinct_words: Different words in all captions together.
        distinct_captions: Share of captions that differ from all before them.
        unseen: Share of captions that no training caption equals word for word; None where none are known.
    """

    repeated: float
    bad_ending: float
    unknown: float | None
    words: float
    distinct_words: float
    distinct_captions: float
    unseen: float | None

    def cells(self) -> dict[str, str]:
        """Return each figure as it is shown, by its heading; shares are percentages."""
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
    """What a captioner has read: its words, and whole captions.

    Args:
        captions: Of the training split.
    """

    def __init__(self, captions: Iterable[str]) -> None:
        self.captions = frozenset(_tokens(captions))
        self.words = frozenset(word for caption in self.captions for word in caption) - {UNKNOWN}


def measure(captions: Sequence[str], training: TrainingCaptions | None) -> CaptionStats:
    """Return how captions read.

    Args:
        captions: One of each picture; at least one.
        training: What their author has read; None: nobody knows.
    """
    distinct = Counter(_tokens(captions))

    def share(test: Callable[[Tokens], float]) -> float:
        return sum(count * test(caption) for caption, count in distinct.items()) / len(captions)

    return CaptionStats(
        repeated=share(repeats),
        bad_ending=share(ends_badly),
        unknown=None if training is None else share(lambda one: not training.words.issuperset(one)),
        words=share(len),
        distinct_words=len({word for caption in distinct for word in caption}),
        distinct_captions=len(distinct) / len(captions),
        unseen=None if training is None else share(lambda one: one not in training.captions),
    )


def _tokens(captions: Iterable[str]) -> Iterator[Tokens]:
    """Yield the tokens of each caption; few are held at a time, and each word once."""
    vocab, rest = TokenVocab(), iter(captions)
    while some := list(islice(rest, _AT_ONCE)):
        yield from map(tuple, vocab.detokenize_ids(vocab.tokens(some)))


def repeats(tokens: Sequence[str]) -> bool:
    """Tell whether a word stands right behind itself, or two words come twice that do not both only join others."""
    pairs = Counter(pairwise(tokens))
    return any(
        first == second or (count > 1 and not {first, second} <= _JOINING)
        for (first, second), count in pairs.items()
    )


def ends_badly(tokens: Sequence[str]) -> bool:
    """Tell whether the last word wants another behind it; a caption without words does not end at all."""
    return not tokens or tokens[-1] in BAD_ENDINGS


def shown(name: str, value: float | None) -> str:
    """Return a figure as text: shares as percentages, a count whole."""
    if value is None:
        return "–"
    if name == "distinct_words":
        return f"{value:.0f}"
    return f"{value:.1f}" if name == "words" else f"{100 * value:.1f}"
