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
from collections.abc import Iterator
from dataclasses import asdict
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from showtell.data.scene_captions import COLORS, KINDS, SIZES, Scene, SceneObject, write_captions
from showtell.errors import DataError
from showtell.system.atomic import atomic_directory, read_manifest, write_manifest, write_text
from showtell.system.console import progress

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
_KIND, _FORMAT = "set of drawn scenes", 2
_REDRAW = "Draw the scenes again"


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
    """Draw a scene, RGB 96 x 96, antialiased, with small variations of background, place, size, tilt and tint."""
    image = _background(generator).resize((SIZE_PX * OVERSAMPLING,) * 2, Image.Resampling.BILINEAR)
    pen = ImageDraw.Draw(image)
    for item in scene.objects:
        radius = generator.uniform(*_RADIUS_PX[item.size])
        slack = CELL_PX / 2 - radius
        x = (item.column + 0.5) * CELL_PX + generator.uniform(-slack, slack)
        y = (item.row + 0.5) * CELL_PX + generator.uniform(-slack, slack)
        tint = tuple(min(255, max(0, value + generator.randint(-14, 14))) for value in _RGB[item.color])
        tilt = math.radians(generator.uniform(-12, 12))
        _draw_kind(pen, item.kind, center=(x, y), radius=radius, tilt=tilt, tint=tint)
    return image.resize((SIZE_PX, SIZE_PX), Image.Resampling.BOX)


def _background(generator: random.Random) -> Image.Image:
    """Return a pale gradient between two tints, RGB 2 x 2 pixels, to be upscaled."""
    corners = [[generator.randint(218, 250) for _ in range(3)] for _ in range(2)]
    mixed = [(np.array(corners[0]) + corners[1]) / 2] * 2
    rows = [corners[0], *mixed, corners[1]]
    return Image.fromarray(np.array(rows, dtype=np.uint8).reshape(2, 2, 3))


def _draw_kind(
    pen: ImageDraw.ImageDraw,
    kind: str,
    *,
    center: tuple[float, float],
    radius: float,
    tilt: float,
    tint: tuple[int, ...],
) -> None:
    def place(angle: float, length: float) -> tuple[float, float]:
        """Return the point at an angle (0 up, clockwise) and a fraction of the radius, on the large canvas."""
        x = center[0] + length * radius * math.sin(angle + tilt)
        y = center[1] - length * radius * math.cos(angle + tilt)
        return x * OVERSAMPLING, y * OVERSAMPLING

    if kind in ("circle", "ring"):
        middle, reach = place(0.0, 0.0), radius * OVERSAMPLING
        box = (middle[0] - reach, middle[1] - reach, middle[0] + reach, middle[1] + reach)
        if kind == "circle":
            pen.ellipse(box, fill=tint)
        else:
            pen.ellipse(box, outline=tint, width=round(0.32 * reach))
        return
    pen.polygon([place(angle, length) for angle, length in _outline(kind)], fill=tint)


def _outline(kind: str) -> list[tuple[float, float]]:
    """Return the corners of a kind as (angle from up in radians, fraction of the radius)."""
    turn = 2 * math.pi
    if kind == "square":
        return [(turn * (corner + 0.5) / 4, 1.1) for corner in range(4)]
    if kind == "triangle":
        return [(turn * corner / 3, 1.12) for corner in range(3)]
    return [(turn * corner / 10, 1.15 if corner % 2 == 0 else 0.46) for corner in range(10)]  # the star


def draw_scenes(directory: Path, *, train: int, dev: int, test: int, seed: int) -> list[Scene]:
    """Draw a captioned set; the same numbers and seed give the same bytes.

    Writes ``pictures/KEY.png``, ``captions.jsonl`` (image, caption, split; five rows per image, for ``showtell
    prepare``), ``scenes.json`` (the truth) and ``manifest.json``.

    Args:
        directory: Output; an existing set of drawn scenes is replaced.
        train: Number of training images.
        dev: Number of development images.
        test: Number of test images.
        seed: Seed of everything.

    Returns:
        All scenes, in the order train, dev, test.

    Raises:
        DataError: the directory contains something else, or cannot be written.
    """
    _check_replaceable(directory)
    counts = {"train": train, "dev": dev, "test": test}
    scenes, rows = [], []
    total = sum(counts.values())
    with atomic_directory(directory) as place, progress("drawing", total, unit="scenes") as advance:
        (place / "pictures").mkdir()
        for split, key in _keys(counts):
            generator = random.Random(f"{seed} {key}")
            scene = make_scene(key, split, generator)
            draw(scene, generator).save(place / "pictures" / f"{key}.png")
            scenes.append(scene)
            row = {"image": f"pictures/{key}.png", "split": split}
            rows += [row | {"caption": caption} for caption in write_captions(scene, generator)]
            advance(1, "")
        write_text(place / "captions.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        write_text(place / "scenes.json", json.dumps([asdict(scene) for scene in scenes]) + "\n")
        write_manifest(place, _KIND, _FORMAT, {"seed": seed, "images": counts})
    return scenes


def load_scenes(directory: Path) -> dict[str, Scene]:
    """Return the drawn scenes of a directory, by key.

    Raises:
        DataError: the directory has no drawn scenes, or they are broken or of an older format.
    """
    read_manifest(directory, _KIND, _FORMAT, outdated=_REDRAW)
    path = directory / "scenes.json"
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        scenes = [Scene(row["key"], tuple(SceneObject(**item) for item in row["objects"])) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"cannot read {path}", found=str(error), mend=_REDRAW) from error
    return {scene.key: scene for scene in scenes}


def _keys(counts: dict[str, int]) -> Iterator[tuple[str, str]]:
    for split, count in counts.items():
        for number in range(count):
            yield split, f"{split}-{number:05d}"


def _check_replaceable(directory: Path) -> None:
    if directory.is_dir() and any(directory.iterdir()):
        read_manifest(directory, _KIND, _FORMAT, outdated="Delete it, or choose another directory")
    elif directory.exists() and not directory.is_dir():
        raise DataError(f"cannot draw scenes into {directory}", found="a file", expected="a directory")
