"""Score candidates against references: the one entry to all caption metrics.

References are tokenised once, in an ``Scorer``; each set of candidates is then scored against them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np

from showtell.errors import ConfigError, ScoreError, did_you_mean
from showtell.metrics.bleu import NAMES as BLEU
from showtell.metrics.blocks import CIDER, ROUGE, Block, BlockScores, bounds, score_blocks, summarize
from showtell.metrics.bootstrap import SegmentStats
from showtell.metrics.large.arrays import DiskTokens
from showtell.metrics.meteor import NAME as METEOR
from showtell.metrics.meteor import MeteorScorer
from showtell.metrics.ptb_tokenizer import TokenVocab
from showtell.metrics.signature import build_signature
from showtell.system.console import text_table

METRICS = ("bleu", "rouge", "cider")
_ORDER = (*BLEU, METEOR, ROUGE, CIDER)
_SHOWN = 10
_T = TypeVar("_T")


@dataclass(frozen=True)
class Scores:
    """What evaluating gave, on the scale of coco-caption's code: CIDEr-D from 0 to 10, all else from 0 to 1.

    Args:
        values: Score of the corpus by metric ("BLEU-1" to "BLEU-4", "METEOR" if asked for, "ROUGE-L", "CIDEr-D").
        per_image: The same for each picture by its id. The mean over pictures of BLEU or METEOR is not that of the
            corpus.
        signature: All that the scores depend on, in one line.
        num_images: Images scored.
        references: Fewest and most references of a picture.
        empty_candidates: Candidates without a token; they were scored like all others.
        notes: What a reader of the scores should know.
    """

    values: dict[str, float]
    per_image: Mapping[str, Mapping[str, float]]
    signature: str
    num_images: int
    references: tuple[int, int]
    empty_candidates: int
    notes: list[str]

    def table(self) -> str:
        """Return the corpus scores times 100 as two aligned lines, and the signature below."""
        table = text_table([list(self.values), [f"{value * 100:.2f}" for value in self.values.values()]])
        return f"{table}\n{self.signature}"


class Scorer:
    """References made ready, to score any number of candidate sets against them.

    Args:
        references: Captions of each picture by its id; at least one each.
        metrics: Which to compute, of "bleu", "rouge", "cider".
        meteor: What computes METEOR beside them; None: nothing does.
        subset_of: Pictures that had references before some were left out; goes into the signature.

    Attributes:
        signature: All that its scores depend on, in one line.

    Raises:
        ScoreError: no picture, or pictures without a reference (all listed).
        ConfigError: an unknown metric.
    """

    def __init__(
        self,
        references: Mapping[str, Sequence[str]],
        *,
        metrics: Sequence[str] = METRICS,
        meteor: MeteorScorer | None = None,
        subset_of: int | None = None,
    ) -> None:
        for metric in metrics:
            if metric not in METRICS:
                raise ConfigError(f"unknown metric '{metric}'", mend=did_you_mean(metric, METRICS))
        _check_references(references)
        self._keys = list(references)
        self._place = {key: place for place, key in enumerate(self._keys)}
        self._metrics = [metric for metric in METRICS if metric in metrics]
        per_image = [len(captions) for captions in references.values()]
        self._references = (min(per_image), max(per_image))
        # Where coco-caption has it, behind BLEU.
        behind = sum(metric == "bleu" for metric in self._metrics)
        signed = [*self._metrics[:behind], *["meteor"] * (meteor is not None), *self._metrics[behind:]]
        self.signature = build_signature(
            signed, pictures=len(self._keys), references=self._references, subset_of=subset_of
        )
        self._meteor, self._lexicon = meteor, TokenVocab()
        self._per_image = np.array(per_image, np.int64)
        self._tokens = DiskTokens()
        self._bounds = bounds(len(self._keys))
        for start, stop in self._bounds:
            texts = [text for key in self._keys[start:stop] for text in references[key]]
            self._tokens.append(self._lexicon.tokens(texts))

    def score(self, candidates: Mapping[str, str]) -> Scores:
        """Score one caption per picture.

        Raises:
            ScoreError: a picture without a candidate, or a candidate for a picture without references, all listed; or
            METEOR's program does not work.
        """
        tokens = self._read(candidates)
        values, columns = summarize(self._score(tokens))
        if self._meteor:
            values[METEOR], pictures = self._meteor.score(self._spell_references(), self._spell(tokens))
            columns[METEOR] = np.array(pictures)
        columns = sort_metrics(columns)
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        empty = sum(int(np.sum(block.lengths == 0)) for block in tokens)
        return Scores(
            values=sort_metrics(values),
            per_image={
                key: dict(zip(columns, row, strict=True)) for key, row in zip(self._keys, rows, strict=True)
            },
            signature=self.signature,
            num_images=len(self._keys),
            references=self._references,
            empty_candidates=empty,
            notes=notes_on(self._metrics, pictures=len(self._keys), empty=empty),
        )

    def segment_stats(self, candidates: Mapping[str, str]) -> SegmentStats:
        """Return what CIDEr-D and BLEU-4 are made of, picture by picture in the references' order.

        Raises:
            ScoreError: as `score`.
            ConfigError: BLEU or CIDEr-D is not among the metrics.
        """
        if not {"bleu", "cider"} <= set(self._metrics):
            raise ConfigError("nothing to tally", expected="an Scorer with the metrics bleu and cider")
        return SegmentStats.of(self._score(self._read(candidates)))

    def _read(self, candidates: Mapping[str, str]) -> DiskTokens:
        """Return the tokens of all candidates, in blocks."""
        self._check_candidates(candidates)
        tokens = DiskTokens()
        for start, stop in self._bounds:
            tokens.append(self._lexicon.tokens([candidates[key] for key in self._keys[start:stop]]))
        return tokens

    def _score(self, candidates: DiskTokens) -> Iterator[BlockScores]:
        return score_blocks(
            lambda number: Block(
                self._tokens[number], self._per_image[slice(*self._bounds[number])], candidates[number]
            ),
            len(self._bounds),
            pictures=len(self._keys),
            lexicon=self._lexicon,
            metrics=self._metrics,
        )

    def _spell(self, tokens: DiskTokens) -> list[list[str]]:
        return [caption for block in tokens for caption in self._lexicon.spell(block)]

    def _spell_references(self) -> list[list[list[str]]]:
        flat = iter(self._spell(self._tokens))
        return [list(islice(flat, count)) for count in self._per_image.tolist()]

    def _check_candidates(self, candidates: Mapping[str, str]) -> None:
        missing = [key for key in self._keys if key not in candidates]
        extra = [key for key in candidates if key not in self._place]
        if missing or extra:
            found = [
                f"{len(missing)} of {len(self._keys)} pictures have no candidate ({shorten(missing)})"
            ] * bool(missing) + [
                f"{len(extra)} candidates are for pictures without references ({shorten(extra)})"
            ] * bool(extra)
            raise ScoreError(
                "candidates and references do not fit together",
                found=" and ".join(found),
                expected="one candidate for every picture that has references",
                mend="Caption the missing pictures, or leave out what is too much",
            )
        wrong = [key for key in self._keys if not isinstance(candidates[key], str)]
        if wrong:
            raise ScoreError(
                "a candidate must be one caption",
                found=f"{type(candidates[wrong[0]]).__name__} for {len(wrong)} pictures ({shorten(wrong)})",
                expected="str",
                mend="Choose one caption for each picture",
            )


def evaluate(
    references: Mapping[str, Sequence[str]],
    candidates: Mapping[str, str],
    *,
    metrics: Sequence[str] = METRICS,
) -> Scores:
    """Score one candidate per picture against its references.

    Raises:
        ScoreError: the two do not hold the same pictures, or a picture has no reference.
        ConfigError: an unknown metric.
    """
    return Scorer(references, metrics=metrics).score(candidates)


def shorten(names: Iterable[str]) -> str:
    """Return the first ten names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


def _check_references(references: Mapping[str, Sequence[str]]) -> None:
    if not references:
        raise ScoreError("nothing to score", found="no references", mend="Check the file or the split")
    wrong = [key for key, captions in references.items() if isinstance(captions, str) or not captions]
    if wrong:
        raise ScoreError(
            "a picture needs a list of references",
            found=f"{len(wrong)} without ({shorten(wrong)})",
            expected="at least one caption for each picture",
            mend="Leave these pictures out, or give them captions",
        )


def sort_metrics(metrics: Mapping[str, _T]) -> dict[str, _T]:
    """Return what metrics gave in the order in which coco-caption shows them."""
    return {name: metrics[name] for name in _ORDER if name in metrics}


def notes_on(metrics: Collection[str], *, pictures: int, empty: int) -> list[str]:
    """Return what a reader of the scores should know.

    Args:
        metrics: That were computed.
        pictures: That were scored.
        empty: Candidates without a token.
    """
    notes = []
    if "cider" in metrics and pictures == 1:
        notes.append("CIDEr-D of a single picture is 0 by definition: every n-gram occurs in every picture")
    if empty:
        notes.append(f"{empty} of {pictures} candidates are empty; they count, and score 0")
    return notes
