"""Karpathy's form of captions, under any name: of COCO, Flickr8k and Flickr30k, of RSICD, RSITMD, UCM and Sydney.

    {"dataset": "coco", "images": [{"filepath": "val2014", "filename": "COCO_val2014_000000391895.jpg", "imgid": 0,
      "split": "test", "cocoid": 391895, "sentids": [...], "sentences": [{"raw": "A man ...", "tokens": [...]}]}]}

The images come from elsewhere under many names; COCO's have other names in the folders of 2017. ``restval``, the rest
of COCO's validation images, counts as train, as is usual.
"""

from pathlib import Path
from typing import Any

from showtell.data.sources.base import Example, Problem, Source, examples_on_disk
from showtell.data.sources.locate import are_unique, find_files, image_index, no_image, set_root
from showtell.errors import DataError
from showtell.system.json_stream import first_element, id_text, outline, read_array

LAYOUT = "a JSON file with the list images (filename, split, sentences), or a folder with it and the images"
FILES = tuple(f"dataset_{name}.json" for name in ("coco", "flickr8k", "flickr30k"))
MISSING = (
    f"none of {', '.join(FILES)}, and no other JSON file with the list images (filename, split, sentences)"
)


def find(path: Path, *, forced: bool) -> list[Path]:
    if path.is_file():
        return [path] if forced or _matches(path) else []
    return list(find_files(path, ".json", _matches, depth=1))


def _matches(file: Path) -> bool | None:
    head = outline(file)
    image = head.get("images") or (first_element(file, "images") if head else None)
    is_known = isinstance(image, dict) and {"filename", "sentences"} <= image.keys()
    return True if is_known or file.name in FILES else None


def read(path: Path, files: list[Path], images: Path | None = None) -> Source:
    """Read the file; of several in a folder, the one whose images exist."""
    folder = images or set_root(path)
    sources = {file: _read_file(file, folder) for file in files}
    complete = {file: source for file, (source, found) in sources.items() if found}
    if len(complete) > 1:
        names = ", ".join(file.name for file in complete)
        raise DataError(f"{path} contains several datasets", found=names, mend="Give the file itself")
    for source in complete.values():
        return source
    file, (source, _) = next(iter(sources.items()))
    raise no_image(file, next((example.key for example in source.examples), "images"), folder)


def _read_file(file: Path, folder: Path, *, unique: bool = True) -> tuple[Source, int]:
    """Return the dataset of a file, and how many of its images exist below ``folder``.

    If file names are ``unique``, an image may be in another folder than the file gives.
    """
    index = image_index(folder)
    problems: list[Problem] = []
    examples = examples_on_disk()
    number = -1
    for number, image in enumerate(read_array(file, "images")):
        try:
            key = "/".join([*([image["filepath"]] if "filepath" in image else []), image["filename"]])
            captions = tuple(_caption(sentence) for sentence in image["sentences"])
            split = id_text(image.get("split")) or ""
            names = [*_names(key, image), *([image["filename"]] if unique else [])]
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            detail = f"an image without filename and sentences ({type(error).__name__}: {error})"
            problems.append(Problem("unreadable-line", f"{file.name}: images[{number}]", detail))
            continue
        examples.add(Example(key, index.find(names), captions, split))
    if number < 0:
        raise DataError(
            f"{file} does not contain captions in Karpathy's format",
            expected="an object with the list 'images'",
            mend="Give dataset_coco.json or a similar file, or pass another --format",
        )
    if not examples and problems:
        lines = [f"{problem.key}: {problem.detail}" for problem in problems[:3]]
        raise DataError(
            f"no image in {file} can be read", found=f"{number + 1:,} entries like these", lines=lines
        )
    if unique and not are_unique(example.key for example in examples):
        return _read_file(file, folder, unique=False)
    return Source(examples, problems, index.notes), index.num_found


def _caption(sentence: Any) -> str:
    """Return a sentence as it was written, else its tokens; a plain text is one."""
    if isinstance(sentence, str):
        return sentence
    caption = sentence["raw"] if "raw" in sentence else " ".join(sentence["tokens"])
    if not isinstance(caption, str):
        raise ValueError("a sentence whose raw is not text")
    return caption


def _names(key: str, image: Any) -> list[str]:
    """Return the names that an image may have in its folder."""
    names = [key]
    if "cocoid" in image:
        names += [f"{folder}/{int(image['cocoid']):012d}.jpg" for folder in ("train2017", "val2017")]
    return names
