"""A folder of pictures, at any depth, a text file beside each: ``dog.jpg``, ``dog.txt``; a caption a line."""

from __future__ import annotations

from pathlib import Path

from showtell.data.sources.base import Example, Problem, Source, is_image, read_lines, spilled_examples
from showtell.data.sources.image_index import files_below
from showtell.errors import DataError
from showtell.system.disk_store import text_list

LOOKS = "a folder of pictures with a .txt beside each, one caption a line"


def matches(path: Path) -> bool:
    """Tell whether some picture in here has a text file beside it."""
    return any(_captions_of(file).is_file() for file in files_below(path) if is_image(file.name))


def read(path: Path) -> Source:
    """Read the folder; keys are paths relative to it."""
    problems: list[Problem] = []
    examples, wanted = spilled_examples(), text_list()
    for picture in filter(lambda file: is_image(file.name), files_below(path)):
        key = picture.relative_to(path).as_posix()
        texts = _captions_of(picture)
        wanted.add(str(texts))
        if not texts.is_file():
            problems.append(Problem("no-captions", key, f"no {texts.name} beside it"))
            continue
        try:
            captions = tuple(line for line in read_lines(texts) if line.strip())
        except DataError as error:
            problems.append(Problem("unreadable-line", texts.relative_to(path).as_posix(), str(error)))
            continue
        examples.add(Example(key, picture, captions))
    for file in files_below(path):
        if file.suffix.lower() == ".txt" and wanted.find(str(file)) is None:
            key = file.relative_to(path).as_posix()
            problems.append(Problem("captions-without-picture", key, "no picture of this name beside it"))
    return Source(examples, problems, "folder")


def _captions_of(picture: Path) -> Path:
    return picture.with_suffix(".txt")
