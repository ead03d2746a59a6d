"""COCO captions as published: ``annotations/captions_train2017.json`` beside ``train2017/``, and so for ``val2017``.

    {"images": [{"id": 9, "file_name": "000000000009.jpg", ...}], "annotations": [{"image_id": 9, "caption": "..."}]}

Any year will do. The validation pictures are the dev split. Keys name the folder too (``val2017/NAME``), since a set
in this form may have the same name in both.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from showtell.data.sources.source import Example, Problem, Source
from showtell.errors import DataError
from showtell.files import read_text

LOOKS = "a folder with annotations/captions_train2017.json and train2017/, or of another year or split"
FILE = re.compile(r"captions_((?:train|val|test)\d{4})\.json")


def recognise(path: Path) -> bool:
    """Tell whether there are annotation files of captions."""
    return bool(_files(path))


def read(path: Path) -> Source:
    """Read every annotation file that is there.

    Raises:
        DataError: there is none, or one is not as COCO publishes it.
    """
    files = _files(path)
    if not files:
        raise DataError(
            f"cannot read {path} as coco",
            found="no annotations/captions_*.json",
            expected=LOOKS,
            mend="Check the path",
        )
    examples: list[Example] = []
    problems: list[Problem] = []
    for folder, file in files.items():
        _read_file(file, path / folder, folder[:-4], examples, problems)
    return Source(examples, problems, "coco")


def _files(path: Path) -> dict[str, Path]:
    """Return the annotation files by the folder of their pictures, train before val."""
    found: dict[str, Path] = {}
    for place in (path / "annotations", path):
        if place.is_dir():
            for file in sorted(place.iterdir()):
                match = FILE.fullmatch(file.name)
                if match and file.is_file():
                    found.setdefault(match[1], file)
    return found


def _read_file(
    file: Path, folder: Path, split: str, examples: list[Example], problems: list[Problem]
) -> None:
    content = _load(file)
    names: dict[Any, str] = {}
    captions: dict[Any, list[str]] = {}
    for number, image in enumerate(content["images"]):
        try:
            names[image["id"]] = str(image["file_name"])
        except (TypeError, KeyError):
            detail = "an image without id and file_name"
            problems.append(Problem("unreadable-line", f"{file.name}: images[{number}]", detail))
    for number, annotation in enumerate(content["annotations"]):
        try:
            picture, caption = annotation["image_id"], annotation["caption"]
            captions.setdefault(picture, [])
        except (TypeError, KeyError):
            detail = "an annotation without image_id and caption"
            problems.append(Problem("unreadable-line", f"{file.name}: annotations[{number}]", detail))
            continue
        if not isinstance(caption, str):
            detail = f"a caption that is {type(caption).__name__}, not text"
            problems.append(Problem("unreadable-line", f"{file.name}: annotations[{number}]", detail))
            continue
        captions[picture].append(caption)
    for picture, texts in captions.items():
        if picture not in names:
            detail = f"{len(texts)} captions of an image_id that stands in no image"
            problems.append(Problem("captions-without-picture", f"{file.name}: {picture}", detail))
    examples += [
        Example(f"{folder.name}/{name}", folder / name, tuple(captions.get(picture, ())), split)
        for picture, name in names.items()
    ]


def _load(file: Path) -> dict[str, list[Any]]:
    try:
        content = json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise DataError(f"{file} is not JSON", found=str(error), mend="Download it again") from error
    if not isinstance(content, dict) or not all(
        isinstance(content.get(name), list) for name in ("images", "annotations")
    ):
        raise DataError(
            f"{file} does not hold captions as COCO publishes them",
            expected="an object with the lists 'images' and 'annotations'",
            mend="Give the annotation file, not a result file",
        )
    return content
