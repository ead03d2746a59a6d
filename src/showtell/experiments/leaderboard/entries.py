"""What a path on the command line means: a checkpoint, a run, or the seeds of a recipe, and what it says of itself.

Nothing is decoded here: whatever cannot be judged is told before anything that takes time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from showtell.checkpoints.checkpoint import read_config
from showtell.checkpoints.hub import DECODER, find_checkpoint
from showtell.config.generation import DecodingOptions, build_options
from showtell.data.prepared import PreparedSet
from showtell.errors import DataError
from showtell.experiments.seeds import KIND as SEEDS
from showtell.system.atomic import MANIFEST, read_json_lines, read_text
from showtell.system.console import note
from showtell.training.trainer_state import STATE


@dataclass(frozen=True)
class Model:
    """One captioner that is judged.

    Attributes:
        checkpoint: Its directory.
        config: All of its ``config.json``.
        seconds: Time of training; None where no run says it.
        finished: False for the best epoch so far of a training that has not come to its end.
    """

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
        """All that its captions depend on beside pictures and options: weights, words, encoder."""
        return {
            "files": self.config["files"],
            "decoder": self.config["decoder"],
            "encoder": self.config["encoder"]["identity"],
        }


@dataclass(frozen=True)
class LeaderboardEntry:
    """A row of the table before it is judged.

    Attributes:
        name: What it is called there.
        path: As it was given.
        members: One, or one for each seed.
    """

    name: str
    path: Path
    members: list[Model]

    @property
    def decoder(self) -> str:
        """The decoder's name."""
        return str(self.members[0].config["decoder"]["name"])

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The recipe it was trained by; empty where its checkpoint does not say."""
        return self.members[0].config.get("recipe") or {}

    def parameters(self) -> int:
        """Return the decoder's number of weights."""
        with safe_open(self.members[0].checkpoint / DECODER, framework="np") as file:
            return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118


def open_entry(path: Path, prepared: PreparedSet, *, other_data: bool) -> LeaderboardEntry:
    """Return what a path means.

    Args:
        path: A checkpoint, a run, the directory of ``showtell train --seeds``, or ``OWNER/NAME`` on the hub.
        prepared: The set that is judged on.
        other_data: Take captioners of other sets as well.

    Raises:
        CheckpointError: there is no captioner, or it is broken.
        DataError: it was trained on another set, or no seed has a captioner yet.
    """
    place = find_checkpoint(path)
    seeds = _seeds_in(place)
    if seeds == []:
        raise DataError(
            f"{path} cannot be judged", found="no seed with a best/", mend="Let showtell train --seeds go on"
        )
    members = [open_member(one) for one in (seeds or [place])]
    for member in members:
        if not other_data:
            _check_data(member, prepared)
    return LeaderboardEntry(_name_of(path), path, members)


def distinct_names(entries: list[LeaderboardEntry]) -> dict[Path, str]:
    """Return what each entry is called: its last name, or its whole path where two have the same."""
    names = [entry.name for entry in entries]
    return {
        entry.path: entry.name if names.count(entry.name) == 1 else entry.path.as_posix() for entry in entries
    }


def _name_of(path: Path) -> str:
    """Return the last part of a path, with the run's where that is ``best`` or ``last``."""
    whole = path if path.name not in {"", ".."} else path.resolve()
    return f"{whole.parent.name}/{whole.name}" if whole.name in {"best", "last"} else whole.name


def _seeds_in(place: Path) -> list[Path] | None:
    """Return the runs of a directory of seeds, by seed; None for anything else."""
    manifest = place / MANIFEST
    if not manifest.is_file() or json.loads(read_text(manifest)).get("kind") != SEEDS:
        return None
    runs = sorted(place.glob("seed-*"), key=lambda run: (len(run.name), run.name))
    for run in runs:
        if not (run / "best").is_dir():
            note(f"{run} is left out: it has no best/ yet")
    return [run for run in runs if (run / "best").is_dir()]


def open_member(place: Path) -> Model:
    """Return what a run or a checkpoint says of itself.

    Raises:
        CheckpointError: there is no captioner, or it is broken.
    """
    checkpoint, config = read_config(place)
    trained = [
        row for row in read_json_lines(place / "metrics.jsonl", may_be_cut=True) if row["kind"] == "epoch"
    ]
    state = place / "last" / STATE
    finished = not state.is_file() or bool(json.loads(read_text(state))["progress"]["finished"])
    return Model(checkpoint, config, trained[-1]["seconds"] if trained else None, finished)


def _check_data(member: Model, prepared: PreparedSet) -> None:
    data = member.config.get("data")
    if not data:
        raise DataError(
            f"{member.checkpoint} cannot stand in this table",
            found="a checkpoint that does not say what it was trained on",
            mend="Name one that showtell train made, or allow it with --other-data",
        )
    if data["fingerprint"] != prepared.fingerprint:
        raise DataError(
            f"{member.checkpoint} was trained on another set than {prepared.directory}",
            found=f"{data['name']}, {data['fingerprint'][:12]}",
            expected=prepared.fingerprint[:12],
            mend="Name the set it was trained on, or allow others with --other-data",
        )
