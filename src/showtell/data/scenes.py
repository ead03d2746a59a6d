"""Drawn scenes: a captioned set made out of nothing, whose truth is known.

Two or three objects with a colour, a kind, a size and a place stand in the nine cells of a 3 x 3 board. Three in ten
pairs of objects ("red ring" with "blue star") never meet in training: two in ten are kept for the test split, one for
the development split. Every development and every test picture shows at least one pair kept for its own split, so a
network that has merely learned whole scenes or sentences by heart fails.
"""

from __future__ import annotations

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

from showtell.data.scene_captions import COLOURS, KINDS, SIZES, Scene, SceneObject, write_captions
from showtell.errors import DataError
from showtell.system.atomic import atomic_directory, read_manifest, write_manifest, write_text
from showtell.system.console import progress

SIZE_PX = 96
CELL_PX = SIZE_PX // 3
SHARE_OF_THREE = 0.2  # of scenes with three objects; the others have two
OVERSAMPLING = 3  # drawn this many times larger, then averaged down: smooth edges

_RGB = {
    "red": (214, 45, 48),
    "orange": (243, 132, 24),
    "yellow": (242, 208, 36),
    "green": (50, 158, 72),
    "blue": (44, 98, 214),
    "purple": (140, 64, 184),
}
_RADIUS_PX = {"small": (9.0, 10.0), "large": (14.0, 15.0)}
_KIND, _FORMAT = "set of drawn scenes", 1


def kept_for(first: str, second: str) -> str:
    """Return the split that a pair of objects ("red ring", "blue star") is kept for; train where for none."""
    digest = hashlib.sha256(" with ".join(sorted((first, second))).encode()).digest()
    return ("test", "test", "dev", *["train"] * 7)[digest[0] % 10]


def held_out(scene: Scene, split: str) -> list[str]:
    """Return the pairs of objects in this scene that are kept for a split, in words."""
    pairs = combinations(sorted(thing.name for thing in scene.objects), 2)
    return [f"{first} with {second}" for first, second in pairs if kept_for(first, second) == split]


def make_scene(key: str, split: str, generator: random.Random) -> Scene:
    """Make up a scene: training scenes hold no kept pair, others at least one of their own split's."""
    # Decided before any scene is refused, so that all splits have the same share of three.
    count = 3 if generator.random() < SHARE_OF_THREE else 2
    while True:
        scene = Scene(key, _objects(count, generator))
        if all(bool(held_out(scene, kept)) == (kept == split) for kept in ("dev", "test")):
            return scene


def _objects(count: int, generator: random.Random) -> tuple[SceneObject, ...]:
    names = generator.sample([(colour, kind) for colour in COLOURS for kind in KINDS], count)
    return tuple(
        SceneObject(kind, colour, generator.choice(SIZES), cell // 3, cell % 3)
        for (colour, kind), cell in zip(names, _cells(count, generator), strict=True)
    )


def _cells(count: int, generator: random.Random) -> list[int]:
    """Choose cells in reading order; half of the time first and last share a row, so that no relation is rare."""
    cells = sorted(generator.sample(range(9), count))
    is_beside = generator.random() < 0.5
    return cells if is_beside == (cells[0] // 3 == cells[-1] // 3) else _cells(count, generator)


def draw(scene: Scene, generator: random.Random) -> Image.Image:
    """Draw a scene, RGB 96 x 96: smooth edges; background, place, size, tilt and tint vary a little."""
    picture = _background(generator).resize((SIZE_PX * OVERSAMPLING,) * 2, Image.Resampling.BILINEAR)
    pen = ImageDraw.Draw(picture)
    for thing in scene.objects:
        radius = generator.uniform(*_RADIUS_PX[thing.size])
        slack = CELL_PX / 2 - radius
        x = (thing.column + 0.5) * CELL_PX + generator.uniform(-slack, slack)
        y = (thing.row + 0.5) * CELL_PX + generator.uniform(-slack, slack)
        tint = tuple(min(255, max(0, value + generator.randint(-14, 14))) for value in _RGB[thing.colour])
        tilt = math.radians(generator.uniform(-12, 12))
        _draw_kind(pen, thing.kind, centre=(x, y), radius=radius, tilt=tilt, tint=tint)
    return picture.resize((SIZE_PX, SIZE_PX), Image.Resampling.BOX)


def _background(generator: random.Random) -> Image.Image:
    """Return a pale gradient between two tints, RGB 2 x 2 pixels, to be enlarged."""
    corners = [[generator.randint(218, 250) for _ in range(3)] for _ in range(2)]
    mixed = [(np.array(corners[0]) + corners[1]) / 2] * 2
    rows = [corners[0], *mixed, corners[1]]
    return Image.fromarray(np.array(rows, dtype=np.uint8).reshape(2, 2, 3))


def _draw_kind(
    pen: ImageDraw.ImageDraw,
    kind: str,
    *,
    centre: tuple[float, float],
    radius: float,
    tilt: float,
    tint: tuple[int, ...],
) -> None:
    def place(angle: float, share: float) -> tuple[float, float]:
        """Return the point at an angle (0 up, clockwise) and a share of the radius, on the large canvas."""
        x = centre[0] + share * radius * math.sin(angle + tilt)
        y = centre[1] - share * radius * math.cos(angle + tilt)
        return x * OVERSAMPLING, y * OVERSAMPLING

    if kind in ("circle", "ring"):
        middle, reach = place(0.0, 0.0), radius * OVERSAMPLING
        box = (middle[0] - reach, middle[1] - reach, middle[0] + reach, middle[1] + reach)
        if kind == "circle":
            pen.ellipse(box, fill=tint)
        else:
            pen.ellipse(box, outline=tint, width=round(0.32 * reach))
        return
    pen.polygon([place(angle, share) for angle, share in _outline(kind)], fill=tint)


def _outline(kind: str) -> list[tuple[float, float]]:
    """Return a kind's corners as (angle from up in radians, share of the radius)."""
    turn = 2 * math.pi
    if kind == "square":
        return [(turn * (corner + 0.5) / 4, 1.1) for corner in range(4)]
    if kind == "triangle":
        return [(turn * corner / 3, 1.12) for corner in range(3)]
    return [(turn * corner / 10, 1.15 if corner % 2 == 0 else 0.46) for corner in range(10)]  # the star


def draw_scenes(directory: Path, *, train: int, dev: int, test: int, seed: int) -> list[Scene]:
    """Draw a captioned set; the same numbers and seed give the same bytes.

    Writes ``pictures/KEY.png``, ``captions.jsonl`` (image, caption, split; five rows a picture, readable by
    ``showtell prepare``), ``scenes.json`` (the truth) and ``manifest.json``.

    Args:
        directory: Where to; made, or replaced where it holds drawn scenes.
        train: How many training pictures.
        dev: How many development pictures.
        test: How many test pictures.
        seed: Decides everything.

    Returns:
        All scenes, in the order train, dev, test.

    Raises:
        DataError: the directory holds something else, or cannot be written.
    """
    _check_ours(directory)
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
        write_manifest(place, _KIND, _FORMAT, {"seed": seed, "pictures": counts})
    return scenes


def load_scenes(directory: Path) -> dict[str, Scene]:
    """Return the truth about the drawn scenes of a directory, by key.

    Raises:
        DataError: the directory does not hold drawn scenes, or broken ones.
    """
    read_manifest(directory, _KIND, _FORMAT)
    path = directory / "scenes.json"
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        scenes = [Scene(row["key"], tuple(SceneObject(**thing) for thing in row["objects"])) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"cannot read {path}", found=str(error), mend="Draw the scenes again") from error
    return {scene.key: scene for scene in scenes}


def _keys(counts: dict[str, int]) -> Iterator[tuple[str, str]]:
    for split, count in counts.items():
        for number in range(count):
            yield split, f"{split}-{number:05d}"


def _check_ours(directory: Path) -> None:
    if directory.is_dir() and any(directory.iterdir()):
        read_manifest(directory, _KIND, _FORMAT)
    elif directory.exists() and not directory.is_dir():
        raise DataError(f"cannot draw scenes into {directory}", found="a file", expected="a directory")
