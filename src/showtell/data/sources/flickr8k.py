"""Flickr8k as published: ``Flickr8k.token.txt``, split lists, and an image folder.

    1000268201_693b08cb0e.jpg#0<TAB>A child in a pink dress is climbing up a set of stairs in an entry way .

The split lists define the dataset; images in no list are left out. In copies of the dataset their names have folders
or no suffix, the list of the dev split is called ``val``, or a space is in place of the tab. The token file has
captions of ``2258277193_586949ec62.jpg.1``, an image that does not exist, which is reported as a problem.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from showtell.data.sources.base import SPLIT_NAMES, Example, Problem, Source, parse_records
from showtell.data.sources.files import FLICKR8K_FOLDERS, filled_lines, find_images, is_image
from showtell.data.sources.table import Row, group_rows

LAYOUT = "a folder with Flickr8k.token.txt, Flickr_8k.trainImages.txt and Flicker8k_Dataset/"
TOKENS = "Flickr8k.token.txt"
MISSING = f"no {TOKENS}"
LISTS = re.compile(r"Flickr_?8k\.(?P<split>[a-z]+)Images\.txt", re.IGNORECASE)
LINE = re.compile(r"(?P<image>[^\t]*?\S)#\d+[ \t]+(?P<caption>.*)")


def find(path: Path, *, forced: bool) -> list[Path]:
    tokens = (path / name for name in (TOKENS, f"Flickr8k_text/{TOKENS}"))
    return [file for file in tokens if file.is_file()]


def read(path: Path, files: list[Path]) -> Source:
    problems: list[Problem] = []
    images = find_images(path, FLICKR8K_FOLDERS)
    source = group_rows(read_tokens(files[0], problems), images, problems)
    captions = {example.key: example.captions for example in source.examples}
    on_disk = {file.name for file in images.iterdir() if is_image(file.name)}
    splits = _splits(files[0].parent, (*captions, *on_disk), problems)
    if not splits:
        return source
    source.examples = [
        Example(name, images / name, captions.get(name, ()), split)
        for split, names in splits.items()
        for name in names
    ]
    listed = {name for names in splits.values() for name in names}
    for name, group in captions.items():
        if name not in listed and name not in on_disk and not is_image(name):
            detail = f"{len(group)} captions of a name that is not an image"
            problems.append(Problem("captions-without-image", name, detail))
    unlisted = ({name for name in captions if is_image(name)} | on_disk) - listed
    if unlisted:
        source.notes.append(f"{len(unlisted):,} images are in no split list and were left out")
    return source


def read_tokens(tokens: Path, problems: list[Problem]) -> Iterator[Row]:
    """Yield the rows of a token file."""

    def parse(line: str) -> Row:
        match = LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"'{line[:60]}' is not NAME#NUMBER<TAB>CAPTION")
        return Row(match["image"].strip(), (match["caption"],))

    return parse_records(filled_lines(tokens), parse, problems)


def _splits(folder: Path, images: Iterable[str], problems: list[Problem]) -> dict[str, list[str]]:
    """Return the distinct names of each split list that exists, as ``images`` are called."""
    by_stem = {name.rpartition(".")[0]: name for name in images if is_image(name)}
    lists = {
        match["split"].lower(): file for file in folder.iterdir() if (match := LISTS.fullmatch(file.name))
    }
    splits: dict[str, list[str]] = {}
    for word in filter(lists.__contains__, SPLIT_NAMES):
        file = lists[word]
        names = (PurePosixPath(line.strip().replace("\\", "/")).name for _, line in filled_lines(file))
        counts = Counter(by_stem.get(name, name) for name in names)
        splits.setdefault(SPLIT_NAMES[word], []).extend(counts)
        repeated = {name: count for name, count in counts.items() if count > 1}
        problems += [
            Problem("listed-twice", name, f"{count} times in {file.name}") for name, count in repeated.items()
        ]
    return splits
