"""Flickr8k as Kaggle has it: ``captions.txt`` (CSV, header image,caption) and ``Images/``; no split."""

from __future__ import annotations

from pathlib import Path

from showtell.data.sources import csv_table
from showtell.data.sources.base import Problem, Source, is_image
from showtell.data.sources.image_index import find_images

LOOKS = "a folder with captions.txt (image,caption) and Images/"
TABLE = "captions.txt"
PICTURE_FOLDERS = ("Images", "images")


def matches(path: Path) -> bool:
    """Tell whether table and folder are here."""
    return (path / TABLE).is_file() and any((path / folder).is_dir() for folder in PICTURE_FOLDERS)


def read(path: Path) -> Source:
    """Read the set; pictures that the table does not mention are problems.

    Raises:
        DataError: the table or the folder of photographs is missing.
    """
    pictures = find_images(path, PICTURE_FOLDERS)
    source = csv_table.read_table(path / TABLE, root=pictures, name="flickr8k-kaggle")
    known = {example.key for example in source.examples}
    for name in sorted(file.name for file in pictures.iterdir()):
        if is_image(name) and name not in known:
            source.problems.append(Problem("no-captions", name, f"not in {TABLE}"))
    return source
