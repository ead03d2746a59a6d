"""Text files of a caption a line after the name of its image, with or without lists of names per split.

    1000268201_693b08cb0e.jpg#zhc#0 <CAPTION>        Flickr8k-CN, with flickr8ktrain.txt etc. (names without .jpg)
    COCO_val2014_000000217153#0<TAB><CAPTION>        COCO-CN
    ROCO_00002<TAB><CAPTION>                         ROCO, a captions.txt in a folder per split
    <CAPTION>                                        train_caps.txt with names in train_filename.txt (RSITMD)

If there are lists, they define the dataset. Names may lack the suffix of the image.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from showtell.data.sources.base import SPLIT_NAMES, Problem, Source, parse_records
from showtell.data.sources.files import filled_lines, first_line, is_image, read_lines
from showtell.data.sources.locate import (
    find_files,
    image_index,
    locate,
    names_on_disk,
    one_set,
    set_root,
    split_of,
)
from showtell.data.sources.table import Row, group_rows
from showtell.errors import DataError

LAYOUT = "a text file of lines NAME#NUMBER CAPTION or NAME<TAB>CAPTION, or a folder with it and the images"
MISSING = "no text file of lines NAME#NUMBER CAPTION"
TEXTS = (".txt", ".token")
NUMBERED = re.compile(r"(?P<image>[^\t]*?\S)(?:#[A-Za-z]+)?#\d+(?:[ \t]+(?P<caption>.*))?")
TABBED = re.compile(r"(?P<image>[^\t]+)\t+(?P<caption>.*)")
LIST = re.compile("train|val|dev|test")
DEPTH = 3


def _names_beside(file: Path) -> Path | None:
    """Return the file of the names for a file of captions alone, a line each."""
    names = file.with_name(file.name.replace("_caps.txt", "_filename.txt"))
    return names if names != file and names.is_file() else None


def find(path: Path, *, forced: bool) -> list[Path]:
    if path.is_file():
        return [path] if forced or _matches(path, path) else []
    return list(find_files(path, TEXTS, lambda file: _matches(file, path), depth=DEPTH))


def read(path: Path, files: list[Path], images: Path | None = None) -> Source:
    root, problems, notes = set_root(path), list[Problem](), list[str]()
    # ROCO has keywords and other codes in tables of the same form.
    files = one_set([file for file in files if "caption" in file.name.lower()] or files, root, by_name=True)
    folder = images or root
    captioned = (row for file in files for row in _rows(file, split_of(file, root), problems))
    splits = _splits(files, problems)
    rows = _listed(captioned, splits, notes) if splits else captioned
    source = locate(group_rows(rows, folder, problems), files[0], folder)
    source.notes += notes
    return source


def _matches(file: Path, path: Path) -> bool | None:
    """Return True for a file of captions by image name: one that is given, or whose first image is in the dataset."""
    if _names_beside(file):
        return True
    line = first_line(file)
    is_numbered = NUMBERED.fullmatch(line)
    match = is_numbered or TABBED.fullmatch(line)
    if not match:
        return None
    if (is_numbered and path == file) or is_image(match["image"]):
        return True
    index = image_index(set_root(path))
    return index.find(names_on_disk(match["image"].strip(), unique=False)).is_file() or None


def _rows(file: Path, split: str, problems: list[Problem]) -> Iterator[Row]:
    names = _names_beside(file)
    if names:
        return _paired_rows(file, names, split)

    def parse(line: str) -> Row:
        match = NUMBERED.fullmatch(line) or TABBED.fullmatch(line)
        if match is None:
            raise ValueError(f"'{line[:60]}' is not NAME#NUMBER CAPTION or NAME<TAB>CAPTION")
        return Row(match["image"].strip(), (match["caption"] or "",), split)

    return parse_records(filled_lines(file), parse, problems)


def _paired_rows(file: Path, names: Path, split: str) -> Iterator[Row]:
    """Yield the rows of a file of captions, the same number for each line of the file of names."""
    # A blank last line is no name.
    images = "\n".join(read_lines(names)).rstrip().split("\n")
    per_image, rest = divmod(sum(1 for _ in read_lines(file)), len(images))
    if rest or not per_image or images == [""]:
        expected, mend = f"one or more lines for each in {names.name}", "Download both files again"
        raise DataError(f"cannot read {file}", expected=expected, mend=mend)
    for number, caption in enumerate(read_lines(file)):
        yield Row(images[number // per_image].strip(), (caption,), split)


def _splits(files: list[Path], problems: list[Problem]) -> dict[str, str]:
    """Return the split of each name (without suffix) in the lists beside the captions, train before dev and test."""
    order = tuple(dict.fromkeys(SPLIT_NAMES.values()))
    lists: list[tuple[str, Path]] = []
    others = {*files, *map(_names_beside, files)}
    for folder in dict.fromkeys(file.parent for file in files):
        for file in sorted(folder.glob("*.txt")):
            word = LIST.search(file.name.lower())
            if word and file not in others and len(first_line(file).split()) == 1:
                lists.append((SPLIT_NAMES[word[0]], file))
    if not lists:
        return {}
    captioned = {_stem(row.image) for file in files for row in _rows(file, "", [])}
    splits: dict[str, str] = {}
    named = {file: [_stem(line.strip()) for _, line in filled_lines(file)] for _, file in lists}
    for split, file in sorted(lists, key=lambda entry: order.index(entry[0])):
        names = named[file]
        if captioned.isdisjoint(names) or _is_union(file, named):
            continue
        for name in names:
            if name in splits:
                kind, detail = ("listed-twice", f"twice in {file.name}")
                if splits[name] != split:
                    kind, detail = "two-splits", f"in {splits[name]} and in {split}; kept in {split}"
                problems.append(Problem(kind, name, detail))
            splits[name] = split
    return splits


def _is_union(file: Path, named: dict[Path, list[str]]) -> bool:
    """Return whether a list has exactly the names of two or more others, as trainval.txt does."""
    names = set(named[file])
    parts = [set(others) for other, others in named.items() if other != file and names.issuperset(others)]
    return len(parts) > 1 and set().union(*parts) == names and all(part < names for part in parts)


def _listed(rows: Iterator[Row], splits: dict[str, str], notes: list[str]) -> Iterator[Row]:
    """Yield the rows of listed images, then those of listed images without captions; the others are counted."""
    found, unlisted = set[str](), set[str]()
    for row in rows:
        name = _stem(row.image)
        if name in splits:
            found.add(name)
            yield replace(row, split=splits[name])
        else:
            unlisted.add(name)
    yield from (Row(name, (), split) for name, split in splits.items() if name not in found)
    if unlisted:
        notes.append(f"{len(unlisted):,} images are in no split list and were left out")


def _stem(name: str) -> str:
    return name.rpartition(".")[0] if is_image(name) else name
