"""Two captioners on the same images: which captions changed, for better or worse, and what the scores say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from showtell.data.prepared import PreparedSet
from showtell.errors import DataError
from showtell.experiments.leaderboard.entries import distinct_names, open_entry
from showtell.experiments.leaderboard.evaluate import EntryCaptions
from showtell.metrics import Scorer, Scores
from showtell.metrics.bootstrap import EQUAL, ScoreDelta
from showtell.metrics.meteor import MeteorScorer
from showtell.metrics.score_files import naming
from showtell.metrics.score_tokenizers import resolve_tokenizer

METRIC = "CIDEr-D"
"""The score by which a caption is better or worse than another one."""


@dataclass(frozen=True)
class Change:
    """An image of a prepared set whose caption changed: captions of A and B, and their own scores by metric."""

    row: int
    key: str
    captions: tuple[str, str]
    scores: tuple[Mapping[str, float], Mapping[str, float]]

    @property
    def gain(self) -> float:
        """CIDEr-D of B less that of A, -10 to 10."""
        before, after = (scores[METRIC] for scores in self.scores)
        return after - before


@dataclass(frozen=True)
class Comparison:
    """The captioners A and B on a split; differences are B less A, changes are sorted by gain, the largest first.

    The numbers of changed captions that are ``better``, ``worse`` and ``equal`` by their CIDEr-D.
    """

    prepared: PreparedSet
    split: str
    names: tuple[str, str]
    scores: tuple[Scores, Scores]
    differences: Mapping[str, ScoreDelta]
    changes: Sequence[Change]

    @property
    def better(self) -> int:
        """Changed captions with a higher CIDEr-D."""
        return sum(change.gain > EQUAL for change in self.changes)

    @property
    def worse(self) -> int:
        """Changed captions with a lower CIDEr-D."""
        return sum(change.gain < -EQUAL for change in self.changes)

    def extremes(self, most: int) -> list[Change]:
        """Return at most so many of the largest gains, and as many of the largest losses behind them."""
        better, worse = min(most, self.better), min(most, self.worse)
        return [*self.changes[:better], *self.changes[len(self.changes) - worse :]]

    def is_below(self, points: float) -> bool:
        """Return whether CIDEr-D, times 100, changes by less than ``points``, for 97.5 % of the draws."""
        return 100 * self.differences[METRIC].high < points


def compare_captioners(
    first: Path,
    second: Path,
    *,
    data: Path,
    split: str = "dev",
    meteor: MeteorScorer | None = None,
    evaluations: Path | None = None,
    **options: Any,
) -> Comparison:
    """Compare the captioners A and B on a split of any prepared set.

    ``first`` and ``second`` are checkpoints, runs, names on the hub, or files of captions by image key. Captions are
    decoded once, and cached with those of `showtell.experiments.leaderboard`, in the folder ``evaluations``.
    ``options`` are those of `evaluate_checkpoint`.

    Raises:
        ConfigError: no such split.
        DataError: a captioner or the set cannot be used, or a path has several captioners.
        ScoreError: a file does not have one caption for each image.
    """
    prepared = PreparedSet.load(data)
    entries = [open_entry(path, prepared, allow_other_dataset=True) for path in (first, second)]
    for entry in entries:
        if len(entry.models) > 1:
            raise DataError(
                f"{entry.path} cannot be compared",
                found=f"{len(entry.models)} captioners",
                expected="one on each side",
                mend=f"Name one of its runs, such as {entry.path}/seed-0, or use showtell leaderboard",
            )
    read = EntryCaptions(
        prepared, split, entries, evaluations=evaluations, meteor=meteor, options={"data": data, **options}
    )
    prepared = read.prepared
    rows = {prepared.key(row): row for row in prepared.split_rows(split).tolist()}
    references = {key: prepared.captions(row) for key, row in rows.items()}
    tokenizer = resolve_tokenizer("auto", (text for several in references.values() for text in several))
    scorer = Scorer(references, meteor=None if meteor is None else read.cache, tokenizer=tokenizer)
    captions, matched = {}, {}
    # Files first, so that one that does not fit is an error before anything is decoded.
    for side in sorted((0, 1), key=lambda side: len(entries[side].models)):
        (captions[side],) = read.of(entries[side])
        with naming(entries[side].path):
            matched[side] = scorer.match(captions[side])
    before, after = captions[0], captions[1]
    new, old, differences = scorer.compare(matched[1], matched[0])
    changes = [
        Change(row, key, (before[key], after[key]), (old.per_image[key], new.per_image[key]))
        for key, row in rows.items()
        if before[key] != after[key]
    ]
    changes.sort(key=lambda change: -change.gain)
    names = distinct_names(entries)
    return Comparison(prepared, split, (names[first], names[second]), (old, new), differences, changes)
