"""The rows of the table: all captioners and a human baseline, evaluated on the same images."""

import contextlib
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from showtell.checkpoints.checkpoint import as_trained
from showtell.data.prepared import PreparedSet
from showtell.errors import DataError, ShowtellError
from showtell.experiments.leaderboard.cache import EvaluationCache
from showtell.experiments.leaderboard.entries import LeaderboardEntry, Model, distinct_names, open_entry
from showtell.experiments.seeds import MeanStd, mean_std
from showtell.export.evaluate import read_training_captions
from showtell.metrics import Scorer, Scores
from showtell.metrics.blocks import SegmentStats
from showtell.metrics.bootstrap import ScoreDelta, paired_bootstrap
from showtell.metrics.caption_stats import measure
from showtell.metrics.meteor import MeteorScorer
from showtell.metrics.score_tokenizers import resolve_tokenizer
from showtell.system.console import note
from showtell.training.evaluate import evaluate_checkpoint

HUMAN = "human"


@dataclass(frozen=True)
class LeaderboardRow:
    """One captioner, the mean of its ``seeds``, on the whole split; ``entry`` is None for the human baseline.

    ``scores`` are on coco-caption's scale, ``quality`` is by the names of `CaptionStats`. ``captions`` and ``cider``
    (0..10) are those of the first seed by image key, ``minutes`` those of training, None if no run has them.
    ``differences`` from the baseline are None for the baseline itself, for humans, and without a baseline.
    """

    name: str
    scores: Mapping[str, MeanStd]
    quality: Mapping[str, MeanStd]
    captions: Mapping[str, str]
    cider: Mapping[str, float]
    signature: str
    seeds: int
    entry: LeaderboardEntry | None = None
    num_parameters: int = 0
    minutes: float | None = None
    differences: Mapping[str, ScoreDelta] | None = None


@dataclass(frozen=True)
class Leaderboard:
    """All rows of one split.

    ``human`` is the mean over references, None if some image has only one; ``signature`` is what the scores of the
    others depend on. ``baseline`` is the name of the row that the others are compared with, ``failures`` the error of
    each path that could not be evaluated.
    """

    prepared: PreparedSet
    split: str
    rows: Sequence[LeaderboardRow]
    human: LeaderboardRow | None
    signature: str
    baseline: str | None = None
    failures: Mapping[Path, ShowtellError] = field(default_factory=dict)

    @property
    def all_rows(self) -> list[LeaderboardRow]:
        """The captioners', and the human one if there is one."""
        return [*self.rows, *([self.human] if self.human else [])]

    @property
    def has_seeds(self) -> bool:
        """Whether some captioner has several seeds."""
        return any(row.seeds > 1 for row in self.rows)


def collect(
    runs: Sequence[Path],
    *,
    data: Path,
    split: str = "dev",
    baseline: Path | None = None,
    meteor: MeteorScorer | None = None,
    evaluations: Path | None = None,
    allow_other_dataset: bool = False,
    **options: Any,
) -> Leaderboard:
    """Evaluate captioners and human captions on a whole split of a prepared set.

    ``runs`` are checkpoints, runs, directories of ``showtell train --seeds``, names on the hub, or files of captions
    by image key (`showtell.metrics.score_files.read_captions`); ``baseline`` is put first if it is not among them.
    Captioners that fail, or were trained on another set without ``allow_other_dataset``, are noted and left out. What
    was decoded before is not decoded again: captions are cached in the folder ``evaluations``, by default beside the
    prepared set. ``options`` are those of `evaluate_checkpoint`.

    Raises:
        ConfigError: no such split.
        DataError: none of them can be evaluated, or the set is broken.
        ScoreError: METEOR's program does not work.
    """
    prepared = PreparedSet.load(data)
    failures: dict[Path, ShowtellError] = {}
    entries = []
    for path in dict.fromkeys([*([baseline] if baseline and baseline not in runs else []), *runs]):
        with _noted(path, failures):
            entries.append(open_entry(path, prepared, allow_other_dataset=allow_other_dataset))
    _refuse_none(entries, failures)
    captions = EntryCaptions(
        prepared, split, entries, evaluations=evaluations, meteor=meteor, options={"data": data, **options}
    )
    prepared = captions.prepared
    builder = _RowBuilder(prepared, split, None if meteor is None else captions.cache)
    human = builder.human_row()
    names, evaluated = distinct_names(entries), []
    for entry in entries:
        with _noted(entry.path, failures):
            evaluated.append(builder.row(entry, names[entry.path], captions.of(entry)))
    _refuse_none(evaluated, failures)
    return Leaderboard(
        prepared=prepared,
        split=split,
        rows=_compare(evaluated, baseline),
        human=human,
        signature=evaluated[0][0].signature,
        baseline=None if baseline is None or baseline in failures else names[baseline],
        failures=failures,
    )


class EntryCaptions:
    """The captions of a split by each of some entries: decoded once and cached, or those of a file.

    The split is that of the first captioner, whose training may have held images out. ``options`` are those of
    `evaluate_checkpoint`.
    """

    def __init__(
        self,
        prepared: PreparedSet,
        split: str,
        entries: Sequence[LeaderboardEntry],
        *,
        evaluations: Path | None,
        meteor: MeteorScorer | None,
        options: Mapping[str, Any],
    ) -> None:
        folder = evaluations or prepared.directory.with_name(f"{prepared.directory.name}-evaluations")
        self.cache = EvaluationCache(folder, meteor)
        self.prepared = as_trained(prepared, entries[0].config)
        self._whole, self._split, self._options = prepared, split, options

    def of(self, entry: LeaderboardEntry) -> list[Mapping[str, str]]:
        """Return the captions by image key, of each seed.

        Raises:
            ShowtellError: a captioner cannot be evaluated, or the split has other images for it.
        """
        for model in entry.models:
            _check_same_images(as_trained(self._whole, model.config), model, self.prepared, self._split)
        captions = [entry.captions] if entry.captions is not None else []
        return captions + [
            self.cache.captions(model, self.prepared, self._split, partial(self._decode, model))
            for model in entry.models
        ]

    def _decode(self, model: Model) -> list[str]:
        note(f"{model.checkpoint}: captions {self._split}")
        return evaluate_checkpoint(model.checkpoint, split=self._split, **self._options).texts


def _check_same_images(own_view: PreparedSet, model: Model, prepared: PreparedSet, split: str) -> None:
    """Raise a DataError if a split has other images for a captioner, whose training held out others."""
    own, expected = (len(each.split_rows(split)) for each in (own_view, prepared))
    if own != expected:
        raise DataError(
            f"{model.checkpoint} cannot be compared on the split {split}",
            found=f"{own:,} images, by what its training held out",
            expected=f"{expected:,}, as for the first captioner",
            mend="Train it with the same --holdout",
        )


@contextlib.contextmanager
def _noted(path: Path, failures: dict[Path, ShowtellError]) -> Iterator[None]:
    """Note an error of one row, and continue with the others."""
    try:
        yield
    except ShowtellError as error:
        note(f"{path} is left out: {error}")
        failures[path] = error


class _RowBuilder:
    """Scores captions against the references of a split: all of them, or all but one."""

    def __init__(self, prepared: PreparedSet, split: str, meteor: MeteorScorer | None) -> None:
        rows = prepared.split_rows(split).tolist()
        self._references = {prepared.key(row): prepared.captions(row) for row in rows}
        self._meteor = meteor
        captions = (caption for some in self._references.values() for caption in some)
        self._tokenizer = resolve_tokenizer("auto", captions)
        self._training_captions = read_training_captions(prepared, self._tokenizer)
        self._scorer = self._new_scorer(self._references)

    def _new_scorer(self, references: Mapping[str, Sequence[str]]) -> Scorer:
        return Scorer(references, meteor=self._meteor, tokenizer=self._tokenizer)

    def row(
        self, entry: LeaderboardEntry, name: str, captions: Sequence[Mapping[str, str]]
    ) -> tuple[LeaderboardRow, list[SegmentStats]]:
        times = [model.seconds for model in entry.models if model.seconds is not None]
        row = self._mean_row(
            name,
            captions,
            [self._scorer.score(one) for one in captions],
            entry=entry,
            num_parameters=entry.num_parameters(),
            minutes=statistics.fmean(times) / 60 if times and len(times) == len(entry.models) else None,
        )
        return row, [self._scorer.segment_stats(one) for one in captions]

    def human_row(self) -> LeaderboardRow | None:
        """Score each reference of an image against its others; the row is the mean of these."""
        num_references = min(map(len, self._references.values()))
        if num_references < 2:
            return None
        captions, scores = [], []
        for number in range(num_references):
            others = {key: texts[:number] + texts[number + 1 :] for key, texts in self._references.items()}
            captions.append({key: texts[number] for key, texts in self._references.items()})
            scores.append(self._new_scorer(others).score(captions[-1]))
        return self._mean_row(HUMAN, captions, scores)

    def _mean_row(
        self, name: str, captions: Sequence[Mapping[str, str]], scores: Sequence[Scores], **details: Any
    ) -> LeaderboardRow:
        stats = [
            asdict(measure(list(one.values()), self._training_captions, self._tokenizer)) for one in captions
        ]
        known = [{key: value for key, value in one.items() if value is not None} for one in stats]
        return LeaderboardRow(
            name=name,
            scores=mean_std([one.values for one in scores]),
            quality=mean_std(known),
            captions=captions[0],
            cider={key: values["CIDEr-D"] for key, values in scores[0].per_image.items()},
            signature=scores[0].signature,
            seeds=len(captions),
            **details,
        )


def _compare(
    evaluated: Sequence[tuple[LeaderboardRow, list[SegmentStats]]], baseline: Path | None
) -> list[LeaderboardRow]:
    """Return the rows with their differences from the baseline, if it was evaluated."""
    base = next((stats for row, stats in evaluated if row.entry and row.entry.path == baseline), None)
    if base is None:
        return [row for row, _ in evaluated]
    return [
        row if stats is base else replace(row, differences=paired_bootstrap(stats, base))
        for row, stats in evaluated
    ]


def _refuse_none(left: Sequence[object], failures: Mapping[Path, ShowtellError]) -> None:
    if not left:
        raise DataError(
            "there is nothing to compare",
            found="; ".join(str(error) for error in failures.values()) or "no run",
            mend="Name runs, checkpoints or directories of seeds",
        )
