"""Validation of a source: clean captions, decodable images, disjoint splits.

Each check takes the examples that passed the one before, returns those that pass, and appends to one list of
problems; a single bad entry never raises. An image in two splits stays in the one used for evaluation (test, else
dev).
"""

import contextlib
import hashlib
import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np

from showtell.data.sources.base import SPLIT_NAMES, Example, Problem, examples_on_disk
from showtell.errors import ImageError
from showtell.images.load import ImageInfo, inspect_image
from showtell.system.batch_pool import map_ahead
from showtell.system.console import progress_bar
from showtell.system.disk_store import DiskList

SPLITS = ("train", "dev", "test")
IN_FLIGHT = 256
MISSING = frozenset({"nan", "<na>", "none", "null", "#n/a"})
"""What programs write in place of a missing caption; what people write is found by `inspect`."""
_ASSIGNABLE = ("", "train")


@dataclass(frozen=True, slots=True)
class CheckedExample:
    """An example whose image has been decoded, with the file's size and modification time before that."""

    example: Example
    info: ImageInfo
    size: int  # bytes
    mtime_ns: int


def check_texts(
    examples: Sequence[Example], problems: list[Problem], *, ignore_splits: bool = False
) -> DiskList[Example]:
    """Return the examples with clean captions, a known split and a unique key, found by key.

    Captions keep their wording: line breaks become spaces, surrounding white space is stripped. Either all images of
    a set have a split or none (as with ``ignore_splits``): in a set with splits, an entry without one is a problem.
    """
    has_splits = not ignore_splits and any(example.split for example in examples)
    checked, repeats = examples_on_disk(key=lambda example: example.key), False
    for example in examples:
        split = "" if ignore_splits else SPLIT_NAMES.get(example.split.lower(), "")
        if has_splits and not split:
            detail = f"'{example.split}', expected train, dev (val) or test"
            problems.append(Problem("unknown-split", example.key, detail))
            continue
        captions = _clean_captions(example, problems)
        if not (_is_unicode(example.key) and _is_unicode(str(example.image))):
            problems.append(Problem("not-unicode", example.key, "rename the file"))
        elif not captions:
            problems.append(Problem("no-captions", example.key, "left out"))
        else:
            changed = (captions, split) != (example.captions, example.split)
            clean = replace(example, captions=captions, split=split) if changed else example
            earlier = checked.add(clean)
            if earlier is not None:
                clean = _merge(earlier, clean, problems)
                checked.replace(clean)
            repeats |= len(set(clean.captions)) < len(clean.captions)
    for example in checked if repeats else ():
        repeated = [text for text, count in Counter(example.captions).items() if count > 1]
        problems += [Problem("duplicate-caption", example.key, text) for text in repeated]
    return checked


def check_images(examples: Sequence[Example], problems: list[Problem]) -> DiskList[CheckedExample]:
    """Return the examples with decodable images of distinct bytes, in order, found by SHA-256."""
    checked = DiskList[CheckedExample](pack=_pack, unpack=_unpack, key=lambda checked: checked.info.sha256)
    for current in _inspect(examples):
        if isinstance(current, Problem):
            problems.append(current)
            continue
        example, earlier = current.example, checked.add(current)
        if earlier is None:
            continue
        if earlier.example.split == example.split:
            detail = f"the same bytes as {earlier.example.key}"
            problems.append(Problem("duplicate-image", example.key, detail))
            continue
        kept, dropped = earlier.example, example
        if SPLITS.index(example.split) > SPLITS.index(kept.split):
            kept, dropped = example, kept
            checked.replace(current, last=True)
        detail = f"{dropped.split}; the same bytes as {kept.key} in {kept.split}"
        problems.append(Problem("two-splits", dropped.key, detail))
    return checked


def _pack(checked: CheckedExample) -> list[Any]:
    return [checked.example.pack(), astuple(checked.info), checked.size, checked.mtime_ns]


def _unpack(values: Sequence[Any]) -> CheckedExample:
    example, info, *file = values
    return CheckedExample(Example.unpack(example), ImageInfo(*info), *file)


def assign_splits(
    checked: Iterable[CheckedExample], *, dev_fraction: float, test_fraction: float, seed: int
) -> Iterator[CheckedExample]:
    """Assign images to splits by a hash of their bytes and the seed: names and order do not matter.

    The fractions (of the images that are assigned) are exact up to rounding; a fraction above 0 gets at least one
    image where there are enough. Of images that have a split, only training images are reassigned.
    """
    assignable = (each for each in checked if each.example.split in _ASSIGNABLE)
    ranks = np.frombuffer(array("Q", (_rank(each, seed) for each in assignable)), np.uint64)
    ends, spare = [0], len(ranks) - 1
    for fraction in (test_fraction, dev_fraction):
        count = min(spare, max(round(fraction * len(ranks)), 1 if fraction > 0 else 0))
        ends.append(ends[-1] + count)
        spare -= count
    test, dev = np.sort(ranks)[ends[1:]].tolist() if len(ranks) else (0, 0)
    for each in checked:
        if each.example.split in _ASSIGNABLE:
            rank = _rank(each, seed)
            split = "test" if rank < test else "dev" if rank < dev else "train"
            yield replace(each, example=replace(each.example, split=split))
        else:
            yield each


def _rank(checked: CheckedExample, seed: int) -> int:
    """Return 64 bits of a hash: few enough to collide at a split's edge in one of 10¹³ sets of a million images."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{checked.info.sha256}".encode()).digest()[:8], "big")


def _clean_captions(example: Example, problems: list[Problem]) -> tuple[str, ...]:
    captions = []
    for number, caption in enumerate(example.captions):
        text = " ".join(caption.splitlines()).strip()
        if not text or text.lower() in MISSING:
            problems.append(Problem("empty-caption", example.key, f"caption {number}"))
        elif not _is_unicode(text):
            problems.append(Problem("not-unicode", example.key, f"caption {number}: {text}"))
        else:
            captions.append(text)
    return tuple(captions)


def _merge(earlier: Example, found: Example, problems: list[Problem]) -> Example:
    """Join two entries of one key: their captions within a split, else the entry of the evaluation split."""
    if earlier.split == found.split:
        return earlier.joined(found)
    kept = max(earlier, found, key=lambda example: SPLITS.index(example.split))
    detail = f"in {earlier.split} and in {found.split}; kept in {kept.split}"
    problems.append(Problem("two-splits", found.key, detail))
    return kept


def _inspect(examples: Sequence[Example]) -> Iterator[CheckedExample | Problem]:
    """Decode all images in order, several at a time (decoders release the GIL)."""

    def inspect(example: Example) -> CheckedExample | Problem:
        try:
            status = example.image.stat()
            info = inspect_image(example.image)
            return CheckedExample(example, info, status.st_size, status.st_mtime_ns)
        except ImageError as error:
            return Problem("undecodable-image", example.key, error.found)
        except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the path
            return Problem("missing-image", example.key, f"no {example.image}")
        except OSError as error:
            return Problem("undecodable-image", example.key, error.strerror or str(error))

    workers = min(16, os.cpu_count() or 1)
    with (
        progress_bar("checking images", len(examples), unit="images") as advance,
        contextlib.closing(map_ahead(inspect, examples, workers=workers, ahead=IN_FLIGHT)) as inspected,
    ):
        for result in inspected:
            yield result
            advance(1, "")


def _is_unicode(text: str) -> bool:
    """Return whether UTF-8 can encode a text: file names and JSON may contain lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
