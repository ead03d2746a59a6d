"""What a tracker is, and what several of them share: names of numbers, and the id a run has with a service."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import yaml

from showtell.system.atomic import read_text, write_json

IDS = "trackers.json"
PROJECT = "showtell"


class Tracker(Protocol):
    """Three methods that any tracker can offer.

    Attributes:
        takes_back: What lies beyond the step a run goes on from is removed at the start, so that the steps done
            again are wanted again. A service that only takes rows in is not told twice.
    """

    takes_back: bool

    def start(self, run: Path) -> None:
        """Begin, or go on with, the run in this directory."""
        ...

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Take the numbers of a step; ``values["kind"]`` is step, epoch or validation."""
        ...

    def finish(self, scores: Mapping[str, float] | None = None) -> None:
        """Write what is still held; ``scores`` are those of ``best/`` where the run came to its end."""
        ...


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a row under names that say its kind: ``validation/CIDEr-D``."""
    return {
        f"{values['kind']}/{name}": value
        for name, value in values.items()
        if isinstance(value, int | float) and name != "step"
    }


def read_options(run: Path) -> dict[str, Any]:
    """Return the run's resolved recipe."""
    return dict(yaml.safe_load(read_text(run / "recipe.yaml")))


def flatten(options: Any, path: str = "") -> dict[str, Any]:
    """Return nested options by dotted keys, as ``--set`` takes them: ``objective.0.epochs``."""
    if isinstance(options, dict):
        items: list[tuple[Any, Any]] = list(options.items())
    elif isinstance(options, list) and any(isinstance(part, dict | list) for part in options):
        items = list(enumerate(options))
    else:
        return {path: options}
    return {
        name: value
        for key, part in items
        for name, value in flatten(part, f"{path}.{key}" if path else str(key)).items()
    }


def read_id(run: Path, name: str) -> str | None:
    """Return the id that a run has with a service, or None where it has none yet."""
    return _read_ids(run).get(name)


def keep_id(run: Path, name: str, id_: str) -> None:
    """Keep a run's id with a service in its directory, so that going on continues the same run there."""
    write_json(run / IDS, {**_read_ids(run), name: id_})


def _read_ids(run: Path) -> dict[str, str]:
    path = run / IDS
    return dict(json.loads(read_text(path))) if path.exists() else {}
