"""Read references and candidates from COCO's files or JSON lines, and score one file against the other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from showtell.errors import DataError, ScoreError
from showtell.metrics.evaluate import METRICS, Scorer, Scores, shorten
from showtell.metrics.large.evaluate import score_keyed
from showtell.metrics.large.keyed import IdTokens
from showtell.metrics.large.reader import _FallBack, take_rows
from showtell.metrics.ptb_tokenizer import TokenVocab
from showtell.system.atomic import read_text

_IDS = ("image_id", "image", "key", "path")
_ROWS_WANTED = (
    "COCO annotations {'annotations': [{'image_id', 'caption'}, ...]}, COCO results [{'image_id', 'caption'}, ...], "
    "or one JSON object a line with image_id, image, key or path, and caption, captions or candidate"
)


def score_files(
    references: Path, candidates: Path, *, subset: bool = False, metrics: Sequence[str] = METRICS
) -> Scores:
    """Score the candidates of one file against the references of another.

    Args:
        references: COCO annotations, or JSON lines.
        candidates: COCO results, or JSON lines; one caption for each picture.
        subset: Score only the pictures that have a candidate; the signature says so.
        metrics: Which to compute, of "bleu", "rouge", "cider".

    Raises:
        DataError: a file cannot be read or is neither COCO's nor JSON lines; file and line are named.
        ScoreError: the files do not hold the same pictures, or a picture has several candidates.
    """
    try:
        return _score_on_disk(references, candidates, subset, metrics)
    except _FallBack:
        # Whoever has read all can say what is wrong, and with which pictures
        return _score_in_memory(references, candidates, subset, metrics)


def _score_on_disk(references: Path, candidates: Path, subset: bool, metrics: Sequence[str]) -> Scores:
    """Score files of any size in the same memory.

    Raises:
        IrregularError: something is wrong, or unusual.
    """
    lexicon = TokenVocab()
    truth, ours = IdTokens(lexicon), IdTokens(lexicon)

    def reference(row: Any) -> None:
        truth.add(_key(references, "", row), _captions(references, "", row))

    def candidate(row: Any) -> None:
        said = _captions(candidates, "", row)
        if not said and ours.captions:
            raise _FallBack
        ours.add(_key(candidates, "", row), said)

    take_rows(references, reference)
    take_rows(candidates, candidate)
    for file in (truth, ours):
        file.close()
    return score_keyed(truth, ours, lexicon, subset=subset, metrics=metrics)


def _score_in_memory(references: Path, candidates: Path, subset: bool, metrics: Sequence[str]) -> Scores:
    truth = read_references(references)
    ours = read_candidates(candidates)
    missing = [key for key in truth if key not in ours]
    if missing and not subset and all(key in truth for key in ours):
        raise ScoreError(
            f"{candidates} does not caption all pictures of {references}",
            found=f"{len(missing)} of {len(truth)} pictures have no candidate ({shorten(missing)})",
            expected="one candidate for each picture",
            mend="Caption the missing pictures, or score only the others with --subset",
        )
    if missing and subset:
        kept = {key: captions for key, captions in truth.items() if key in ours}
        return Scorer(kept, metrics=metrics, subset_of=len(truth)).score(ours)
    return Scorer(truth, metrics=metrics).score(ours)


def read_references(path: Path) -> dict[str, list[str]]:
    """Return the captions of each picture of a file; pictures listed without a caption have none.

    Raises:
        DataError: the file cannot be read or is neither COCO's nor JSON lines.
    """
    captions: dict[str, list[str]] = {}
    for where, row in _rows(path):
        captions.setdefault(_key(path, where, row), []).extend(_captions(path, where, row))
    return captions


def read_candidates(path: Path) -> dict[str, str]:
    """Return the one caption of each picture of a file.

    Raises:
        DataError: the file cannot be read or is neither COCO's nor JSON lines, or a row has no caption.
        ScoreError: pictures with several captions; all listed.
    """
    captions: dict[str, str] = {}
    doubled: dict[str, int] = {}
    for where, row in _rows(path):
        key = _key(path, where, row)
        found = _captions(path, where, row)
        if key in captions or len(found) > 1:
            doubled[key] = doubled.get(key, 1) + max(len(found), 1) - (key not in captions)
        for caption in found:
            captions.setdefault(key, caption)
    if doubled:
        raise ScoreError(
            f"{path} holds several candidates for one picture",
            found=f"{len(doubled)} such pictures ({shorten(f'{key}: {n}' for key, n in doubled.items())})",
            expected="one candidate for each picture",
            mend="Keep one caption of each, the best one say",
        )
    return captions


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each row of a file and where it stands ("line 3", "annotations[2]")."""
    text = read_text(path)
    try:
        content = json.loads(text)
    except ValueError:
        yield from _json_lines(path, text)
        return
    if isinstance(content, dict) and isinstance(content.get("annotations"), list):
        images = content.get("images") or []
        if not isinstance(images, list):
            raise _unknown(path, "images", f"a JSON {type(images).__name__} in place of a list")
        for place, picture in enumerate(images):
            if not isinstance(picture, dict):
                raise _unknown(path, f"images[{place}]", f"{str(picture)[:60]!r}, which names no picture")
            yield f"images[{place}]", {"image_id": picture.get("id"), "captions": []}
        yield from ((f"annotations[{place}]", row) for place, row in enumerate(content["annotations"]))
    elif isinstance(content, list):
        yield from ((f"entry {place}", row) for place, row in enumerate(content))
    elif isinstance(content, dict) and any(name in content for name in _IDS):
        yield "line 1", content
    else:
        raise _unknown(path, "line 1", f"a JSON {type(content).__name__} without annotations")


def _json_lines(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    # Not splitlines(): U+2028 may stand inside a JSON string
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                raise _unknown(path, f"line {number}", f"{line.strip()[:60]!r} ({error})") from error
            yield f"line {number}", row


def _key(path: Path, where: str, row: Any) -> str:
    if isinstance(row, dict):
        for name in _IDS:
            if isinstance(row.get(name), str | int):
                return str(row[name])
    raise _unknown(path, where, f"{str(row)[:60]!r}, which names no picture")


def _captions(path: Path, where: str, row: Mapping[str, Any]) -> list[str]:
    found = row["captions"] if "captions" in row else [row.get("caption", row.get("candidate"))]
    if not isinstance(found, list) or not all(isinstance(caption, str) for caption in found):
        reason = f"the error {row['error']!r}" if row.get("error") else f"{found!r:.60}"
        raise _unknown(path, where, f"{reason} in place of a caption")
    return list(found)


def _unknown(path: Path, where: str, found: str) -> DataError:
    return DataError(
        f"cannot read captions from {path}, {where}",
        found=found,
        expected=_ROWS_WANTED,
        mend="Correct the file, or convert it to one of these forms",
    )
