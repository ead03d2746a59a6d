"""What was decoded and scored by Java once is kept, so that making the table again takes seconds.

A folder beside the prepared set. A file's name comes from all that its content depends on, and the file says it once
more in full: a checkpoint that changed has other weights, hence another name, and is decoded anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from showtell.data.prepared import PreparedSet
from showtell.errors import DataError
from showtell.experiments.leaderboard.entries import Model, open_member
from showtell.metrics.meteor import VERSION, MeteorScorer
from showtell.system.atomic import read_text, sha256_json, write_json
from showtell.system.console import note
from showtell.training.predictions import load_evaluation
from showtell.version import __version__

KIND, FORMAT = "showtell evaluation", 1


class EvaluationCache:
    """A folder of captions and of METEOR scores.

    Args:
        folder: Made when the first is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def captions(
        self, member: Model, prepared: PreparedSet, split: str, decode: Callable[[], Sequence[str]]
    ) -> dict[str, str]:
        """Return what a captioner says of a split, by picture; it is asked only where nobody knows.

        Args:
            member: The captioner.
            prepared: The set.
            split: The split, whole.
            decode: Asks it, for all rows of the split in order.

        Raises:
            DataError: meanwhile another captioner was put in its place.
        """
        rows = prepared.split_rows(split).tolist()
        keys = [prepared.key(row) for row in rows]
        made_of = {
            "captioner": member.identity,
            "generation": member.generation.model_dump(mode="json"),
            "data": prepared.fingerprint,
            "split": split,
            "showtell": __version__,
        }

        def ask() -> dict[str, Any]:
            # A run that has come to its end keeps what it said of its validation split.
            judged = load_evaluation(member.checkpoint, prepared)
            texts = judged.texts if judged is not None and judged.rows == rows else decode()
            if open_member(member.checkpoint).identity != member.identity:
                raise DataError(
                    f"{member.checkpoint} cannot be judged",
                    found="another captioner than a moment ago",
                    mend="A training is under way: run the same again, or name a copy",
                )
            return {"captions": dict(zip(keys, texts, strict=True))}

        said: dict[str, str] = self.keep("captions", made_of, ask)["captions"]
        return said

    def meteor(self, scorer: MeteorScorer) -> MeteorScorer:
        """Return a scorer that remembers."""
        return _CachedMeteor(self, scorer)

    def keep(
        self, what: str, made_of: Mapping[str, Any], make: Callable[[], Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Return what is kept under ``made_of``, or make and keep it.

        Args:
            what: Begins the file's name.
            made_of: JSON values: all that it depends on.
            make: Makes it, as JSON values.

        Raises:
            DataError: the folder cannot be written.
        """
        path = self.folder / f"{what}-{sha256_json(made_of)[:16]}.json"
        found = _read(path)
        if found is not None and found.get("made_of") == made_of:
            return found
        content = {"kind": KIND, "format": FORMAT, "made_of": dict(made_of), **make()}
        write_json(path, content)
        return content


class _CachedMeteor:
    def __init__(self, kept: EvaluationCache, scorer: MeteorScorer) -> None:
        self._kept, self._scorer = kept, scorer

    def score(
        self, references: Sequence[Sequence[Sequence[str]]], candidates: Sequence[Sequence[str]]
    ) -> tuple[float, list[float]]:
        made_of = {
            "metric": VERSION,
            "references": sha256_json(references),
            "candidates": sha256_json(candidates),
        }

        def ask() -> dict[str, Any]:
            corpus, pictures = self._scorer.score(references, candidates)
            return {"corpus": corpus, "pictures": pictures}

        found = self._kept.keep("meteor", made_of, ask)
        return found["corpus"], found["pictures"]


def _read(path: Path) -> dict[str, Any] | None:
    """Return a file's content; None where it is not there, or broken, which is told."""
    if not path.exists():
        return None
    try:
        content = dict(json.loads(read_text(path)))
    except (DataError, ValueError, TypeError) as error:
        note(f"{path} is made again: {error}")
        return None
    return content if (content.get("kind"), content.get("format")) == (KIND, FORMAT) else None
