"""The captioners behind a path of the command line: a checkpoint, a run, seeds of a recipe, or a file of captions.

Nothing is decoded here: captioners that cannot be evaluated are refused before anything that takes time.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from showtell.checkpoints.config import read_config
from showtell.checkpoints.hub import DECODER, find_checkpoint
from showtell.config.generation import DecodingOptions, build_options
from showtell.data.prepared import PreparedSet
from showtell.errors import DataError
from showtell.experiments.seeds import KIND as SEEDS
from showtell.experiments.seeds import read_progress
from showtell.metrics.score_files import read_captions
from showtell.system.atomic import MANIFEST, with_file_name
from showtell.system.console import note
from showtell.system.reading import foreign_values, read_json_lines, read_json_object


@dataclass(frozen=True)
class Model:
    """One captioner; ``seconds`` of training are None if no run has them, ``finished`` is False before its end."""

    checkpoint: Path
    config: Mapping[str, Any]
    seconds: float | None
    finished: bool

    @property
    def generation(self) -> DecodingOptions:
        """How it decodes."""
        return build_options(**self.config["generation"])

    @property
    def identity(self) -> dict[str, Any]:
        """All that its captions depend on besides images and options: weights, vocabulary, encoder."""
        return {
            "files": self.config["files"],
            "decoder": self.config["decoder"],
            "encoder": self.config["encoder"]["identity"],
        }


@dataclass(frozen=True)
class LeaderboardEntry:
    """The captioners of a row, one or one for each seed, with their name in the table and their path as given.

    A file of captions by any captioner has no models, but ``captions`` by image id.
    """

    name: str
    path: Path
    models: list[Model]
    captions: Mapping[str, str] | None = None

    @property
    def config(self) -> Mapping[str, Any]:
        """The ``config.json`` of the first one; empty for a file of captions."""
        return self.models[0].config if self.models else {}

    def num_parameters(self) -> int:
        """Return the decoder's number of weights; 0 for a file of captions."""
        if not self.models:
            return 0
        with safe_open(self.models[0].checkpoint / DECODER, framework="np") as file:
            return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118


def open_entry(path: Path, prepared: PreparedSet, *, allow_other_dataset: bool) -> LeaderboardEntry:
    """Return the captioners of a checkpoint, a run, seeds or a name on the hub, or the captions of a file.

    Raises:
        DataError: no seed has a ``best/``, the file has several captions of an image, or, without
            ``allow_other_dataset``, a captioner was trained on another set.
        CheckpointError: a captioner cannot be read.
    """
    if path.is_file():
        return LeaderboardEntry(path.stem, path, [], _read_candidates(path))
    checkpoint = find_checkpoint(path)
    seeds = _find_seeds(checkpoint)
    if seeds == []:
        raise DataError(
            f"{path} cannot be evaluated",
            found="no seed with a best/",
            mend="Run showtell train --seeds again to resume it",
        )
    models = [open_model(one) for one in seeds or [checkpoint]]
    if not allow_other_dataset:
        for model in models:
            _check_data(model, prepared)
    return LeaderboardEntry(_name(path), path, models)


def _read_candidates(path: Path) -> dict[str, str]:
    candidates: dict[str, str] = {}
    for key, texts in read_captions(path):
        if key in candidates or len(texts) != 1:
            raise DataError(
                f"{path} cannot be compared",
                found=f"{len(texts) + (key in candidates)} captions of {key}",
                expected="one caption for each image",
                mend="Keep one caption of each, for example the best one",
            )
        candidates[key] = texts[0]
    return candidates


def distinct_names(entries: list[LeaderboardEntry]) -> dict[Path, str]:
    """Return each entry's name in the table, or its whole path where two have the same name."""
    uses = Counter(entry.name for entry in entries)
    return {entry.path: entry.name if uses[entry.name] == 1 else entry.path.as_posix() for entry in entries}


def open_model(place: Path) -> Model:
    """Return the captioner of a run or a checkpoint."""
    checkpoint, config = read_config(place)
    rows = read_json_lines(place / "metrics.jsonl", may_be_cut=True)
    with foreign_values(place / "metrics.jsonl"):
        seconds = [float(row["elapsed_s"]) for row in rows if row.get("event") == "epoch"]
    finished = read_progress(place).get("finished", True)
    return Model(checkpoint, config, seconds[-1] if seconds else None, finished)


def _name(path: Path) -> str:
    """Return the last part of a path, with the run's before ``best`` or ``last``."""
    whole = with_file_name(path)
    return f"{whole.parent.name}/{whole.name}" if whole.name in {"best", "last"} else whole.name


def _find_seeds(directory: Path) -> list[Path] | None:
    """Return the runs of a directory of seeds, by seed; None for anything else."""
    manifest = directory / MANIFEST
    if not manifest.is_file() or read_json_object(manifest).get("kind") != SEEDS:
        return None
    runs = sorted(directory.glob("seed-*"), key=lambda run: (len(run.name), run.name))
    for run in runs:
        if not (run / "best").is_dir():
            note(f"{run} is left out: it has no best/ yet")
    return [run for run in runs if (run / "best").is_dir()]


def _check_data(model: Model, prepared: PreparedSet) -> None:
    data = model.config.get("data")
    if not data:
        raise DataError(
            f"{model.checkpoint} cannot be compared",
            found="a checkpoint that does not name the set it was trained on",
            mend="Name one that showtell train wrote, or allow it with --allow-other-dataset",
        )
    if data.get("fingerprint") != prepared.fingerprint:
        raise DataError(
            f"{model.checkpoint} was trained on another set than {prepared.directory}",
            found=f"{data.get('name')}, {str(data.get('fingerprint'))[:12]}",
            expected=prepared.fingerprint[:12],
            mend="Name the set it was trained on, or allow others with --allow-other-dataset",
        )
