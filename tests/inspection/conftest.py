"""A set of drawn photographs with planted faults."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from showtell.data.prepared import PreparedSet, prepare

Row = tuple[str, str, list[str]]


def draw(seed: int) -> Image.Image:
    """Return an image of soft shapes, 96 x 64 pixels: other seeds, other images."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((96, 64), Image.Resampling.BICUBIC)


@pytest.fixture
def make_set(tmp_path: Path) -> Callable[[list[Row], dict[str, Image.Image]], PreparedSet]:
    """Prepare a set of rows (name, split, captions), each with its image, or one drawn from its place."""

    def make(rows: list[Row], images: dict[str, Image.Image]) -> PreparedSet:
        folder = tmp_path / "source"
        folder.mkdir()
        for place, (name, _, _) in enumerate(rows):
            images.get(name, draw(place)).save(folder / name, "PNG")
        lines = [
            json.dumps({"image": name, "split": split, "captions": captions})
            for name, split, captions in rows
        ]
        (folder / "set.jsonl").write_text("\n".join(lines), encoding="utf-8")
        return prepare(folder / "set.jsonl", tmp_path / "set")

    return make
