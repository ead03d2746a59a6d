"""A folder of pictures, at any depth, a text file beside each: ``dog.jpg``, ``dog.txt``; a caption a line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from showtell.data.sources.source import Example, Problem, Source, is_picture, read_lines
from showtell.errors import DataError

LOOKS = "a folder of pictures with a .txt beside each, one caption a line"


def recognise(path: Path) -> bool:
    """Tell whether some picture in here has a text file beside it."""
    return any(_captions_of(file).is_file() for file in _files(path) if is_picture(file.name))


def read(path: Path) -> Source:
    """Read the folder; keys are paths relative to it."""
    files = list(_files(path))
    pictures = [file for file in files if is_picture(file.name)]
    problems: list[Problem] = []
    examples: list[Example] = []
    for picture in pictures:
        key = picture.relative_to(path).as_posix()
        texts = _captions_of(picture)
        if not texts.is_file():
            problems.append(Problem("no-captions", key, f"no {texts.name} beside it"))
            continue
        try:
            captions = tuple(line for line in read_lines(texts) if line.strip())
        except DataError as error:
            problems.append(Problem("unreadable-line", texts.relative_to(path).as_posix(), str(error)))
            continue
        examples.append(Example(key, picture, captions))
    wanted = {_captions_of(picture) for picture in pictures}
    for file in files:
        if file.suffix.lower() == ".txt" and file not in wanted:
            key = file.relative_to(path).as_posix()
            problems.append(Problem("captions-without-picture", key, "no picture of this name beside it"))
    return Source(examples, problems, "folder")


def _captions_of(picture: Path) -> Path:
    return picture.with_suffix(".txt")


def _files(path: Path) -> Iterator[Path]:
    """Yield files at any depth in a fixed order, hidden ones and macOS's shadow folder left out."""
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        yield from (Path(folder, name) for name in sorted(names) if not name.startswith("."))
