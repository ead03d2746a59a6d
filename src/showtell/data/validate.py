"""What is right with a source: cleaned captions, pictures that decode, splits that share nothing.

Every check takes what is left, returns what passes, and adds to one list of problems; nothing is raised for a single
entry. Where something stands in two splits it is kept where it is judged (test, else dev) and dropped from training.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from showtell.data.sources.base import (
    SPLIT_NAMES,
    Example,
    Problem,
    pack_example,
    spilled_examples,
    unpack_example,
)
from showtell.errors import ImageError
from showtell.images.load import ImageInfo, inspect_image
from showtell.system.console import progress
from showtell.system.disk_store import DiskList

SPLITS = ("train", "dev", "test")
IN_FLIGHT = 256


@dataclass(frozen=True, slots=True)
class CheckedExample:
    """An example whose picture has been decoded."""

    example: Example
    facts: ImageInfo


def check_texts(
    examples: Sequence[Example], problems: list[Problem], *, anew: bool = False
) -> DiskList[Example]:
    """Return the examples with clean captions, a known split, and each key once, by which they are found.

    Captions keep their wording: line breaks become a space, white space around goes. A set has a split for all of its
    pictures or for none; in a set that has one, entries without are problems.

    Args:
        examples: Gone through twice.
        problems: Gets what is wrong with them.
        anew: Set the source's own splits aside.
    """
    has_splits = not anew and any(example.split for example in examples)
    checked, repeats = spilled_examples(name=lambda example: example.key), False
    for example in examples:
        split = "" if anew else SPLIT_NAMES.get(example.split.lower(), "")
        if has_splits and not split:
            expected = "expected train, dev (val) or test"
            problems.append(Problem("unknown-split", example.key, f"'{example.split}', {expected}"))
            continue
        captions = _clean_captions(example, problems)
        if not (_is_unicode(example.key) and _is_unicode(str(example.image))):
            problems.append(Problem("not-unicode", example.key, "rename the file"))
        elif not captions:
            problems.append(Problem("no-captions", example.key, "left out"))
        else:
            changed = (captions, split) != (example.captions, example.split)
            found = replace(example, captions=captions, split=split) if changed else example
            earlier = checked.add(found)
            if earlier is not None:
                found = _merge(earlier, found, problems)
                checked.replace(found)
            repeats |= len(set(found.captions)) < len(found.captions)
    for example in checked if repeats else ():
        if len(set(example.captions)) < len(example.captions):
            repeated = [text for text, count in Counter(example.captions).items() if count > 1]
            problems += [Problem("duplicate-caption", example.key, text) for text in repeated]
    return checked


def check_pictures(examples: Sequence[Example], problems: list[Problem]) -> DiskList[CheckedExample]:
    """Return the examples whose pictures decode and whose bytes occur once, in order; found by their SHA-256."""
    checked = DiskList[CheckedExample](pack=_pack, unpack=_unpack, name=lambda one: one.facts.sha256)
    for example, found in _inspect(examples):
        if isinstance(found, Problem):
            problems.append(found)
            continue
        current = CheckedExample(example, found)
        earlier = checked.add(current)
        if earlier is None:
            continue
        if earlier.example.split == example.split:
            detail = f"the same bytes as {earlier.example.key}"
            problems.append(Problem("duplicate-picture", example.key, detail))
        else:
            kept, dropped = _by_rank(earlier, current)
            detail = f"{dropped.example.split}; the same bytes as {kept.example.key} in {kept.example.split}"
            problems.append(Problem("two-splits", dropped.example.key, detail))
            if kept is current:
                checked.replace(current, last=True)
    return checked


def _pack(one: CheckedExample) -> list[Any]:
    facts = one.facts
    return [pack_example(one.example), facts.sha256, facts.width, facts.height]


def _unpack(values: list[Any]) -> CheckedExample:
    example, *facts = values
    return CheckedExample(unpack_example(example), ImageInfo(*facts))


def assign_splits(
    checked: Iterable[CheckedExample], *, dev_share: float, test_share: float, seed: int
) -> Iterable[CheckedExample]:
    """Give every picture a split by a hash of its bytes and the seed: names and order do not matter.

    The shares are met exactly (to rounding); a share above 0 gets at least one picture where there are enough. Of
    pictures that have a split, those to train on are dealt out and the others stay.

    Args:
        checked: Gone through once here, and once whenever the result is.
        dev_share: Of the pictures that are dealt out.
        test_share: Of the same.
        seed: Of the choice.
    """
    ranks = np.frombuffer(
        array("Q", (_rank(one, seed) for one in checked if one.example.split in _DEALT)), np.uint64
    )
    if not len(ranks):
        return checked
    ends, spare = [0], len(ranks) - 1
    for share in (test_share, dev_share):
        count = min(spare, max(round(share * len(ranks)), 1 if share > 0 else 0))
        ends.append(ends[-1] + count)
        spare -= count
    # In place: eight bytes a picture are all that this holds.
    ranks.partition(ends[1:])
    test, dev = ranks[ends[1:]].tolist()
    return _SplitAssigned(checked, test, dev, seed)


_DEALT = ("", "train")


@dataclass(frozen=True)
class _SplitAssigned(Iterable[CheckedExample]):
    """Examples with their splits: where one is to be dealt, test below the rank ``test``, then dev below ``dev``."""

    checked: Iterable[CheckedExample]
    test: int
    dev: int
    seed: int

    def __iter__(self) -> Iterator[CheckedExample]:
        for one in self.checked:
            if one.example.split in _DEALT:
                rank = _rank(one, self.seed)
                split = "test" if rank < self.test else "dev" if rank < self.dev else "train"
                yield replace(one, example=replace(one.example, split=split))
            else:
                yield one


def _rank(one: CheckedExample, seed: int) -> int:
    """Return 64 bits of a hash; two of a million pictures that share them stand on an edge in one set of 10¹³."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{one.facts.sha256}".encode()).digest()[:8], "big")


def _clean_captions(example: Example, problems: list[Problem]) -> tuple[str, ...]:
    captions = []
    for number, caption in enumerate(example.captions):
        text = " ".join(caption.splitlines()).strip()
        if not text:
            problems.append(Problem("empty-caption", example.key, f"caption {number}"))
        elif not _is_unicode(text):
            problems.append(Problem("not-unicode", example.key, f"caption {number}: {text}"))
        else:
            captions.append(text)
    return tuple(captions)


def _merge(earlier: Example, found: Example, problems: list[Problem]) -> Example:
    """Join two entries of one key: their captions within a split, else the entry that is judged."""
    if earlier.split == found.split:
        return replace(earlier, captions=earlier.captions + found.captions)
    kept = max(earlier, found, key=lambda example: SPLITS.index(example.split))
    detail = f"in {earlier.split} and in {found.split}; kept in {kept.split}"
    problems.append(Problem("two-splits", found.key, detail))
    return kept


def _by_rank(one: CheckedExample, other: CheckedExample) -> tuple[CheckedExample, CheckedExample]:
    """Return (kept, dropped) of two examples in different splits."""
    if SPLITS.index(other.example.split) > SPLITS.index(one.example.split):
        return other, one
    return one, other


def _inspect(examples: Sequence[Example]) -> Iterator[tuple[Example, ImageInfo | Problem]]:
    """Decode all pictures in order, several at a time (decoders release the interpreter's lock)."""

    def facts(example: Example) -> ImageInfo | Problem:
        try:
            if not example.image.exists():
                return Problem("missing-picture", example.key, f"no {example.image}")
            return inspect_image(example.image)
        except ImageError as error:
            return Problem("undecodable-picture", example.key, error.found)
        except OSError as error:
            return Problem("undecodable-picture", example.key, error.strerror or str(error))

    def inspect(example: Example) -> tuple[Example, ImageInfo | Problem]:
        return example, facts(example)

    # As many tasks as pictures would take a kilobyte each.
    pending: deque[Future[tuple[Example, ImageInfo | Problem]]] = deque()
    pool = ThreadPoolExecutor(min(16, os.cpu_count() or 1))
    try:
        with progress("checking pictures", len(examples), unit="pictures") as advance:
            for example in examples:
                pending.append(pool.submit(inspect, example))
                if len(pending) >= IN_FLIGHT:
                    yield pending.popleft().result()
                    advance(1, "")
            while pending:
                yield pending.popleft().result()
                advance(1, "")
    finally:
        pool.shutdown(cancel_futures=True)


def _is_unicode(text: str) -> bool:
    """Tell whether a text can be written as UTF-8 (file names and JSON may hold lone surrogates)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
