"""Karpathy's splits: ``dataset_coco.json``, ``dataset_flickr8k.json`` and ``dataset_flickr30k.json``.

    {"dataset": "coco", "images": [{"filepath": "val2014", "filename": "COCO_val2014_000000391895.jpg", "imgid": 0,
      "split": "test", "cocoid": 391895, "sentids": [...], "sentences": [{"raw": "A man ...", "tokens": [...]}]}]}

The pictures come from elsewhere and lie under many names; COCO's have other ones in the folders of 2017. ``restval``,
what Karpathy left of COCO's validation pictures, counts as train (as everybody has it).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from showtell.data.sources.base import Example, Problem, Source, spilled_examples
from showtell.data.sources.image_index import FLICKR8K_FOLDERS, FLICKR30K_FOLDERS, ImageIndex
from showtell.errors import DataError
from showtell.system.json_stream import read_arrays

LOOKS = (
    "dataset_coco.json, dataset_flickr8k.json or dataset_flickr30k.json, or a folder with it and the pictures"
)
FILES = tuple(f"dataset_{name}.json" for name in ("coco", "flickr8k", "flickr30k"))
TEXT_FOLDERS = (".", "caption_datasets", "karpathy", "annotations")
PICTURE_FOLDERS = tuple(
    dict.fromkeys((".", "images", "coco", "coco/images", *FLICKR30K_FOLDERS, *FLICKR8K_FOLDERS))
)


def matches(path: Path) -> bool:
    """Tell whether this is one of the three files, or a folder with one."""
    return bool(_files(path))


def read(path: Path) -> Source:
    """Read the file; of several in a folder, the one whose pictures are there.

    Raises:
        DataError: there is none, it is another file, or none of its pictures is there.
    """
    files = [path] if path.is_file() else _files(path)
    if not files:
        found = f"none of {', '.join(FILES)}"
        raise DataError(f"cannot read {path} as karpathy", found=found, expected=LOOKS, mend="Check the path")
    read_here = {file: _read_file(file, path) for file in files}
    complete = {file: source for file, (source, found) in read_here.items() if found}
    if len(complete) > 1:
        names = ", ".join(file.name for file in complete)
        raise DataError(f"{path} holds several sets", found=names, mend="Name the file that is meant")
    for source in complete.values():
        return source
    file, (source, _) = next(iter(read_here.items()))
    wanted = next((example.key for example in source.examples), "pictures")
    raise DataError(
        f"no picture of {file} is there",
        expected=f"{wanted} beside it, or in one of the folders {', '.join(PICTURE_FOLDERS[1:])}",
        mend="Unpack the pictures there, or link their folder",
    )


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.name in FILES else []
    places = (path / folder / name for folder in TEXT_FOLDERS for name in FILES)
    return [place for place in places if place.is_file()]


def _read_file(file: Path, path: Path) -> tuple[Source, int]:
    """Return what a file says, and how many of its pictures are there."""
    roots = dict.fromkeys((file.parent, path if path.is_dir() else file.parent.parent))
    finder = ImageIndex(root / folder for folder in PICTURE_FOLDERS for root in roots)
    examples = spilled_examples()
    problems: list[Problem] = []

    def add(number: int, image: Any) -> None:
        try:
            key = "/".join([*([image["filepath"]] if "filepath" in image else []), image["filename"]])
            captions = tuple(_caption(sentence) for sentence in image["sentences"])
            split = str(image["split"])
            names = _names(key, image)
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            detail = f"an image without filename, split and sentences ({type(error).__name__}: {error})"
            problems.append(Problem("unreadable-line", f"{file.name}: images[{number}]", detail))
            return
        examples.add(Example(key, finder.find(names), captions, split))

    if not read_arrays(file, {"images": add}):
        raise DataError(
            f"{file} does not hold captions as Karpathy publishes them",
            expected="an object with the list 'images'",
            mend="Give dataset_coco.json or one of its like, or name another --format",
        )
    return Source(examples, problems, "karpathy"), finder.found


def _caption(sentence: Any) -> str:
    if not isinstance(sentence["raw"], str):
        raise ValueError("a sentence whose raw is no text")
    return sentence["raw"]


def _names(key: str, image: Any) -> list[str]:
    """Return under which names a picture may lie in its folder."""
    names = [key]
    if "cocoid" in image:
        names += [f"{folder}/{int(image['cocoid']):012d}.jpg" for folder in ("train2017", "val2017")]
    return [*names, image["filename"]]
