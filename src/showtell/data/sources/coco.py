"""COCO captions as published: ``annotations/captions_train2017.json`` beside ``train2017/``, and so for ``val2017``.

    {"images": [{"id": 9, "file_name": "000000000009.jpg", ...}], "annotations": [{"image_id": 9, "caption": "..."}]}

Any year will do. The validation pictures are the dev split. Keys name the folder too (``val2017/NAME``), since a set
in this form may have the same name in both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from showtell.data.sources.base import Example, Problem, Source, spilled_examples
from showtell.errors import DataError
from showtell.system.json_stream import read_arrays

LOOKS = "a folder with annotations/captions_train2017.json and train2017/, or of another year or split"
FILE = re.compile(r"captions_((?:train|val|test)\d{4})\.json")


def matches(path: Path) -> bool:
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
    examples = spilled_examples()
    problems: list[Problem] = []
    for folder, file in files.items():
        annotations = _Annotations(file.name, problems)
        if not read_arrays(file, {"images": annotations.add_image, "annotations": annotations.add_caption}):
            raise DataError(
                f"{file} does not hold captions as COCO publishes them",
                expected="an object with the lists 'images' and 'annotations'",
                mend="Give the annotation file, not a result file",
            )
        for example in annotations.examples(path / folder, folder[:-4]):
            examples.add(example)
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


class _Annotations:
    """What one annotation file says: names and captions by picture, in whichever order they stand."""

    def __init__(self, name: str, problems: list[Problem]) -> None:
        self._name, self._problems = name, problems
        self._names: dict[Any, str] = {}
        self._captions: dict[Any, list[str]] = {}

    def add_image(self, number: int, image: Any) -> None:
        try:
            self._names[image["id"]] = str(image["file_name"])
        except (TypeError, KeyError):
            self._tell(f"images[{number}]", "an image without id and file_name")

    def add_caption(self, number: int, annotation: Any) -> None:
        try:
            captions, caption = self._captions.setdefault(annotation["image_id"], []), annotation["caption"]
        except (TypeError, KeyError):
            self._tell(f"annotations[{number}]", "an annotation without image_id and caption")
            return
        if isinstance(caption, str):
            captions.append(caption)
        else:
            detail = f"a caption that is {type(caption).__name__}, not text"
            self._tell(f"annotations[{number}]", detail)

    def examples(self, folder: Path, split: str) -> Iterator[Example]:
        """Yield the examples; what has been handed over is no longer held here."""
        for picture, name in self._names.items():
            captions = tuple(self._captions.pop(picture, ()))
            yield Example(f"{folder.name}/{name}", folder / name, captions, split)
        for picture, texts in self._captions.items():
            detail = f"{len(texts)} captions of an image_id that stands in no image"
            self._problems.append(Problem("captions-without-picture", f"{self._name}: {picture}", detail))

    def _tell(self, where: str, detail: str) -> None:
        self._problems.append(Problem("unreadable-line", f"{self._name}: {where}", detail))
