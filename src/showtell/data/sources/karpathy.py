"""Karpathy's splits: ``dataset_coco.json``, ``dataset_flickr8k.json`` and ``dataset_flickr30k.json``.

    {"dataset": "coco", "images": [{"filepath": "val2014", "filename": "COCO_val2014_000000391895.jpg", "imgid": 0,
      "split": "test", "cocoid": 391895, "sentids": [...], "sentences": [{"raw": "A man ...", "tokens": [...]}]}]}

The images come from elsewhere under many names; COCO's have other names in the folders of 2017. ``restval``, the rest
of COCO's validation images, counts as train, as is usual.
"""

from pathlib import Path
from typing import Any

from showtell.data.sources.base import Example, Problem, Source, examples_on_disk
from showtell.data.sources.files import FLICKR8K_FOLDERS, FLICKR30K_FOLDERS, ImageIndex, files_named
from showtell.errors import DataError
from showtell.system.json_stream import read_array

LAYOUT = (
    "dataset_coco.json, dataset_flickr8k.json or dataset_flickr30k.json, or a folder with it and the images"
)
FILES = tuple(f"dataset_{name}.json" for name in ("coco", "flickr8k", "flickr30k"))
MISSING = f"none of {', '.join(FILES)}"
TEXT_FOLDERS = (".", "caption_datasets", "karpathy", "annotations")
IMAGE_FOLDERS = tuple(
    dict.fromkeys((".", "images", "coco", "coco/images", *FLICKR30K_FOLDERS, *FLICKR8K_FOLDERS))
)


def find(path: Path, *, forced: bool) -> list[Path]:
    names = [f"{folder}/{name}" for folder in TEXT_FOLDERS for name in FILES]
    return files_named(path, names, forced=forced)


def read(path: Path, files: list[Path]) -> Source:
    """Read the file; of several in a folder, the one whose images exist."""
    sources = {file: _read_file(file, path) for file in files}
    complete = {file: source for file, (source, found) in sources.items() if found}
    if len(complete) > 1:
        names = ", ".join(file.name for file in complete)
        raise DataError(f"{path} contains several datasets", found=names, mend="Give the file itself")
    for source in complete.values():
        return source
    file, (source, _) = next(iter(sources.items()))
    wanted = next((example.key for example in source.examples), "images")
    raise DataError(
        f"no image of {file} exists",
        expected=f"{wanted} beside it, or in one of the folders {', '.join(IMAGE_FOLDERS[1:])}",
        mend="Unpack the images there, or link their folder",
    )


def _read_file(file: Path, path: Path) -> tuple[Source, int]:
    """Return the dataset of a file, and how many of its images exist."""
    roots = dict.fromkeys((file.parent, path if path.is_dir() else file.parent.parent))
    index = ImageIndex(root / folder for folder in IMAGE_FOLDERS for root in roots)
    problems: list[Problem] = []
    examples = examples_on_disk()
    number = -1
    for number, image in enumerate(read_array(file, "images")):
        try:
            key = "/".join([*([image["filepath"]] if "filepath" in image else []), image["filename"]])
            captions = tuple(_caption(sentence) for sentence in image["sentences"])
            split = str(image["split"])
            names = _names(key, image)
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            detail = f"an image without filename, split and sentences ({type(error).__name__}: {error})"
            problems.append(Problem("unreadable-line", f"{file.name}: images[{number}]", detail))
            continue
        examples.add(Example(key, index.find(names), captions, split))
    if number < 0:
        raise DataError(
            f"{file} does not contain captions in Karpathy's format",
            expected="an object with the list 'images'",
            mend="Give dataset_coco.json or a similar file, or pass another --format",
        )
    return Source(examples, problems), index.found


def _caption(sentence: Any) -> str:
    if not isinstance(sentence["raw"], str):
        raise ValueError("a sentence whose raw is not text")
    return sentence["raw"]


def _names(key: str, image: Any) -> list[str]:
    """Return the names that an image may have in its folder."""
    names = [key]
    if "cocoid" in image:
        names += [f"{folder}/{int(image['cocoid']):012d}.jpg" for folder in ("train2017", "val2017")]
    return [*names, image["filename"]]
