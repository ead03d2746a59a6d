"""Pictures to compare with and to calibrate with: from folders, from a prepared set, or drawn."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from showtell.config.preprocessing import Preprocessing
from showtell.data.prepared import PreparedSet
from showtell.data.scenes import draw, make_scene
from showtell.errors import DataError, ImageError
from showtell.images.load import load_image
from showtell.images.preprocess import preprocess_image
from showtell.inference.predict import list_images
from showtell.system.atomic import MANIFEST
from showtell.system.console import note


@dataclass(frozen=True)
class Samples:
    """Pictures as an encoder sees them.

    Attributes:
        pictures: uint8 [P, S, S, 3].
        names: What each is called.
        drawn: They were drawn here.
    """

    pictures: npt.NDArray[np.uint8]
    names: list[str]
    drawn: bool = False


def draw_samples(count: int, preprocessing: Preprocessing) -> Samples:
    """Draw scenes, the same at each call."""
    pictures = []
    for number in range(count):
        generator = random.Random(f"export {number}")
        picture = np.asarray(draw(make_scene(str(number), "train", generator), generator))
        pictures.append(preprocess_image(picture, preprocessing))
    return Samples(np.stack(pictures), [f"drawn scene {number}" for number in range(count)], drawn=True)


def read_samples(paths: Sequence[Path], count: int, preprocessing: Preprocessing, *, split: str) -> Samples:
    """Read pictures, evenly spread over what is there.

    Args:
        paths: Pictures, folders of pictures, or prepared sets.
        count: Pictures at most.
        preprocessing: What the encoder wants to see.
        split: Of prepared sets.

    Raises:
        DataError: there are none, or none that can be read; those that cannot are told on stderr.
    """
    found: list[Path] = []
    problems: list[str] = []
    for path in paths:
        if (path / MANIFEST).is_file():
            prepared = PreparedSet.load(path)
            found += [prepared.image_path(int(row)) for row in prepared.split_rows(split)]
        else:
            listed, wrong = list_images([path], recursive=True)
            found += listed
            problems += wrong
    chosen = np.unique(np.linspace(0, len(found) - 1, min(count, len(found))).round().astype(int))
    pictures, names = [], []
    for place in chosen:
        try:
            pictures.append(preprocess_image(load_image(found[place]), preprocessing))
            names.append(str(found[place]))
        except ImageError as error:
            problems.append(str(error))
    for problem in problems:
        note(problem)
    if not pictures:
        raise DataError(
            "there are no pictures to compare or calibrate with",
            found="; ".join(problems[:3]) or "nothing",
            expected=f"pictures under {', '.join(map(str, paths))}",
        )
    return Samples(np.stack(pictures), names)
