"""The rows of the table: every captioner judged on the same photographs, and a person judged by the others."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from showtell.data.prepared import PreparedSet
from showtell.errors import DataError, ShowtellError
from showtell.experiments.leaderboard.cache import EvaluationCache
from showtell.experiments.leaderboard.entries import LeaderboardEntry, Model, distinct_names, open_entry
from showtell.experiments.seeds import MeanStd, mean_std
from showtell.metrics import Scorer
from showtell.metrics.bootstrap import ScoreDelta, SegmentStats, paired_bootstrap
from showtell.metrics.caption_stats import measure
from showtell.metrics.meteor import MeteorScorer
from showtell.system.console import note
from showtell.training.evaluate import evaluate_checkpoint, read_training_captions

PERSON = "a person"


@dataclass(frozen=True)
class LeaderboardRow:
    """One captioner on the whole split.

    Attributes:
        name: What it is called.
        scores: By metric, on coco-caption's scale, over its seeds.
        quality: How its captions read, by the names of `showtell.metrics.caption_stats.CaptionStats`, over its seeds.
        captions: What the first seed said, by picture.
        cider: CIDEr-D of these, by picture, 0..10.
        entry: What it was made from; None for the person.
        seeds: How many captioners it is the mean of.
        parameters: Weights of the decoder.
        minutes: Of training, the mean of its seeds; None where no run says it.
        differences: From the baseline, by metric; None for the baseline itself, for the person, and without one.
    """

    name: str
    scores: Mapping[str, MeanStd]
    quality: Mapping[str, MeanStd]
    captions: Mapping[str, str]
    cider: Mapping[str, float]
    entry: LeaderboardEntry | None = None
    seeds: int = 1
    parameters: int = 0
    minutes: float | None = None
    differences: Mapping[str, ScoreDelta] | None = None


@dataclass(frozen=True)
class Leaderboard:
    """All rows of one split.

    Attributes:
        prepared: The set.
        split: Its split.
        rows: Of the captioners, in the order they were named.
        person: The mean over people; None where pictures have one caption.
        signature: What the captioners' scores depend on.
        person_signature: What the person's depend on.
        baseline: The name of the row that the others are compared with.
        failures: What could not be judged, and why, by its path.
    """

    prepared: PreparedSet
    split: str
    rows: Sequence[LeaderboardRow]
    person: LeaderboardRow | None
    signature: str
    person_signature: str = ""
    baseline: str | None = None
    failures: Mapping[Path, ShowtellError] = field(default_factory=dict)


def collect(
    runs: Sequence[Path],
    *,
    data: Path,
    split: str = "dev",
    baseline: Path | None = None,
    meteor: MeteorScorer | None = None,
    evaluations: Path | None = None,
    other_data: bool = False,
    encoder_weights: Path | None = None,
    features: Path | None = None,
    device: str = "auto",
    threads: int = 0,
) -> Leaderboard:
    """Judge captioners and a person on a split.

    What cannot be judged is noted, and the rest is done; what was decoded before is not decoded again.

    Args:
        runs: Checkpoints, runs, directories of ``showtell train --seeds``, or names on the hub.
        data: A prepared set.
        split: One of its splits, judged whole.
        baseline: Which of them the others are compared with; put in front where it is not among them.
        meteor: What computes METEOR.
        evaluations: Where captions are kept; None: beside the prepared set.
        other_data: Take captioners of other sets as well.
        encoder_weights: A local file with the encoder's weights.
        features: The folder of feature caches; None: beside the prepared set.
        device: ``auto``, ``cpu``, ``cuda``...
        threads: CPU threads; 0: one per usable core.

    Raises:
        ConfigError: no such split.
        DataError: none of them can be judged, or the set is broken.
        ScoreError: METEOR's program does not work.
    """
    prepared = PreparedSet.load(data)
    folder = evaluations or prepared.directory.with_name(f"{prepared.directory.name}-evaluations")
    kept = EvaluationCache(folder)
    table = _Table(prepared, split, None if meteor is None else kept.meteor(meteor))
    failures: dict[Path, ShowtellError] = {}
    paths = dict.fromkeys([*([baseline] if baseline and baseline not in runs else []), *runs])
    entries = []
    for path in paths:
        with _left_out(path, failures):
            entries.append(open_entry(path, prepared, other_data=other_data))
    _refuse_nothing(entries, failures)
    person = table.person()

    def decode(member: Model) -> list[str]:
        note(f"{member.checkpoint}: captions {split}")
        where: dict[str, Any] = {"encoder_weights": encoder_weights, "features": features}
        where |= {"device": device, "threads": threads}
        return evaluate_checkpoint(member.checkpoint, data=data, split=split, **where).texts

    names, judged = distinct_names(entries), []
    for entry in entries:
        with _left_out(entry.path, failures):
            said = [
                kept.captions(member, prepared, split, partial(decode, member)) for member in entry.members
            ]
            judged.append(table.judge(entry, names[entry.path], said))
    _refuse_nothing(judged, failures)
    return Leaderboard(
        prepared=prepared,
        split=split,
        rows=_compare(judged, baseline),
        person=person,
        signature=table.signature,
        person_signature=table.person_signature,
        baseline=None if baseline is None or baseline in failures else names[baseline],
        failures=failures,
    )


@contextlib.contextmanager
def _left_out(path: Path, failures: dict[Path, ShowtellError]) -> Iterator[None]:
    """Note what goes wrong with one row, and let the others be made."""
    try:
        yield
    except ShowtellError as error:
        note(f"{path} is left out: {error}")
        failures[path] = error


class _Table:
    """Knows the references of a split, with all of them and without each."""

    def __init__(self, prepared: PreparedSet, split: str, meteor: MeteorScorer | None) -> None:
        rows = prepared.split_rows(split).tolist()
        self._references = {prepared.key(row): prepared.captions(row) for row in rows}
        self._meteor = meteor
        self._training = read_training_captions(prepared)
        self._scorer = Scorer(self._references, meteor=meteor)
        self.signature = self._scorer.signature
        self.person_signature = ""

    def judge(
        self, entry: LeaderboardEntry, name: str, said: Sequence[Mapping[str, str]]
    ) -> tuple[LeaderboardRow, list[SegmentStats]]:
        judged = [self._scorer.score(captions) for captions in said]
        times = [member.seconds for member in entry.members]
        known = [seconds for seconds in times if seconds is not None]
        row = LeaderboardRow(
            name=name,
            scores=mean_std([one.values for one in judged]),
            quality=self._quality([list(captions.values()) for captions in said]),
            captions=said[0],
            cider={key: scores["CIDEr-D"] for key, scores in judged[0].per_image.items()},
            entry=entry,
            seeds=len(said),
            parameters=entry.parameters(),
            minutes=statistics.fmean(known) / 60 if len(known) == len(times) else None,
        )
        return row, [self._scorer.segment_stats(captions) for captions in said]

    def person(self) -> LeaderboardRow | None:
        """Judge each caption of every picture by the picture's others; the row is the mean of these."""
        fewest = min(len(captions) for captions in self._references.values())
        if fewest < 2:
            return None
        values, said, cider = [], [], []
        for place in range(fewest):
            others = {key: texts[:place] + texts[place + 1 :] for key, texts in self._references.items()}
            scorer = Scorer(others, meteor=self._meteor)
            said.append({key: texts[place] for key, texts in self._references.items()})
            scores = scorer.score(said[-1])
            values.append(scores.values)
            cider.append({key: one["CIDEr-D"] for key, one in scores.per_image.items()})
            self.person_signature = scores.signature
        return LeaderboardRow(
            name=PERSON,
            scores=mean_std(values),
            quality=self._quality([list(captions.values()) for captions in said]),
            captions=said[0],
            cider=cider[0],
            seeds=fewest,
        )

    def _quality(self, said: Sequence[Sequence[str]]) -> dict[str, MeanStd]:
        figures = [asdict(measure(captions, self._training)) for captions in said]
        known = [{name: value for name, value in one.items() if value is not None} for one in figures]
        return mean_std(known)


def _compare(
    judged: Sequence[tuple[LeaderboardRow, list[SegmentStats]]], baseline: Path | None
) -> list[LeaderboardRow]:
    """Return the rows with what sets each apart from the baseline, where it was judged."""
    of = {row.entry.path: tallies for row, tallies in judged if row.entry is not None}
    base = None if baseline is None else of.get(baseline)
    if base is None:
        return [row for row, _ in judged]
    return [
        row if tallies is base else replace(row, differences=paired_bootstrap(tallies, base))
        for row, tallies in judged
    ]


def _refuse_nothing(left: Sequence[object], failures: Mapping[Path, ShowtellError]) -> None:
    if not left:
        raise DataError(
            "there is nothing to make a table of",
            found="; ".join(str(error) for error in failures.values()) or "no run",
            mend="Name runs, checkpoints or directories of seeds",
        )
