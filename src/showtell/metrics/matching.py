"""Candidates matched to the images that have references: one for each, none missing, none too many."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from showtell.errors import ScoreError
from showtell.metrics.caption_table import CaptionTable
from showtell.metrics.ngrams import Integers
from showtell.metrics.ptb_tokenizer import TokenVocab

_SHOWN = 10
Rows = Iterable[tuple[str, Sequence[str]]]


@dataclass(frozen=True)
class MatchedCandidates:
    """Tokenized candidates of P images."""

    table: CaptionTable
    images: Integers  # numbers of the images among those with references, ascending [P]
    rows: Integers  # numbers of the same images in the table [P]


def match_candidates(
    candidates: Mapping[str, str] | Rows, references: CaptionTable, vocab: TokenVocab, *, subset: bool = False
) -> MatchedCandidates:
    """Tokenize one caption per image; with ``subset`` not every image needs one.

    Raises:
        ScoreError: an image without a candidate, with several, or a candidate for an image without references, all
            listed.
    """
    table = CaptionTable(_one_each(candidates) if isinstance(candidates, Mapping) else candidates, vocab)
    doubled = np.flatnonzero(table.per_image > 1)
    if len(doubled):
        counts = zip(table.names(doubled), table.per_image[doubled].tolist(), strict=True)
        raise ScoreError(
            "several candidates for one image",
            found=f"{len(doubled)} such images ({shorten_list(f'{key}: {n}' for key, n in counts)})",
            expected="one candidate for each image",
            mend="Keep one caption of each, for example the best one",
        )
    captioned = np.flatnonzero(table.per_image)
    image = references.find(table.ids_of(captioned))
    candidate = np.full(len(references), -1)  # of each image
    candidate[image[image >= 0]] = captioned[image >= 0]
    missing = [] if subset else references.names(np.flatnonzero(candidate < 0))
    extra = table.names(captioned[image < 0])
    found = []
    if missing:
        found.append(f"{len(missing)} of {len(candidate)} images have no candidate ({shorten_list(missing)})")
    if extra:
        found.append(f"{len(extra)} candidates are for images without references ({shorten_list(extra)})")
    if found:
        raise ScoreError(
            "candidates and references do not fit together",
            found=" and ".join(found),
            expected="one candidate for every image that has references",
            mend="Remove the other candidates"
            if extra
            else "Caption the missing images, or score only the others (--subset, or subset=True)",
        )
    images = np.flatnonzero(candidate >= 0)
    if not len(images):
        raise ScoreError("nothing to score", found="no candidates", mend="Check the file of candidates")
    return MatchedCandidates(table, images, candidate[images])


def check_same_images(ours: MatchedCandidates, theirs: MatchedCandidates, references: CaptionTable) -> None:
    """Raise a ScoreError if one of two candidate sets has a caption where the other has none."""
    if np.array_equal(ours.images, theirs.images):
        return
    found = []
    for name, missing in (
        ("second", np.setdiff1d(ours.images, theirs.images)),
        ("first", np.setdiff1d(theirs.images, ours.images)),
    ):
        if len(missing):
            found.append(
                f"{len(missing)} without one in the {name} ({shorten_list(references.names(missing))})"
            )
    raise ScoreError(
        "the two sets of candidates cannot be compared",
        found=" and ".join(found),
        expected="a candidate for the same images in both",
        mend="Caption the missing images, or remove them from the other set",
    )


def shorten_list(names: Iterable[str]) -> str:
    """Return the first ten names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


def _one_each(candidates: Mapping[str, str]) -> Rows:
    wrong = [key for key, caption in candidates.items() if not isinstance(caption, str)]
    if wrong:
        raise ScoreError(
            "a candidate must be one caption",
            found=f"{type(candidates[wrong[0]]).__name__} for {len(wrong)} images ({shorten_list(wrong)})",
            expected="str",
            mend="Choose one caption for each image",
        )
    return ((key, (caption,)) for key, caption in candidates.items())
