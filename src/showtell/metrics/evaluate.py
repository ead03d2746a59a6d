"""Score candidates against references: the entry to all caption metrics."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TypeVar

import numpy as np
import pyarrow as pa

from showtell.errors import ConfigError, ScoreError, did_you_mean
from showtell.metrics.bleu import NAMES as BLEU
from showtell.metrics.blocks import MEAN_SCORES, Block, SegmentStats, score_blocks, summarize
from showtell.metrics.caption_table import CaptionTable, decode_ids
from showtell.metrics.meteor import NAME as METEOR
from showtell.metrics.meteor import VERSION as METEOR_VERSION
from showtell.metrics.meteor import MeteorScorer
from showtell.metrics.ngrams import Floats, Integers
from showtell.metrics.ptb_tokenizer import TokenVocab
from showtell.metrics.score_tokenizers import load_tokenizer, note_unspaced
from showtell.system.console import text_table
from showtell.version import __version__

METRICS = ("bleu", "rouge", "cider")
_ORDER = (*BLEU, METEOR, *MEAN_SCORES.values())
_SIGNED = {"bleu": "bleu4", "meteor": METEOR_VERSION, "rouge": "rouge-l", "cider": "cider-d"}
_SHOWN = 10
_T = TypeVar("_T")
Rows = Iterable[tuple[str, Sequence[str]]]


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
                found=f"{len(without)} without ({_shorten(without)})",
                expected="at least one caption for each image",
                mend="Leave these images out, or give them captions",
            )
        self.signature = self._sign(self._table.per_image)

    def score(self, candidates: Mapping[str, str] | Rows, *, subset: bool = False) -> Scores:
        """Score one caption per image.

        Args:
            candidates: The caption of each image by its id; or rows of an id and captions in any order.
            subset: Score only the images that have a candidate; the signature names both numbers.

        Raises:
            ScoreError: an image without a candidate, with several, or a candidate for an image without references,
                all listed; or METEOR's program does not work.
        """
        table, images, captioned = self._match(candidates, subset=subset)
        values, columns = summarize(self._score(table, images, captioned))
        per_image = self._table.per_image[images]
        if self._meteor:
            flat = iter(self._vocab.detokenize_ids(self._table.read(images)))
            references = [list(islice(flat, count)) for count in per_image.tolist()]
            tokens = self._vocab.detokenize_ids(table.read(captioned))
            values[METEOR], column = self._meteor.score(references, tokens)
            columns[METEOR] = np.array(column)
        empty = int(np.sum(table.lengths(captioned) == 0))
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

    def segment_stats(self, candidates: Mapping[str, str]) -> SegmentStats:
        """Return the statistics of BLEU and CIDEr-D, image by image in the references' order.

        Raises:
            ScoreError: as `score`.
            ConfigError: BLEU or CIDEr-D is not among the metrics.
        """
        if not {"bleu", "cider"} <= set(self._metrics):
            raise ConfigError("no segment statistics", expected="a Scorer with the metrics bleu and cider")
        blocks = list(self._score(*self._match(candidates)))
        return {
            name: np.concatenate([block[name] for block in blocks], axis=-1) for name in ("bleu", "cider")
        }

    def _score(self, table: CaptionTable, images: Integers, captioned: Integers) -> Iterator[SegmentStats]:
        def read(rows: slice) -> Block:
            some = images[rows]
            return self._table.read(some), self._table.per_image[some], table.read(captioned[rows])

        return score_blocks(read, len(images), vocab=self._vocab, metrics=self._metrics)

    def _match(
        self, candidates: Mapping[str, str] | Rows, *, subset: bool = False
    ) -> tuple[CaptionTable, Integers, Integers]:
        """Return the candidates, the images to score, and their numbers among the candidates, int64 [P] each."""
        table = CaptionTable(
            _one_each(candidates) if isinstance(candidates, Mapping) else candidates, self._vocab
        )
        doubled = np.flatnonzero(table.per_image > 1)
        if len(doubled):
            counts = zip(table.names(doubled), table.per_image[doubled].tolist(), strict=True)
            raise ScoreError(
                "several candidates for one image",
                found=f"{len(doubled)} such images ({_shorten(f'{key}: {n}' for key, n in counts)})",
                expected="one candidate for each image",
                mend="Keep one caption of each, for example the best one",
            )
        captioned = np.flatnonzero(table.per_image)
        image = self._table.find(table.ids_of(captioned))
        candidate = np.full(len(self._table), -1)  # of each image
        candidate[image[image >= 0]] = captioned[image >= 0]
        missing = [] if subset else self._table.names(np.flatnonzero(candidate < 0))
        extra = table.names(captioned[image < 0])
        found = []
        if missing:
            found.append(f"{len(missing)} of {len(candidate)} images have no candidate ({_shorten(missing)})")
        if extra:
            found.append(f"{len(extra)} candidates are for images without references ({_shorten(extra)})")
        if found:
            raise ScoreError(
                "candidates and references do not fit together",
                found=" and ".join(found),
                expected="one candidate for every image that has references",
                mend="Remove the other candidates"
                if extra
                else "Caption the missing images, or score only the others (--subset, or subset=True)",
            )
        images = np.flatnonzero(candidate >= 0)
        if not len(images):
            raise ScoreError("nothing to score", found="no candidates", mend="Check the file of candidates")
        return table, images, candidate[images]

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


def _shorten(names: Iterable[str]) -> str:
    """Return the first ten names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


def _sort_metrics(metrics: Mapping[str, _T]) -> dict[str, _T]:
    """Return the values of metrics in coco-caption's order."""
    return {name: metrics[name] for name in _ORDER if name in metrics}


def _one_each(candidates: Mapping[str, str]) -> Rows:
    wrong = [key for key, caption in candidates.items() if not isinstance(caption, str)]
    if wrong:
        raise ScoreError(
            "a candidate must be one caption",
            found=f"{type(candidates[wrong[0]]).__name__} for {len(wrong)} images ({_shorten(wrong)})",
            expected="str",
            mend="Choose one caption for each image",
        )
    return ((key, (caption,)) for key, caption in candidates.items())
