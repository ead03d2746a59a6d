"""COCO captions as published: ``annotations/captions_train2017.json`` beside ``train2017/``, likewise ``val2017``.

    {"images": [{"id": 9, "file_name": "000000000009.jpg", ...}], "annotations": [{"image_id": 9, "caption": "..."}]}

Any year is accepted. The validation images are the dev split. Keys include the folder (``val2017/NAME``), since both
folders may contain the same name.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from showtell.data.sources.base import Example, Problem, Source, examples_on_disk, not_a
from showtell.errors import DataError
from showtell.system.json_stream import read_array

LAYOUT = "a folder with annotations/captions_train2017.json and train2017/, or of another year or split"
FILE = re.compile(r"captions_((?:train|val|test)\d{4})\.json")


def matches(path: Path) -> bool:
    """Return whether the folder has caption annotations."""
    return bool(_files(path))


def read(path: Path) -> Source:
    """Read all annotation files."""
    files = _files(path)
    if not files:
        raise not_a("coco", path, "no annotations/captions_*.json", LAYOUT)
    examples = examples_on_disk()
    problems: list[Problem] = []
    for folder, file in files.items():
        for example in _read_file(file, path / folder, problems):
            examples.add(example)
    return Source(examples, problems, "coco")


def _files(path: Path) -> dict[str, Path]:
    """Return the annotation files by image folder, train before val."""
    found: dict[str, Path] = {}
    for place in (path / "annotations", path):
        if place.is_dir():
            for file in sorted(place.iterdir()):
                match = FILE.fullmatch(file.name)
                if match and file.is_file():
                    found.setdefault(match[1], file)
    return found


def _read_file(file: Path, folder: Path, problems: list[Problem]) -> Iterator[Example]:
    names: dict[Any, str] = {}
    captions: dict[Any, list[str]] = {}

    def unreadable(where: str, detail: str) -> None:
        problems.append(Problem("unreadable-line", f"{file.name}: {where}", detail))

    number = -1
    for number, image in enumerate(read_array(file, "images")):
        try:
            names[image["id"]] = str(image["file_name"])
        except (TypeError, KeyError):
            unreadable(f"images[{number}]", "an image without id and file_name")
    annotation_number = -1
    for annotation_number, annotation in enumerate(read_array(file, "annotations")):
        where = f"annotations[{annotation_number}]"
        try:
            texts, caption = captions.setdefault(annotation["image_id"], []), annotation["caption"]
        except (TypeError, KeyError):
            unreadable(where, "an annotation without image_id and caption")
            continue
        if isinstance(caption, str):
            texts.append(caption)
        else:
            unreadable(where, f"a caption of type {type(caption).__name__}, not text")
    if number < 0 and annotation_number < 0:
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
