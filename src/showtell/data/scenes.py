"""Drawn scenes: a synthetic captioned set with known truth.

Two or three objects with a color, a kind, a size and a place are in the nine cells of a 3 x 3 board. Three in ten
pairs of objects ("red ring" with "blue star") never occur in training: two in ten are held out for the test split,
one for the development split. Every development and test image shows at least one pair held out for its split, so a
network that memorizes scenes or sentences fails.
"""

import hashlib
import json
import math
import random
from dataclasses import asdict
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from showtell.data.scene_captions import COLORS, KINDS, SIZES, Scene, SceneObject, write_captions
from showtell.errors import DataError
from showtell.system.atomic import atomic_directory, read_manifest, write_manifest, write_text
from showtell.system.console import progress_bar

SIZE_PX = 96
CELL_PX = SIZE_PX // 3
THREE_OBJECTS = 0.2  # fraction of scenes with three objects; the others have two
OVERSAMPLING = 3  # drawn larger by this factor, then averaged down: smooth edges

_RGB = {
    "red": (214, 45, 48),
    "orange": (243, 132, 24),
    "yellow": (242, 208, 36),
    "green": (50, 158, 72),
    "blue": (44, 98, 214),
    "purple": (140, 64, 184),
}
_RADIUS_PX = {"small": (9.0, 10.0), "large": (14.0, 15.0)}
_TURN = 2 * math.pi
# The corners of a kind: angles (0 up, clockwise, in radians) and fractions of the radius.
_OUTLINES = {
    "square": [(_TURN * (corner + 0.5) / 4, 1.1) for corner in range(4)],
    "triangle": [(_TURN * corner / 3, 1.12) for corner in range(3)],
    "star": [(_TURN * corner / 10, 1.15 if corner % 2 == 0 else 0.46) for corner in range(10)],
}
_KIND, _FORMAT = "set of drawn scenes", 2


def pair_split(first: str, second: str) -> str:
    """Return the split for which a pair of objects ("red ring", "blue star") is held out, else train."""
    digest = hashlib.sha256(" with ".join(sorted((first, second))).encode()).digest()
    return ("test", "test", "dev", *["train"] * 7)[digest[0] % 10]


def held_out(scene: Scene, split: str) -> list[str]:
    """Return the pairs of objects in this scene that are held out for a split, in words."""
    pairs = combinations(sorted(item.name for item in scene.objects), 2)
    return [f"{first} with {second}" for first, second in pairs if pair_split(first, second) == split]


def make_scene(key: str, split: str, generator: random.Random) -> Scene:
    """Make a random scene: training scenes have no held-out pair, others at least one of their own split."""
    # Drawn before any scene is rejected, so that scenes of three are as frequent in all splits.
    count = 3 if generator.random() < THREE_OBJECTS else 2
    while True:
        scene = Scene(key, _objects(count, generator))
        if all(bool(held_out(scene, other)) == (other == split) for other in ("dev", "test")):
            return scene


def _objects(count: int, generator: random.Random) -> tuple[SceneObject, ...]:
    names = generator.sample([(color, kind) for color in COLORS for kind in KINDS], count)
    return tuple(
        SceneObject(kind, color, generator.choice(SIZES), cell // 3, cell % 3)
        for (color, kind), cell in zip(names, _cells(count, generator), strict=True)
    )


def _cells(count: int, generator: random.Random) -> list[int]:
    """Choose cells in reading order; in half of the scenes the first and last are in one row: no relation is rare."""
    cells = sorted(generator.sample(range(9), count))
    is_beside = generator.random() < 0.5
    return cells if is_beside == (cells[0] // 3 == cells[-1] // 3) else _cells(count, generator)


def draw(scene: Scene, generator: random.Random) -> Image.Image:
    """Draw a scene, RGB 96 x 96, antialiased, with small variations of background, position, size, tilt and tint."""
    image = _background(generator).resize((SIZE_PX * OVERSAMPLING,) * 2, Image.Resampling.BILINEAR)
    pen = ImageDraw.Draw(image)
    for item in scene.objects:
        radius = generator.uniform(*_RADIUS_PX[item.size])
        slack = CELL_PX / 2 - radius
        x = (item.column + 0.5) * CELL_PX + generator.uniform(-slack, slack)
        y = (item.row + 0.5) * CELL_PX + generator.uniform(-slack, slack)
        tint = tuple(min(255, max(0, value + generator.randint(-14, 14))) for value in _RGB[item.color])
        tilt = math.radians(generator.uniform(-12, 12))
        if item.kind in _OUTLINES:
            corners = [
                (
                    (x + length * radius * math.sin(angle + tilt)) * OVERSAMPLING,
                    (y - length * radius * math.cos(angle + tilt)) * OVERSAMPLING,
                )
                for angle, length in _OUTLINES[item.kind]
            ]
            pen.polygon(corners, fill=tint)
            continue
        middle_x, middle_y, reach = x * OVERSAMPLING, y * OVERSAMPLING, radius * OVERSAMPLING
        box = (middle_x - reach, middle_y - reach, middle_x + reach, middle_y + reach)
        if item.kind == "circle":
            pen.ellipse(box, fill=tint)
        else:
            pen.ellipse(box, outline=tint, width=round(0.32 * reach))
    return image.resize((SIZE_PX, SIZE_PX), Image.Resampling.BOX)


def _background(generator: random.Random) -> Image.Image:
    """Return a pale gradient between two tints, RGB 2 x 2 pixels, to be upscaled."""
    corners = [[generator.randint(218, 250) for _ in range(3)] for _ in range(2)]
    mixed = [(np.array(corners[0]) + corners[1]) / 2] * 2
    rows = [corners[0], *mixed, corners[1]]
    return Image.fromarray(np.array(rows, dtype=np.uint8).reshape(2, 2, 3))


def draw_scenes(directory: Path, *, train: int, dev: int, test: int, seed: int) -> dict[str, Scene]:
    """Draw a captioned set and return its scenes by key; the same numbers and seed give the same bytes.

    Writes ``pictures/KEY.png``, ``captions.jsonl`` (image, caption, split; five rows per image, for ``showtell
    prepare``), ``scenes.json`` (the truth) and ``manifest.json``; an existing set of drawn scenes is replaced.

    Raises:
        DataError: the directory contains something else, or cannot be written.
    """
    if directory.is_dir() and any(directory.iterdir()):
        read_manifest(directory, _KIND, _FORMAT, outdated="Delete it, or choose another directory")
    elif directory.exists() and not directory.is_dir():
        raise DataError(f"cannot draw scenes into {directory}", found="a file", expected="a directory")
    counts = {"train": train, "dev": dev, "test": test}
    keys = [(split, f"{split}-{number:05d}") for split, count in counts.items() for number in range(count)]
    scenes, rows = {}, []
    with (
        atomic_directory(directory) as temporary,
        progress_bar("drawing", len(keys), unit="scenes") as advance,
    ):
        (temporary / "pictures").mkdir()
        for split, key in keys:
            generator = random.Random(f"{seed} {key}")
            scenes[key] = make_scene(key, split, generator)
            draw(scenes[key], generator).save(temporary / "pictures" / f"{key}.png")
            row = {"image": f"pictures/{key}.png", "split": split}
            rows += [row | {"caption": caption} for caption in write_captions(scenes[key], generator)]
            advance(1, "")
        write_text(temporary / "captions.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        write_text(temporary / "scenes.json", json.dumps([asdict(scene) for scene in scenes.values()]) + "\n")
        write_manifest(temporary, _KIND, _FORMAT, {"seed": seed, "images": counts})
    return scenes
