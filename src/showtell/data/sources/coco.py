"""COCO captions as published: ``annotations/captions_train2017.json`` beside ``train2017/``, likewise ``val2017``.

    {"images": [{"id": 9, "file_name": "000000000009.jpg", ...}], "annotations": [{"image_id": 9, "caption": "..."}]}

Any year is accepted. The validation images are the dev split. Keys include the folder (``val2017/NAME``), since both
folders may contain the same name.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from showtell.data.sources.base import Example, Problem, Source, examples_on_disk
from showtell.errors import DataError
from showtell.system.json_stream import read_array

LAYOUT = "a folder with annotations/captions_train2017.json and train2017/, or of another year or split"
MISSING = "no annotations/captions_*.json"
FILE = re.compile(r"captions_((?:train|val|test)\d{4})\.json")


def find(path: Path, *, forced: bool) -> list[Path]:
    """Return the annotation files, train before val."""
    found: dict[str, Path] = {}
    for folder in (path / "annotations", path):
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            if FILE.fullmatch(file.name) and file.is_file():
                found.setdefault(file.name, file)
    return list(found.values())


def read(path: Path, files: list[Path]) -> Source:
    problems: list[Problem] = []
    examples = examples_on_disk()
    for file in files:
        for example in _read_file(file, path / FILE.sub(r"\1", file.name), problems):
            examples.add(example)
    return Source(examples, problems)


def _read_file(file: Path, folder: Path, problems: list[Problem]) -> Iterator[Example]:
    names: dict[Any, str] = {}
    captions: dict[Any, list[str]] = {}

    def add_image(image: Any) -> None:
        names[image["id"]] = str(image["file_name"])

    def add_caption(annotation: Any) -> None:
        texts, caption = captions.setdefault(annotation["image_id"], []), annotation["caption"]
        if not isinstance(caption, str):
            raise ValueError(f"a caption of type {type(caption).__name__}, not text")
        texts.append(caption)

    is_empty = True
    for array, add, malformed in (
        ("images", add_image, "an image without id and file_name"),
        ("annotations", add_caption, "an annotation without image_id and caption"),
    ):
        for number, entry in enumerate(read_array(file, array)):
            is_empty = False
            try:
                add(entry)
            except (TypeError, KeyError, ValueError) as error:
                detail = str(error) if isinstance(error, ValueError) else malformed
                problems.append(Problem("unreadable-line", f"{file.name}: {array}[{number}]", detail))
    if is_empty:
        raise DataError(
            f"{file} does not contain captions in COCO's format",
            expected="an object with the lists 'images' and 'annotations'",
            mend="Use the annotation file, not a result file",
        )
    split = folder.name[:-4]
    for identity, name in names.items():
        # Captions are released as they are used.
        yield Example(f"{folder.name}/{name}", folder / name, tuple(captions.pop(identity, ())), split)
    for identity, texts in captions.items():
        detail = f"{len(texts)} captions of an image_id without image"
        problems.append(Problem("captions-without-image", f"{file.name}: {identity}", detail))
