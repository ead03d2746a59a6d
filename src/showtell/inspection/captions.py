"""Captions that are in two splits, at many images, or describe no image."""

import re
from collections import Counter
from collections.abc import Iterator

import numpy as np

from showtell.data.caption_warnings import percent
from showtell.data.prepared import PreparedSet
from showtell.inspection.findings import Finding, rows_by_split
from showtell.text.caption_form import CaptionForm
from showtell.text.normal_form import UNSPACED, plain_normal_form

LEAKED_WORDS = 8
"""Shorter captions coincide by chance: 30 of the 40 that dev and train of Flickr8k have in common."""
REPEATED, REPEATED_IMAGES = 0.002, 10
"""Smallest fraction and number of images with a repeated caption: of Flickr8k's, 0.1 % have the most frequent one."""
PHRASES = {3: 0.3, 4: 0.2, 5: 0.1, 6: 0.05}
"""Smallest fraction of the images, by the words of a phrase: three to five times as many as have the most frequent
beginnings of Flickr8k and of COCO (``a man in``: 9 %, ``a man in a``: 6 %, ``a black and white dog is``: 1 %)."""
PHRASE_IMAGES, SAMPLED_IMAGES = 10, 20_000
UNSPACED_LETTERS = 2
"""Letters of scripts without spaces that count as a word."""

_IMAGE = r"(?:image|photo|photograph|picture|pic)"
BOILERPLATE = re.compile(
    rf"""
    \b{_IMAGE}\s(?:is\s|was\s)?(?:not|un)\s?(?:available|found|loaded|displayed)
    | \b(?:no|missing)\s(?:{_IMAGE}|caption|description|alt\stext)(?:\s(?:here|available|found|provided|given)|\W*$)
    | ^(?:there\s(?:is|was)\s)?no\s{_IMAGE}\b
    | \b(?:unable|cannot|can't|can\snot|could\snot|couldn't|not\sable)\s(?:to\s)?(?:see|view|load|open|display)
      \s(?:the\s|this\s|an?\s|any\s)?{_IMAGE}
    | ©|\(c\)\s*\d{{4}}|\bcopyright\b|\ball\srights\sreserved\b
    | https?://|\bwww\.|\.(?:jpe?g|png|gif|webp|tiff?)\b
    | ^(?:img|dsc|dscn|image|photo|picture)[\s_-]?\d+$
    | \b(?:shutterstock|getty\s?images|istock(?:photo)?|alamy|dreamstime|depositphotos)\b|\bstock\sphotos?$
    | \bclick\s(?:here|to\senlarge|for\smore|on\sthe\s{_IMAGE})\b|\blorem\sipsum\b
    | ^(?:n/?a|none|null|nan|untitled|unknown|todo|tbd|test|{_IMAGE}|caption|alt\stext)\W*$
    | ^\W*$
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""None of the 34,995 captions of Flickr8k matches, and 14 of 25,014 of COCO (val2017), all rightly."""

_FORM = CaptionForm("words")
_UNSPACED = re.compile(f"[{UNSPACED}]")


def normalize(text: str) -> str:
    """Return a caption without case and punctuation; captions of one normal form are the same."""
    plain = plain_normal_form(text)
    return _FORM.normalize(text) if plain is None else plain


def find_leaked(prepared: PreparedSet) -> Iterator[Finding]:
    """Yield long captions that an image of a split before theirs has too (`EVALUATED_FIRST`), with the first one."""
    known: dict[str, int] = {}
    for rows in rows_by_split(prepared):
        own: dict[str, int] = {}
        for row in rows:
            for text in dict.fromkeys(prepared.captions(row)):
                plain = normalize(text)
                words = max(len(plain.split()), len(_UNSPACED.findall(plain)) // UNSPACED_LETTERS)
                if words < LEAKED_WORDS:
                    continue
                if (other := known.get(plain)) is not None:
                    reason = f"{words} words, also in {prepared.split(other)}"
                    yield Finding("leaked-caption", row, reason, words, text, other)
                own.setdefault(plain, row)
        known = own | known


def find_repeated(prepared: PreparedSet) -> Iterator[Finding]:
    """Yield captions that many images have, at each of them but those that `find_boilerplate` finds."""
    images = Counter(
        key for texts in prepared.iterate_captions() for key in {hash(normalize(text)) for text in texts}
    )
    limit = max(REPEATED_IMAGES, REPEATED * len(prepared))
    repeated = {key: count for key, count in images.items() if count >= limit}
    if not repeated:
        return
    for row, texts in enumerate(prepared.iterate_captions()):
        for text in dict.fromkeys(texts):
            count = repeated.get(hash(normalize(text)))
            if count is not None and not BOILERPLATE.search(text):
                yield Finding("repeated-caption", row, f"at {count:,} images", count, text)


def find_boilerplate(prepared: PreparedSet) -> Iterator[Finding]:
    """Yield captions with a notice, a file name, an address, or nothing at all instead of a description."""
    for row, texts in enumerate(prepared.iterate_captions()):
        for text in dict.fromkeys(texts):
            if (match := BOILERPLATE.search(text)) is not None:
                yield Finding("boilerplate", row, f"'{match[0].strip()}'", len(match[0]) / len(text), text)


def find_phrases(prepared: PreparedSet) -> Iterator[Finding]:
    """Yield each long beginning or end of captions of many images, at the first one; the longest of several."""
    rows = np.unique(np.linspace(0, len(prepared) - 1, min(len(prepared), SAMPLED_IMAGES)).astype(np.int64))
    texts = [(row, list(map(normalize, prepared.captions(row)))) for row in rows.tolist()]
    for end, step in (("beginning", 1), ("end", -1)):
        found = Counter[tuple[str, ...]]()
        for _, captions in texts:
            words = [caption.split()[::step] for caption in captions]
            found.update({tuple(some[:size]) for some in words for size in PHRASES if len(some) > size})
        frequent = {
            phrase: count
            for phrase, count in found.items()
            if count >= max(PHRASE_IMAGES, PHRASES[len(phrase)] * len(rows))
        }
        for phrase, count in frequent.items():
            if any(longer != phrase and longer[: len(phrase)] == phrase for longer in frequent):
                continue
            row, caption = _first(texts, phrase, step)
            shown = " ".join(phrase[::step])
            reason = f"the {end} '{shown}', at {percent(count / len(rows))} of {len(rows):,} images"
            yield Finding("phrase", row, reason, count / len(rows), caption)


def _first(texts: list[tuple[int, list[str]]], phrase: tuple[str, ...], step: int) -> tuple[int, str]:
    """Return the first row with a phrase, and its caption."""
    return next(
        (row, caption)
        for row, captions in texts
        for caption in captions
        if tuple(caption.split()[::step][: len(phrase)]) == phrase
    )
