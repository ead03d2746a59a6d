"""Captions and METEOR counts cached on disk, so that making the table again takes seconds.

A file's name is a hash of all that its content depends on, and the file holds these values in full: a checkpoint that
changed has other weights, hence another name, and is decoded again.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from showtell.data.prepared import PreparedSet
from showtell.errors import DataError
from showtell.experiments.leaderboard.entries import Model, open_model
from showtell.metrics.meteor import VERSION, MeteorScorer
from showtell.metrics.ngrams import Floats
from showtell.system.atomic import write_summed_json
from showtell.system.console import note
from showtell.system.reading import read_json_object, sha256_json
from showtell.training.predictions import load_evaluation
from showtell.version import __version__

KIND, FORMAT = "showtell evaluation", 2


class EvaluationCache:
    """A folder of captions and of METEOR counts, created with the first file; itself a `MeteorScorer`."""

    def __init__(self, folder: Path, meteor: MeteorScorer | None) -> None:
        self._folder, self._meteor = folder, meteor

    def captions(
        self, model: Model, prepared: PreparedSet, split: str, decode: Callable[[], Sequence[str]]
    ) -> dict[str, str]:
        """Return a captioner's captions of a whole split by image key; ``decode`` makes them unless they are known.

        Raises:
            DataError: the captioner changed while it was decoded.
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

        captions: dict[str, str] = self._get("captions", inputs, compute)["captions"]
        return captions

    def counts(
        self, references: Sequence[Sequence[Sequence[str]]], candidates: Sequence[Sequence[str]]
    ) -> Floats:
        """Return METEOR's counts as `MeteorScorer.counts` does."""
        meteor = self._meteor
        assert meteor is not None
        texts = {"references": sha256_json(references), "candidates": sha256_json(candidates)}

        def compute() -> dict[str, Any]:
            return {"counts": meteor.counts(references, candidates).tolist()}

        return np.array(self._get("meteor-counts", {"metric": VERSION, **texts}, compute)["counts"], float)

    def _get(
        self, prefix: str, inputs: Mapping[str, Any], compute: Callable[[], Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Return what is cached for ``inputs`` (all that the content depends on), or compute and cache it."""
        path = self._folder / f"{prefix}-{sha256_json(inputs)[:16]}.json"
        expected = {"kind": KIND, "format": FORMAT, "inputs": dict(inputs)}
        try:
            found = read_json_object(path) if path.exists() else {}
        except DataError as error:
            note(f"{path} is written again: {error}")
            found = {}
        if found | expected != found:
            found = {**expected, **compute()}
            write_summed_json(path, found)
        return found
