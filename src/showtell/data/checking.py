"""What is right with a source: cleaned captions, pictures that decode, splits that share nothing.

Every check takes what is left, returns what passes, and adds to one list of problems; nothing is raised for a single
entry. Where something stands in two splits it is kept where it is judged (test, else dev) and dropped from training.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from showtell.console import progress
from showtell.data.sources.source import SPLIT_NAMES, Example, Problem
from showtell.errors import PictureError
from showtell.images import PictureFacts, inspect_picture

SPLITS = ("train", "dev", "test")
IN_FLIGHT = 256


@dataclass(frozen=True, slots=True)
class CheckedExample:
    """An example whose picture has been decoded."""

    example: Example
    facts: PictureFacts


def check_texts(examples: Iterable[Example], problems: list[Problem]) -> list[Example]:
    """Return the examples with clean captions, a known split, and each key once.

    Captions keep their wording: line breaks become a space, white space around goes. A set has a split for all of its
    pictures or for none; in a set that has one, entries without are problems.
    """
    examples = list(examples)
    has_splits = any(example.split for example in examples)
    checked: dict[str, Example] = {}
    for example in examples:
        split = SPLIT_NAMES.get(example.split.lower(), "")
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
            earlier = checked.get(example.key)
            checked[example.key] = found if earlier is None else _merge(earlier, found, problems)
    for example in checked.values():
        if len(set(example.captions)) < len(example.captions):
            repeated = [text for text, count in Counter(example.captions).items() if count > 1]
            problems += [Problem("duplicate-caption", example.key, text) for text in repeated]
    return list(checked.values())


def check_pictures(examples: Sequence[Example], problems: list[Problem]) -> list[CheckedExample]:
    """Return the examples whose pictures decode and whose bytes occur once, in order."""
    checked: dict[str, tuple[int, CheckedExample]] = {}
    for row, (example, found) in enumerate(zip(examples, _inspect(examples), strict=True)):
        if isinstance(found, Problem):
            problems.append(found)
            continue
        current = CheckedExample(example, found)
        place, earlier = checked.get(found.sha256, (row, None))
        if earlier is None:
            checked[found.sha256] = row, current
        elif earlier.example.split == example.split:
            detail = f"the same bytes as {earlier.example.key}"
            problems.append(Problem("duplicate-picture", example.key, detail))
        else:
            kept, dropped = _by_rank(earlier, current)
            detail = f"{dropped.example.split}; the same bytes as {kept.example.key} in {kept.example.split}"
            problems.append(Problem("two-splits", dropped.example.key, detail))
            checked[found.sha256] = (place if kept is earlier else row), kept
    return [one for _, one in sorted(checked.values(), key=lambda placed: placed[0])]


def assign_splits(
    checked: Sequence[CheckedExample], *, dev_share: float, test_share: float, seed: int
) -> list[CheckedExample]:
    """Give every picture a split by a hash of its bytes and the seed: names and order do not matter.

    The shares are met exactly (to rounding); a share above 0 gets at least one picture where there are enough. Of
    pictures that have a split, those to train on are dealt out and the others stay.
    """

    def rank(row: int) -> str:
        return hashlib.sha256(f"{seed}:{checked[row].facts.sha256}".encode()).hexdigest()

    rows = sorted((row for row, one in enumerate(checked) if one.example.split in ("", "train")), key=rank)
    spare = len(rows) - 1
    counts = {}
    for split, share in (("test", test_share), ("dev", dev_share)):
        counts[split] = min(spare, max(round(share * len(rows)), 1 if share > 0 else 0))
        spare -= counts[split]
    names = ["test"] * counts["test"] + ["dev"] * counts["dev"]
    split_of = dict(zip(rows, names + ["train"] * (len(rows) - len(names)), strict=True))
    return [
        replace(one, example=replace(one.example, split=split_of.get(row, one.example.split)))
        for row, one in enumerate(checked)
    ]


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


def _inspect(examples: Sequence[Example]) -> Iterator[PictureFacts | Problem]:
    """Decode all pictures in order, several at a time (decoders release the interpreter's lock)."""

    def inspect(example: Example) -> PictureFacts | Problem:
        try:
            if not example.image.exists():
                return Problem("missing-picture", example.key, f"no {example.image}")
            return inspect_picture(example.image)
        except PictureError as error:
            return Problem("undecodable-picture", example.key, error.found)
        except OSError as error:
            return Problem("undecodable-picture", example.key, error.strerror or str(error))

    # As many tasks as pictures would take a kilobyte each.
    pending: deque[Future[PictureFacts | Problem]] = deque()
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
