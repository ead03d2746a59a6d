"""Flickr8k as on Kaggle: ``captions.txt`` (CSV, header image,caption) and ``Images/``; no split."""

from pathlib import Path

from showtell.data.sources.base import Problem, Source
from showtell.data.sources.files import find_images, first_line, is_image, report_unmentioned
from showtell.data.sources.table import find_header, group_rows, read_csv

LAYOUT = "a folder with captions.txt (image,caption) and Images/"
TABLE = "captions.txt"
MISSING = f"no {TABLE}"
IMAGE_FOLDERS = ("Images", "images")


def find(path: Path, *, forced: bool) -> list[Path]:
    table = path / TABLE
    if not table.is_file():
        return []
    folders = (path / name for name in IMAGE_FOLDERS if (path / name).is_dir())
    has_images = any(is_image(file.name) for folder in folders for file in folder.iterdir())
    return [table] if forced or (has_images and find_header(first_line(table))) else []


def read(path: Path, files: list[Path]) -> Source:
    problems: list[Problem] = []
    images = find_images(path, IMAGE_FOLDERS)
    source = group_rows(read_csv(files[0], problems, TABLE), images, problems)
    report_unmentioned(sorted(images.iterdir()), images, source, f"not in {TABLE}")
    return source
