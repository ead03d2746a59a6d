"""Read references and candidates row by row from COCO's files or JSON lines, and score one file against the other."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from showtell.errors import DataError, ScoreError
from showtell.metrics.bootstrap import EQUAL, ScoreDelta
from showtell.metrics.evaluate import METRICS, Scorer, Scores
from showtell.metrics.explain import Explanation
from showtell.metrics.meteor import MeteorScorer
from showtell.system.json_stream import id_text, read_array, read_head
from showtell.system.reading import parse_json, text_lines

_IDS = ("image_id", "key", "image", "path")
_EXPECTED = (
    "COCO annotations {'annotations': [{'image_id', 'caption'}, ...]}, COCO results [{'image_id', 'caption'}, ...], "
    "or one JSON object a line with image_id, key, image or path, and caption, captions or candidate"
)


def score_files(
    references: Path,
    candidates: Path,
    *,
    subset: bool = False,
    metrics: Sequence[str] = METRICS,
    tokenizer: str = "ptb",
) -> Scores:
    """Score the candidates of one file against the references of another: COCO's JSON, or JSON lines.

    With ``subset`` only the images that have a candidate are scored; the signature names both numbers.

    Raises:
        DataError: a file cannot be read or is neither COCO's nor JSON lines; file and line are named.
        ScoreError: the files do not hold the same images, or an image has several candidates.
        MissingExtraError: the tokenizer needs the extra ``languages``.
    """
    scorer = Scorer(read_captions(references), metrics=metrics, tokenizer=tokenizer)
    return scorer.score(read_captions(candidates), subset=subset)


@dataclass(frozen=True)
class FileScores:
    """The scores of a file of candidates, alone or compared with another file of the same images.

    An explanation is a list of one for each file. ``changed`` explains the images whose CIDEr-D gains and loses most
    against the other file, the largest gain first.
    """

    candidates: Path
    scores: Scores
    against: Path | None
    others: Scores | None
    differences: Mapping[str, ScoreDelta]
    explained: Sequence[list[Explanation]]
    changed: Sequence[list[Explanation]]


def compare_files(
    references: Path,
    candidates: Path,
    *,
    against: Path | None = None,
    explain: Sequence[str] = (),
    num_changed: int = 0,
    subset: bool = False,
    tokenizer: str = "ptb",
    meteor: MeteorScorer | None = None,
) -> FileScores:
    """Score a file as `score_files` does, compare it with another one, and explain the captions of some images.

    ``num_changed`` is the number of images to explain among those that gain and among those that lose most.

    Raises:
        DataError: as `score_files`.
        ScoreError: as `score_files`; the two files have other images, or no candidate is for an image to explain.
    """
    scorer = Scorer(read_captions(references), tokenizer=tokenizer, meteor=meteor)
    files = [candidates, *([against] if against else [])]
    matched = []
    for path in files:
        with naming(path):
            matched.append(scorer.match(read_captions(path), subset=subset))
    others: Scores | None = None
    differences: dict[str, ScoreDelta] = {}
    if against:
        scores, others, differences = scorer.compare(*matched)
    else:
        scores = scorer.score(matched[0])

    def explain_all(ids: Sequence[str]) -> list[list[Explanation]]:
        # Each id once, in the order given.
        found = [scorer.explain(one, list(dict.fromkeys(ids))) for one in matched]
        return [list(pair) for pair in zip(*found, strict=True)]

    explained = explain_all(explain)
    changed = explain_all(_most_changed(scores, others, num_changed)) if others and num_changed else []
    return FileScores(candidates, scores, against, others, differences, explained, changed)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the path of a file of candidates before a ScoreError."""
    try:
        yield
    except ScoreError as error:
        what = f"{path}: {error.what}"
        raise ScoreError(what, found=error.found, expected=error.expected, mend=error.mend) from error


def _most_changed(ours: Scores, theirs: Scores, number: int) -> list[str]:
    """Return the ids of the images with the largest gains and losses of CIDEr-D, the largest gain first."""
    gains = {key: row["CIDEr-D"] - theirs.per_image[key]["CIDEr-D"] for key, row in ours.per_image.items()}
    ranked = sorted(gains, key=lambda key: -gains[key])
    return [key for key in ranked[:number] if gains[key] > EQUAL] + [
        key for key in ranked[-number:] if gains[key] < -EQUAL
    ]


def read_captions(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the image id and the captions of each row; images that COCO's annotations list have none.

    Raises:
        DataError: the file cannot be read or is neither COCO's nor JSON lines.
    """
    for where, row in _rows(path):
        yield _image_id(path, where, row), _captions(path, where, row)


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield each row of a file and its place ("line 3", "annotations[2]")."""
    head = read_head(path).lstrip()
    if head.startswith(b"["):
        yield from _elements(path, "", "entry {}")
    elif head.startswith(b"{") and _is_annotations(head):
        for where, image in _elements(path, "images", "images[{}]"):
            is_image = isinstance(image, dict)
            yield where, {"image_id": image.get("id"), "captions": []} if is_image else image
        yield from _elements(path, "annotations", "annotations[{}]")
    else:
        for number, line in enumerate(text_lines(path), start=1):
            if line.strip():
                yield f"line {number}", _parse_line(path, number, line)


def _is_annotations(head: bytes) -> bool:
    """Return whether an object is COCO's annotations, given its beginning; else it is a row."""
    try:
        first = parse_json(head.split(b"\n", 1)[0], lenient=True)
    except ValueError:
        return b'"annotations"' in head or b'"images"' in head
    return isinstance(first, dict) and isinstance(first.get("annotations"), list)


def _elements(path: Path, array: str, where: str) -> Iterator[tuple[str, Any]]:
    number = 0
    try:
        for number, row in enumerate(read_array(path, array)):
            yield where.format(number), row
    except DataError as error:
        raise _unknown(path, f"after {where.format(number)}", f"no JSON ({error.found})") from error


def _parse_line(path: Path, number: int, line: str) -> Any:
    try:
        return parse_json(line, lenient=True)
    except ValueError as error:
        raise _unknown(path, f"line {number}", f"{line.strip()[:60]!r} ({error})") from error


def _image_id(path: Path, where: str, row: Any) -> str:
    if isinstance(row, dict):
        for name in _IDS:
            if (identity := id_text(row.get(name))) is not None:
                return identity
    raise _unknown(path, where, f"{str(row)[:60]!r}, which names no image")


def _captions(path: Path, where: str, row: dict[str, Any]) -> list[str]:
    found = row["captions"] if "captions" in row else [row.get("caption", row.get("candidate"))]
    if not isinstance(found, list) or not all(isinstance(caption, str) for caption in found):
        reason = f"the error {row['error']!r}" if row.get("error") else f"{found!r:.60}"
        raise _unknown(path, where, f"{reason} in place of a caption")
    return found


def _unknown(path: Path, where: str, found: str) -> DataError:
    return DataError(
        f"cannot read captions from {path}, {where}",
        found=found,
        expected=_EXPECTED,
        mend="Correct the file, or convert it to one of these forms",
    )
