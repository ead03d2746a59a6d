"""Score candidates against references: the entry to all caption metrics."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TypeVar

import numpy as np
import pyarrow as pa

from showtell.errors import ConfigError, ScoreError, did_you_mean
from showtell.metrics.bleu import NAMES as BLEU
from showtell.metrics.blocks import MEAN_SCORES, Block, SegmentStats, score_blocks, summarize
from showtell.metrics.bootstrap import ScoreDelta, paired_bootstrap
from showtell.metrics.caption_table import CaptionTable, decode_ids, encode_ids
from showtell.metrics.explain import Explanation, explain_images
from showtell.metrics.matching import (
    MatchedCandidates,
    Rows,
    check_same_images,
    match_candidates,
    shorten_list,
)
from showtell.metrics.meteor import NAME as METEOR
from showtell.metrics.meteor import VERSION as METEOR_VERSION
from showtell.metrics.meteor import MeteorScorer, meteor_scores
from showtell.metrics.ngrams import Floats, Integers
from showtell.metrics.ptb_tokenizer import TokenVocab
from showtell.metrics.score_tokenizers import load_tokenizer, note_unspaced
from showtell.system.console import text_table
from showtell.version import __version__

METRICS = ("bleu", "rouge", "cider")
_ORDER = (*BLEU, METEOR, *MEAN_SCORES.values())
_SIGNED = {"bleu": "bleu4", "meteor": METEOR_VERSION, "rouge": "rouge-l", "cider": "cider-d"}
_CLOSE_IDS = 10_000
_T = TypeVar("_T")
Candidates = Mapping[str, str] | Rows | MatchedCandidates


class ImageScores(Mapping[str, Mapping[str, float]]):
    """Scores of each image by its id, kept as columns, float64 [P], by metric; ``ids`` are UTF-8 [P]."""

    def __init__(self, ids: pa.Array, columns: Mapping[str, Floats]) -> None:
        self._ids, self._columns = ids, columns

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self._row_of_id)

    def __getitem__(self, key: str) -> dict[str, float]:
        row = self._row_of_id[key]
        return {name: float(column[row]) for name, column in self._columns.items()}

    @cached_property
    def _row_of_id(self) -> dict[str, int]:
        return {key: row for row, key in enumerate(decode_ids(self._ids))}


@dataclass(frozen=True)
class Scores:
    """Scores on the scale of coco-caption's code: CIDEr-D from 0 to 10, all others from 0 to 1.

    ``values`` are those of the corpus by metric ("BLEU-1" to "BLEU-4", "METEOR" if requested, "ROUGE-L", "CIDEr-D"),
    ``per_image`` those of each image by its id. BLEU and METEOR of a corpus are not the mean over images.
    """

    values: dict[str, float]
    per_image: Mapping[str, Mapping[str, float]]
    signature: str  # everything that the scores depend on, in one line
    num_images: int
    references: tuple[int, int]  # fewest and most of an image
    empty_candidates: int  # without a token; they are scored like all others
    notes: list[str]  # remarks for the reader of the scores
    tokenizer: str = "ptb"  # name of the tokenizer, as in `Scorer`

    def table(self) -> str:
        """Return the corpus scores times 100 as two aligned lines, and the signature below."""
        table = text_table([list(self.values), [f"{value * 100:.2f}" for value in self.values.values()]])
        return f"{table}\n{self.signature}"


class Scorer:
    """Tokenized references, to score any number of candidate sets against them.

    Args:
        references: Captions of each image by its id, at least one each; or rows of an id and captions in any order.
        metrics: Of "bleu", "rouge", "cider".
        meteor: Computes METEOR as well.
        tokenizer: "ptb", "intl", "zh", "ja", "char" or "none", see `showtell.metrics.score_tokenizers`.

    Raises:
        ScoreError: no image, or images without a reference (all listed).
        ConfigError: an unknown metric or tokenizer, or METEOR with another tokenizer than "ptb".
        MissingExtraError: the tokenizer needs the extra ``languages``.
    """

    def __init__(
        self,
        references: Mapping[str, Sequence[str]] | Rows,
        *,
        metrics: Sequence[str] = METRICS,
        meteor: MeteorScorer | None = None,
        tokenizer: str = "ptb",
    ) -> None:
        for metric in metrics:
            if metric not in METRICS:
                raise ConfigError(f"unknown metric '{metric}'", mend=did_you_mean(metric, METRICS))
        self._metrics = [metric for metric in METRICS if metric in metrics]
        if meteor is not None and tokenizer != "ptb":
            raise ConfigError(
                f"METEOR cannot be computed with the tokenizer {tokenizer}",
                expected="the tokenizer ptb: its synonyms and paraphrases are English",
                mend="Omit --meteor, or choose --tokenizer ptb",
            )
        tokenize, self._tokenizer_version = load_tokenizer(tokenizer)
        self.tokenizer, self._meteor, self._vocab = tokenizer, meteor, TokenVocab(tokenize)
        rows = references.items() if isinstance(references, Mapping) else references
        self._table = CaptionTable(
            ((key, [] if isinstance(captions, str) else captions) for key, captions in rows), self._vocab
        )
        if not len(self._table):
            raise ScoreError("nothing to score", found="no references", mend="Check the file or the split")
        without = self._table.names(np.flatnonzero(self._table.per_image == 0))
        if without:
            raise ScoreError(
                "an image needs a list of references",
                found=f"{len(without)} without ({shorten_list(without)})",
                expected="at least one caption for each image",
                mend="Leave these images out, or give them captions",
            )
        self.signature = self._sign(self._table.per_image)

    def match(self, candidates: Candidates, *, subset: bool = False) -> MatchedCandidates:
        """Tokenize candidates once, for several of the other methods; arguments and errors are those of `score`."""
        if isinstance(candidates, MatchedCandidates):
            return candidates
        return match_candidates(candidates, self._table, self._vocab, subset=subset)

    def score(self, candidates: Candidates, *, subset: bool = False) -> Scores:
        """Score one caption per image.

        Args:
            candidates: The caption of each image by its id; rows of an id and captions in any order; or those of
                `match`.
            subset: Score only the images that have a candidate; the signature names both numbers.

        Raises:
            ScoreError: an image without a candidate, with several, or a candidate for an image without references,
                all listed; or METEOR's program does not work.
        """
        matched = self.match(candidates, subset=subset)
        meteor = {"meteor": self._meteor_counts(matched)} if self._meteor else {}
        return self._summarize(matched, meteor, self._score(matched))

    def segment_stats(self, candidates: Candidates) -> SegmentStats:
        """Return what the scores of a corpus are computed from, image by image in the references' order.

        Raises:
            ScoreError: as `score`.
        """
        matched = self.match(candidates)
        blocks = list(self._score(matched))
        stats = {name: np.concatenate([block[name] for block in blocks], axis=-1) for name in blocks[0]}
        return stats | {"meteor": self._meteor_counts(matched)} if self._meteor else stats

    def compare(
        self, ours: Candidates, theirs: Candidates, *, subset: bool = False
    ) -> tuple[Scores, Scores, dict[str, ScoreDelta]]:
        """Score two sets of candidates, and return how ours differs from theirs by metric (`paired_bootstrap`).

        Raises:
            ScoreError: as `score`, or the two have captions of different images.
        """
        both = self.match(ours, subset=subset), self.match(theirs, subset=subset)
        check_same_images(*both, self._table)
        stats = [self.segment_stats(one) for one in both]
        scores = [self._summarize(*pair) for pair in zip(both, stats, strict=True)]
        return scores[0], scores[1], paired_bootstrap(*([one] for one in stats))

    def explain(self, candidates: Candidates, ids: Sequence[str]) -> list[Explanation]:
        """Return for some images which n-grams earn and lose what of CIDEr-D and BLEU, see `Explanation`.

        Raises:
            ScoreError: as `score`, or an id is not among those with a candidate.
        """
        matched = self.match(candidates)
        wanted = self._table.find(encode_ids(ids))
        place = np.minimum(np.searchsorted(matched.images, wanted), len(matched.images) - 1)
        unknown = [key for key, found in zip(ids, matched.images[place] == wanted, strict=True) if not found]
        if unknown:
            some = self._table.names(matched.images[:_CLOSE_IDS])
            raise ScoreError(
                f"image {unknown[0]!r} cannot be explained",
                found=f"no such id among the {len(matched.images):,} images that are scored",
                mend=did_you_mean(unknown[0], some, most=3),
            )
        return explain_images(ids, place, self._reader(matched), len(matched.images), self._vocab)

    def _summarize(
        self, matched: MatchedCandidates, stats: SegmentStats, blocks: Iterable[SegmentStats] | None = None
    ) -> Scores:
        """Return the scores of statistics; those beside METEOR's may come in blocks."""
        values, columns = summarize(blocks or [stats])
        images, per_image = matched.images, self._table.per_image[matched.images]
        if "meteor" in stats:
            counts = stats["meteor"]
            values[METEOR] = float(meteor_scores(counts.sum(axis=1, keepdims=True))[0])
            columns[METEOR] = meteor_scores(counts)
        empty = int(np.sum(matched.table.lengths(matched.rows) == 0))
        notes = []
        if "cider" in self._metrics and len(images) == 1:
            notes.append("CIDEr-D of a single image is 0 by definition: every n-gram occurs in every image")
        if empty:
            notes.append(f"{empty} of {len(images)} candidates are empty; they count, and score 0")
        if unspaced := note_unspaced(self.tokenizer, self._vocab.texts):
            notes.append(unspaced)
        return Scores(
            values=_sort_metrics(values),
            per_image=ImageScores(self._table.ids_of(images), _sort_metrics(columns)),
            signature=self._sign(per_image),
            num_images=len(images),
            references=(int(per_image.min()), int(per_image.max())),
            empty_candidates=empty,
            notes=notes,
            tokenizer=self.tokenizer,
        )

    def _score(self, matched: MatchedCandidates) -> Iterator[SegmentStats]:
        read, number = self._reader(matched), len(matched.images)
        return score_blocks(read, number, vocab=self._vocab, metrics=self._metrics)

    def _reader(self, matched: MatchedCandidates) -> Callable[[slice], Block]:
        def read(rows: slice) -> Block:
            some = matched.images[rows]
            return (
                self._table.read(some),
                self._table.per_image[some],
                matched.table.read(matched.rows[rows]),
            )

        return read

    def _meteor_counts(self, matched: MatchedCandidates) -> Floats:
        assert self._meteor is not None
        flat = iter(self._vocab.detokenize_ids(self._table.read(matched.images)))
        per_image = self._table.per_image[matched.images].tolist()
        tokens = self._vocab.detokenize_ids(matched.table.read(matched.rows))
        return self._meteor.counts([list(islice(flat, count)) for count in per_image], tokens)

    def _sign(self, per_image: Integers) -> str:
        """Return the signature of scores of images with these numbers of references.

        showtell:0.2.0|tok:ptb-3.4.1|refs:5|images:1000|metrics:bleu4+rouge-l+cider-d|df:evaluated
        """
        fewest, most, total = per_image.min(), per_image.max(), len(self._table)
        signed = list(self._metrics)
        if self._meteor:  # behind BLEU, as in coco-caption
            signed.insert(int("bleu" in signed), "meteor")
        parts = [
            f"showtell:{__version__}",
            f"tok:{self._tokenizer_version}",
            f"refs:{fewest}" if fewest == most else f"refs:{fewest}-{most}",
            f"images:{total}" if len(per_image) == total else f"images:{len(per_image)}-of-{total}",
            "metrics:" + "+".join(_SIGNED[metric] for metric in signed),
        ]
        return "|".join([*parts, "df:evaluated"] if "cider" in self._metrics else parts)


def evaluate(
    references: Mapping[str, Sequence[str]],
    candidates: Mapping[str, str],
    *,
    metrics: Sequence[str] = METRICS,
    tokenizer: str = "ptb",
) -> Scores:
    """Score one candidate per image against its references.

    Raises:
        ScoreError: the two do not hold the same images, or an image has no reference.
        ConfigError: an unknown metric or tokenizer.
        MissingExtraError: the tokenizer needs the extra ``languages``.
    """
    return Scorer(references, metrics=metrics, tokenizer=tokenizer).score(candidates)


def _sort_metrics(metrics: Mapping[str, _T]) -> dict[str, _T]:
    """Return the values of metrics in coco-caption's order."""
    return {name: metrics[name] for name in _ORDER if name in metrics}
