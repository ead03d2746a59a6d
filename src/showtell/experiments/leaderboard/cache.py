"""Captions and METEOR scores cached on disk, so that making the table again takes seconds.

A file's name is a hash of all that its content depends on, and the file holds these values in full: a checkpoint that
changed has other weights, hence another name, and is decoded again.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from showtell.data.prepared import PreparedSet
from showtell.errors import DataError
from showtell.experiments.leaderboard.entries import Model, open_model
from showtell.metrics.meteor import VERSION, MeteorScorer
from showtell.system.atomic import read_text, sha256_json, write_json
from showtell.system.console import note
from showtell.training.predictions import load_evaluation
from showtell.version import __version__

KIND, FORMAT = "showtell evaluation", 2


class EvaluationCache:
    """A folder of captions and of METEOR scores, created with the first file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def captions(
        self, model: Model, prepared: PreparedSet, split: str, decode: Callable[[], Sequence[str]]
    ) -> dict[str, str]:
        """Return a captioner's captions of a whole split by image key; ``decode`` makes those that are not known.

        Raises:
            DataError: the captioner was replaced by another one meanwhile.
        """
        rows = prepared.split_rows(split).tolist()
        inputs = {
            "captioner": model.identity,
            "generation": model.generation.model_dump(mode="json"),
            "data": prepared.fingerprint,
            "split": split,
            "showtell": __version__,
        }

        def compute() -> dict[str, Any]:
            # A finished run has the captions of its validation split in best/.
            saved = load_evaluation(model.checkpoint, prepared)
            texts = saved.texts if saved is not None and saved.rows == rows else decode()
            if open_model(model.checkpoint).identity != model.identity:
                raise DataError(
                    f"{model.checkpoint} cannot be evaluated",
                    found="another captioner than a moment ago",
                    mend="A training is running: run the same command again, or name a copy",
                )
            return {"captions": dict(zip(map(prepared.key, rows), texts, strict=True))}

        captions: dict[str, str] = self.get("captions", inputs, compute)["captions"]
        return captions

    def meteor(self, scorer: MeteorScorer) -> MeteorScorer:
        """Return a scorer that uses this cache."""
        return _CachedMeteor(self, scorer)

    def get(
        self, prefix: str, inputs: Mapping[str, Any], compute: Callable[[], Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Return what is cached for ``inputs`` (all that the content depends on), or compute and cache it.

        Raises:
            DataError: the folder cannot be written.
        """
        path = self.folder / f"{prefix}-{sha256_json(inputs)[:16]}.json"
        found = _read(path)
        if found is not None and found.get("inputs") == inputs:
            return found
        content = {"kind": KIND, "format": FORMAT, "inputs": dict(inputs), **compute()}
        write_json(path, content)
        return content


class _CachedMeteor:
    def __init__(self, cache: EvaluationCache, scorer: MeteorScorer) -> None:
        self._cache, self._scorer = cache, scorer

    def score(
        self, references: Sequence[Sequence[Sequence[str]]], candidates: Sequence[Sequence[str]]
    ) -> tuple[float, list[float]]:
        inputs = {
            "metric": VERSION,
            "references": sha256_json(references),
            "candidates": sha256_json(candidates),
        }

        def compute() -> dict[str, Any]:
            corpus, images = self._scorer.score(references, candidates)
            return {"corpus": corpus, "images": images}

        found = self._cache.get("meteor", inputs, compute)
        return found["corpus"], found["images"]


def _read(path: Path) -> dict[str, Any] | None:
    """Return a file's content; None if there is none, or it is broken, which is noted."""
    if not path.exists():
        return None
    try:
        content = dict(json.loads(read_text(path)))
    except (DataError, ValueError, TypeError) as error:
        note(f"{path} is written again: {error}")
        return None
    return content if (content.get("kind"), content.get("format")) == (KIND, FORMAT) else None
