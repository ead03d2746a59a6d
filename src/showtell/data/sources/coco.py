"""COCO's form of captions, under any name: of COCO, VizWiz-Captions, NoCaps, STAIR Captions and many others.

    {"images": [{"id": 9, "file_name": "000000000009.jpg", ...}], "annotations": [{"image_id": 9, "caption": "..."}]}

There is a file per split, as its name says (``val`` is the dev split); images are in any folder beside it. Keys
include the folder (``val2017/NAME``), since two folders may contain the same name. Ids are compared as text.
"""

import re
import reprlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from showtell.data.sources.base import Example, Problem, Source, examples_on_disk
from showtell.data.sources.files import ImageIndex
from showtell.data.sources.locate import (
    are_unique,
    find_files,
    image_index,
    names_on_disk,
    no_image,
    one_set,
    set_root,
    split_of,
)
from showtell.errors import DataError
from showtell.system.json_stream import first_element, id_text, outline, read_array

LAYOUT = (
    "a JSON file with the lists images (id, file_name) and annotations (image_id, caption), or a folder with one per "
    "split; images in folders beside them"
)
MISSING = "no JSON file with the lists images (id, file_name) and annotations (image_id, caption)"
PUBLISHED = re.compile(r"captions_(?:train|val|test)\d{4}\.json")
NAMES = ("file_name", "filename", "open_images_id")
CAPTIONS = ("caption", "captions", "tokenized_caption")
FLAGS = {"is_precanned": "precanned", "is_rejected": "rejected"}
"""VizWiz's marks of captions that do not describe the image."""


def find(path: Path, *, forced: bool) -> list[Path]:
    """Return the files in COCO's form, if one has captions."""
    if path.is_file():
        return [path] if forced or _has_captions(path) is not None else []
    found = find_files(path, ".json", _has_captions, depth=1)
    return list(found) if any(found.values()) else []


def read(path: Path, files: list[Path], images: Path | None = None) -> Source:
    root, examples = set_root(path), examples_on_disk()
    folder = images or root
    source, found = Source(examples, []), 0
    files = _published(files, source) or files
    # STAIR Captions come twice.
    tokenized = [file for file in files if "_tokenized" in file.name and _untokenized(file) in files]
    source.notes += [
        f"{file.name} was left out: {_untokenized(file).name} is the same text" for file in tokenized
    ]
    files = [file for file in files if file not in tokenized]
    one_set([file for file in files if _has_captions(file)], root)
    for file in files:
        index = image_index(folder, split=split_of(file, root), stem=file.stem)
        for example in _read_file(file, split_of(file, root), folder, index, source):
            examples.add(example)
        found += index.num_found
        source.notes += index.notes
    captioned = next((example for example in examples if example.captions), None)
    if captioned and not found:
        raise no_image(files[0], captioned.key, folder)
    if not (len(examples) or source.problems):
        found_notes, mend = "; ".join(source.notes), "Give a file with captions"
        raise DataError(f"{path} has no captions", found=found_notes, mend=mend)
    return source


def _published(files: list[Path], source: Source) -> list[Path]:
    """Return the files whose name COCO published, with a note of each other file of captions if there are some."""
    published: dict[str, Path] = {}
    for file in filter(lambda file: PUBLISHED.fullmatch(file.name), files):
        published.setdefault(file.name, file)
    others = [file for file in files if file not in published.values() and _has_captions(file)]
    source.notes += [f"{file} was left out beside files that COCO published" for file in others if published]
    return list(published.values())


def _untokenized(file: Path) -> Path:
    return file.with_name(file.name.replace("_tokenized", ""))


def _has_captions(file: Path) -> bool | None:
    """Return whether a file in COCO's form has captions; None: it is of another form, or has other annotations."""
    if PUBLISHED.fullmatch(file.name):
        return True
    head = outline(file)
    if not head:
        return None
    image, annotation = head.get("images") or first_element(file, "images"), head.get("annotations")
    if not isinstance(image, dict) or "sentences" in image:
        return None
    annotation = annotation or first_element(file, "annotations")
    if annotation is None:
        return False if "id" in image and any(name in image for name in NAMES) else None
    is_caption = isinstance(annotation, dict) and "image_id" in annotation
    return True if is_caption and any(name in annotation for name in CAPTIONS) else None


class _Entries:
    """The images and captions of a file by id."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.splits: dict[str, str] = {}  # of images that have their own
        self.captions: dict[str, list[str]] = {}
        self.clashes: dict[str, list[str]] = {}  # names of different images of one id
        self.flagged: set[str] = set()
        self.left_out = Counter[str]()

    def add_image(self, image: Any) -> None:
        named = image[next((name for name in NAMES if name in image), NAMES[0])]
        identity, name = _id(image["id"]), id_text(named)
        if split := id_text(image.get("split")):
            self.splits[identity] = split
        if name is None:
            raise ValueError(f"the file_name {reprlib.repr(named)} is not text")
        if self.names.setdefault(identity, name) != name:
            self.clashes.setdefault(identity, [self.names[identity]]).append(name)

    def add_caption(self, annotation: Any) -> None:
        identity = _id(annotation["image_id"])
        caption = annotation[next((name for name in CAPTIONS if name in annotation), CAPTIONS[0])]
        captions = caption if isinstance(caption, list) else [caption]
        odd = [text for text in captions if not isinstance(text, str)]
        if odd or not captions:
            raise ValueError(f"a caption of type {type((odd or [captions])[0]).__name__}, not text")
        has_flags = not FLAGS.keys().isdisjoint(annotation)
        flag = next((flag for flag in FLAGS if _is_true(annotation.get(flag))), None) if has_flags else None
        if flag:
            self.left_out[flag] += 1
            self.flagged.add(identity)
        else:
            self.captions.setdefault(identity, []).extend(captions)

    def match_names(self) -> None:
        """Move captions whose ``image_id`` is no id, but the name of an image or an id with other leading zeros."""
        if self.captions.keys() <= self.names.keys():
            return
        forms: dict[str, set[str]] = {}
        for identity, name in self.names.items():
            for form in {name, name.rpartition("/")[2], PurePosixPath(name).stem, identity.lstrip("0")}:
                forms.setdefault(form, set()).add(identity)
        for other in [identity for identity in self.captions if identity not in self.names]:
            found = forms.get(other) or forms.get(other.lstrip("0")) or ()
            if len(found) == 1:
                self.captions.setdefault(next(iter(found)), []).extend(self.captions.pop(other))

    def note(self, without: int) -> str:
        """Return how many captions were left out, and of how many images all."""
        counts = " and ".join(f"{count:,} {FLAGS[flag]}" for flag, count in self.left_out.items())
        return f"{counts} captions were left out" + (
            f", with {without:,} images that have no others" if without else ""
        )


def _read_file(file: Path, split: str, folder: Path, index: ImageIndex, source: Source) -> Iterator[Example]:
    """Yield the examples of a file, whose images are below ``folder``; problems and notes go to ``source``."""
    entries, numbers = _Entries(), dict[str, int]()
    arrays = {
        "images": (entries.add_image, "an image without id and file_name"),
        "annotations": (entries.add_caption, "an annotation without image_id and caption"),
    }

    def report(kind: str, key: object, detail: str) -> None:
        source.problems.append(Problem(kind, f"{file.name}: {key}", detail))

    for array, (add, malformed) in arrays.items():
        number = -1
        for number, entry in enumerate(read_array(file, array)):
            try:
                add(entry)
            except (TypeError, KeyError, ValueError) as error:
                detail = str(error) if isinstance(error, ValueError) else malformed
                report("unreadable-line", f"{array}[{number}]", detail)
        numbers[array] = number + 1
    if not any(numbers.values()):
        raise DataError(
            f"{file} does not contain captions in COCO's format",
            expected="an object with the lists 'images' and 'annotations'",
            mend="Use the annotation file, not a result file",
        )
    entries.match_names()
    names, captions = entries.names, entries.captions
    if not numbers["annotations"]:
        source.notes.append(f"{file.name}: {len(names):,} images without captions were left out")
        return
    for identity, same in entries.clashes.items():
        del names[identity]
        for name in same:
            report("unreadable-line", name, f"images of the same id {identity}: {', '.join(same)}")
    unique, without = are_unique(names.values()), entries.flagged - captions.keys()
    prefix = f"{folder}/"
    for identity, name in names.items():
        if identity not in without:
            # Captions are released as they are used.
            texts = tuple(captions.pop(identity, ()))
            image = index.find(names_on_disk(name, unique=unique))
            key = str(image).removeprefix(prefix)
            yield Example(key, image, texts, entries.splits.get(identity, split))
    for identity, group in captions.items():
        owner = "of several images" if identity in entries.clashes else "without image"
        report("captions-without-image", identity, f"{len(group)} captions of an image_id {owner}")
    if entries.left_out:
        source.notes.append(f"{file.name}: {entries.note(len(without))}")


def _is_true(flag: Any) -> bool:
    """Return whether a flag is set; some tools write it as text."""
    return flag.strip().lower() not in ("", "0", "false", "no") if isinstance(flag, str) else bool(flag)


def _id(value: Any) -> str:
    identity = id_text(value)
    if identity is None:
        raise ValueError(f"the id {reprlib.repr(value)} is neither text nor a whole number")
    return identity
