"""Flickr8k as on Kaggle: ``captions.txt`` (CSV, header image,caption) and ``Images/``; no split."""

from pathlib import Path

from showtell.data.sources import csv_table
from showtell.data.sources.base import Problem, Source, is_image
from showtell.data.sources.image_index import find_images

LAYOUT = "a folder with captions.txt (image,caption) and Images/"
TABLE = "captions.txt"
IMAGE_FOLDERS = ("Images", "images")


def matches(path: Path) -> bool:
    """Return whether table and folder exist."""
    return (path / TABLE).is_file() and any((path / folder).is_dir() for folder in IMAGE_FOLDERS)


def read(path: Path) -> Source:
    """Read the dataset; images that the table does not mention are problems."""
    images = find_images(path, IMAGE_FOLDERS)
    source = csv_table.read_table(path / TABLE, root=images, name="flickr8k-kaggle")
    known = {example.key for example in source.examples}
    for name in sorted(file.name for file in images.iterdir()):
        if is_image(name) and name not in known:
            source.problems.append(Problem("no-captions", name, f"not in {TABLE}"))
    return source
