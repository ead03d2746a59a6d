"""A folder of images, at any depth, each beside a text file: ``dog.jpg``, ``dog.txt``; one caption per line."""

from pathlib import Path

from showtell.data.sources.base import Example, Problem, Source, examples_on_disk
from showtell.data.sources.files import files_below, is_image, read_lines
from showtell.errors import DataError
from showtell.system.disk_store import text_list

LAYOUT = "a folder of images, each beside a .txt with one caption per line"
MISSING = "no folder"


def find(path: Path, *, forced: bool) -> list[Path]:
    if not path.is_dir():
        return []
    images = (file for file in files_below(path) if is_image(file.name))
    return [path] if forced or any(image.with_suffix(".txt").is_file() for image in images) else []


def read(path: Path, files: list[Path]) -> Source:
    problems: list[Problem] = []
    examples, expected = examples_on_disk(), text_list()
    for image in filter(lambda file: is_image(file.name), files_below(path)):
        key = image.relative_to(path).as_posix()
        texts = image.with_suffix(".txt")
        expected.add(str(texts))
        if not texts.is_file():
            problems.append(Problem("no-captions", key, f"no {texts.name} beside it"))
            continue
        try:
            captions = tuple(line for line in read_lines(texts) if line.strip())
        except DataError as error:
            problems.append(Problem("unreadable-line", texts.relative_to(path).as_posix(), str(error)))
            continue
        examples.add(Example(key, image, captions))
    for file in files_below(path):
        if file.suffix.lower() == ".txt" and expected.find(str(file)) is None:
            key = file.relative_to(path).as_posix()
            problems.append(Problem("captions-without-image", key, "no image of this name beside it"))
    return Source(examples, problems)
