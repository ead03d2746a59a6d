"""A folder of images, at any depth, each beside a text file: ``dog.jpg``, ``dog.txt``; one caption per line.

``dog.jpg.txt`` belongs to ``dog.jpg`` alone; ``dog.caption`` is read before ``dog.txt``, which has tags then. If all
images are below folders of several splits (``train/``, ``val/``), these are the splits. A text of img2dataset, with
its metadata beside it, is one caption.
"""

import contextlib
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from showtell.data.sources.base import Example, Problem, Source, examples_on_disk
from showtell.data.sources.files import is_image, read_lines, walk_folders
from showtell.data.sources.img2dataset import failed_in, note_of, split_captions
from showtell.data.sources.locate import split_of
from showtell.errors import DataError
from showtell.images.listing import describe_suffixes
from showtell.system.reading import read_json

TEXTS = (".txt", ".caption")
ABOUT = (
    "readme",
    "license",
    "licence",
    "copying",
    "notice",
    "citation",
    "credits",
    "attribution",
    "changelog",
)
"""Names of texts about a set, which nobody means as captions where no image has the name."""
LAYOUT = "a folder of images, each beside a .txt (or .caption) with one caption per line"
MISSING = "no folder"


def find(path: Path, *, forced: bool) -> list[Path]:
    if not path.is_dir():
        return []
    has_pair = any(
        any(is_image(name) for name in names) and any(_is_text(name) for name in names)
        for _, names in _groups(path)
    )
    return [path] if forced or has_pair else []


def read(path: Path, files: list[Path]) -> Source:
    source = Source(examples := examples_on_disk(), [])
    failed, others, second = Counter[str](), Counter[str](), 0
    for folder, names in _groups(path):
        second += len(stems := [name.rpartition(".")[0] for name in names if _is_text(name)]) - len(
            set(stems)
        )
        failed += failed_in(folder / name for name in names)
        others.update(Path(name).suffix[1:].upper() for name in names if _is_other(name))
        for name, text, problem in _pair(names):
            key = (folder / name).relative_to(path).as_posix()
            if problem == "captions-without-image" and Path(name).stem.lower() in ABOUT:
                source.notes.append(f"left out, about the set: {key}")
                continue
            if problem is not None:
                source.problems.append(Problem(problem, key, text))
                continue
            try:
                captions = _captions(folder / name, folder / text)
                split = split_of(folder, path) if folder != path else ""
                examples.add(Example(key, folder / name, captions, split))
            except DataError as error:
                position = (folder / text).relative_to(path).as_posix()
                source.problems.append(Problem("unreadable-line", position, str(error)))
    splits = {example.split for example in examples}
    if any(splits) and ("" in splits or len(splits) == 1):  # folders of other names, or of one split
        source.examples = examples_on_disk(replace(example, split="") for example in examples)
    source.notes += note_of(failed)
    if others:
        source.notes.append(f"files left out, no images: {others.total():,} ({describe_suffixes(others)})")
    if second:
        source.notes.append(
            f"{second:,} texts were left out: another has the same name (.caption before .txt)"
        )
    return source


def _groups(path: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield folders with the names that are equal up to the first dot; they are neighbors in a sorted list.

    Of the rest, images without a text and texts without an image, those that differ in case or Unicode form are
    together.
    """
    for folder, names in walk_folders(path):
        rest: dict[str, list[str]] = {}
        for beginning, neighbors in groupby(names, key=lambda name: name.partition(".")[0]):
            group = list(neighbors)
            if any(map(is_image, group)) and any(map(_is_text, group)):
                yield folder, group
            else:
                rest.setdefault(_form(beginning), []).extend(group)
        yield from ((folder, group) for group in rest.values())


def _form(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _is_text(name: str) -> bool:
    return name.lower().endswith(TEXTS)


def _is_other(name: str) -> bool:
    return not (is_image(name) or name.lower().endswith((*TEXTS, ".json", ".parquet")))


def _pair(names: list[str]) -> Iterator[tuple[str, str, str | None]]:
    """Yield the name of each image with that of its text; or of a file with a problem, its detail and kind."""
    ordered = (name for ending in TEXTS for name in reversed(names) if name.lower().endswith(ending))
    texts = {name.rpartition(".")[0]: name for name in ordered}
    images = {name: name.rpartition(".")[0] for name in names if is_image(name)}
    used: set[str] = set()
    taken = {*images, *images.values()}
    by_form = {_form(stem): text for stem, text in texts.items() if stem not in taken}
    found = {
        name: texts.get(name) or texts.get(stem) or by_form.get(_form(name)) or by_form.get(_form(stem))
        for name, stem in images.items()
    }
    for name, text in found.items():
        if text is None:
            yield name, f"no {images[name]}.txt beside it", "no-captions"
            continue
        owners = [name] if name in texts else [n for n, t in found.items() if t == text and n not in texts]
        if len(owners) == 1:
            yield name, text, None
        elif text not in used:
            others = f"{', '.join(owners[:-1])} and {owners[-1]} share {text}"
            mend = f"call the texts {owners[0]}.txt, {owners[1]}.txt, ..."
            yield text, f"{others}; {mend}", "shared-captions"
        used.add(text)
    for name in names:
        if _is_text(name) and name not in used and texts[name.rpartition(".")[0]] not in used:
            yield name, "no image of this name beside it", "captions-without-image"


def _captions(image: Path, texts: Path) -> tuple[str, ...]:
    text, metadata = "\n".join(read_lines(texts)), None
    file = image.with_suffix(".json")
    if "\n" in text.strip() and file.is_file():
        with contextlib.suppress(OSError, ValueError):
            metadata = read_json(file)
    return split_captions(text, metadata)
