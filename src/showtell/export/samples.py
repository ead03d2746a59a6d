"""Images for comparison and calibration: from folders, from a prepared set, or drawn."""

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
from showtell.images.listing import list_images
from showtell.images.preprocess import load_and_preprocess, preprocess_image
from showtell.system.atomic import MANIFEST
from showtell.system.console import note


@dataclass(frozen=True)
class Samples:
    """Preprocessed images."""

    images: npt.NDArray[np.uint8]  # [P, S, S, 3]
    names: list[str]  # for messages
    synthetic: bool = False  # drawn scenes


def draw_samples(count: int, preprocessing: Preprocessing) -> Samples:
    """Draw scenes, the same at each call."""
    images = []
    for number in range(count):
        generator = random.Random(f"export {number}")
        scene = np.asarray(draw(make_scene(str(number), "train", generator), generator))
        images.append(preprocess_image(scene, preprocessing))
    return Samples(np.stack(images), [f"drawn scene {number}" for number in range(count)], synthetic=True)


def read_samples(paths: Sequence[Path], count: int, preprocessing: Preprocessing, *, split: str) -> Samples:
    """Read at most ``count`` images, evenly spaced over all of them; problems are printed.

    The paths are images, folders of images, or prepared sets, of which one split is read.

    Raises:
        DataError: no image, or none that can be read.
    """
    found: list[Path] = []
    problems: list[str] = []
    for path in paths:
        if (path / MANIFEST).is_file():
            prepared = PreparedSet.load(path)
            found += [prepared.image_path(int(row)) for row in prepared.split_rows(split)]
        else:
            listed, unreadable = list_images([path], recursive=True)
            found += listed
            problems += unreadable
    indices = np.unique(np.linspace(0, len(found) - 1, min(count, len(found))).round().astype(int))
    images, names = [], []
    for index in indices:
        try:
            images.append(load_and_preprocess(found[index], preprocessing))
            names.append(str(found[index]))
        except ImageError as error:
            problems.append(str(error))
    for problem in problems:
        note(problem)
    if not images:
        raise DataError(
            "there are no images to compare or calibrate with",
            found="; ".join(problems[:3]) or "nothing",
            expected=f"images under {', '.join(map(str, paths))}",
        )
    return Samples(np.stack(images), names)
