"""Score captions that lie on the disk against references that do, in memory that does not grow with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import compress

import numpy as np

from showtell.metrics.blocks import Block, bounds, score_blocks, summarize
from showtell.metrics.evaluate import METRICS, Scores, notes_on, sort_metrics
from showtell.metrics.large.arrays import DiskArray
from showtell.metrics.large.keyed import CaptionsByPicture, IdJoin, IdTokens
from showtell.metrics.large.reader import _FallBack
from showtell.metrics.ngrams import Captions, Floats, Integers
from showtell.metrics.ptb_tokenizer import TokenVocab
from showtell.metrics.signature import build_signature


class PictureScores(Mapping[str, Mapping[str, float]]):
    """Scores of each picture by its name, read from the disk when they are asked for.

    Args:
        truth: Whose runs name the pictures.
        pictures: Which runs do.
        scored: Which of these pictures were scored. bool [pictures]
        columns: Their scores, by metric. float64 [scored]
    """

    def __init__(
        self, truth: IdTokens, pictures: IdJoin, scored: DiskArray, columns: Mapping[str, Floats]
    ) -> None:
        self._truth, self._pictures, self._scored, self._columns = truth, pictures, scored, columns

    def __len__(self) -> int:
        return next((len(column) for column in self._columns.values()), 0)

    def __iter__(self) -> Iterator[str]:
        named = compress(self._truth.names(), self._pictures.new())
        return compress(named, self._scored.mapped())

    def __getitem__(self, key: str) -> Mapping[str, float]:
        place = self._places[key]
        return {name: float(column[place]) for name, column in self._columns.items()}

    @cached_property
    def _places(self) -> dict[str, int]:
        return {key: place for place, key in enumerate(self)}


def score_keyed(
    truth: IdTokens, ours: IdTokens, lexicon: TokenVocab, *, subset: bool, metrics: Sequence[str]
) -> Scores:
    """Score one candidate of each picture.

    Args:
        truth: References.
        ours: Candidates.
        lexicon: Whose tokens they hold.
        subset: Score only the pictures that have a candidate.
        metrics: Which to compute, of "bleu", "rouge", "cider".

    Raises:
        IrregularError: a picture without a reference, with several candidates, or (unless a subset is wanted) with
            none; a candidate for no picture; an unknown metric; or nothing to score.
        DataError: the disk is full.
    """
    pictures = IdJoin(truth, ours)
    blocks = _Blocks(truth, ours, pictures)
    if not set(metrics) <= set(METRICS) or not blocks.scored or (blocks.missing and not subset):
        raise _FallBack
    chosen = [metric for metric in METRICS if metric in metrics]
    values, columns = summarize(
        score_blocks(
            blocks.read, len(blocks.numbers), pictures=blocks.scored, lexicon=lexicon, metrics=chosen
        )
    )
    references = (blocks.fewest, blocks.most)
    return Scores(
        values=sort_metrics(values),
        per_image=PictureScores(truth, pictures, blocks.kept, sort_metrics(columns)),
        signature=build_signature(
            chosen,
            pictures=blocks.scored,
            references=references,
            subset_of=pictures.count if blocks.missing else None,
        ),
        num_images=blocks.scored,
        references=references,
        empty_candidates=blocks.empty,
        notes=notes_on(chosen, pictures=blocks.scored, empty=blocks.empty),
    )


class _Blocks:
    """The pictures of two files in blocks, without those that have no candidate.

    Attributes:
        numbers: Of the blocks that have pictures to score.
        kept: Which pictures are scored. bool [pictures]
        scored: How many.
        missing: Pictures without a candidate.
        fewest: References of a picture.
        most: References of a picture.
        empty: Candidates without a token.

    Raises:
        IrregularError: as `score_keyed`.
    """

    def __init__(self, truth: IdTokens, ours: IdTokens, pictures: IdJoin) -> None:
        if any((block < 0).any() for block in pictures.of_ours.blocks()):
            raise _FallBack
        self._truth = truth.by_picture(pictures.of_truth, pictures.count)
        self._ours = ours.by_picture(pictures.of_ours, pictures.count)
        self.kept = DiskArray(np.bool_)
        self.numbers: list[int] = []
        self.scored = self.missing = self.empty = self.most = 0
        self.fewest = 0
        self._bounds = bounds(pictures.count)
        for number in range(len(self._bounds)):
            self._look_at(number)

    def read(self, place: int) -> Block:
        """Return a block."""
        number = self.numbers[place]
        captions, per_image = self._counted(self._truth, number)
        candidates, has = self._counted(self._ours, number)
        if has.all():
            return Block(captions, per_image, candidates)
        return Block(_chosen(captions, np.repeat(has, per_image)), per_image[has > 0], candidates)

    def _look_at(self, number: int) -> None:
        _, per_image = self._counted(self._truth, number)
        candidates, has = self._counted(self._ours, number)
        scored = per_image[has > 0]
        if (has > 1).any() or (scored == 0).any():
            raise _FallBack
        self.kept.append(has > 0)
        self.missing += len(has) - len(scored)
        self.scored += len(scored)
        self.empty += int(np.sum(candidates.lengths == 0))
        if len(scored):
            self.numbers.append(number)
            self.fewest = min(self.fewest or int(scored.max()), int(scored.min()))
            self.most = max(self.most, int(scored.max()))

    def _counted(self, file: CaptionsByPicture, number: int) -> tuple[Captions, Integers]:
        """Return the captions of a block, and how many each of its pictures has."""
        start, stop = self._bounds[number]
        picture, captions = file.read(number)
        return captions, np.bincount(picture - start, minlength=stop - start)


def _chosen(captions: Captions, chosen: Integers) -> Captions:
    """Return the captions whose number is 1, not 0."""
    words = captions.words[np.repeat(chosen > 0, captions.lengths)]
    return Captions(words, captions.lengths[chosen > 0])
