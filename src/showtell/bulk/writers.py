"""Rows of captions as text, JSON lines, CSV, COCO results or Parquet, safe for file names of any bytes.

A row is a JSON object with the keys of JSON lines: ``path`` and ``error``, or ``path``, ``caption``, ``score``, of a
calibrated captioner ``confidence``, ``words`` and ``word_confidences``, and what was requested (``alternatives``,
``attention``, ``neighbours``). In place of a caption that is ``unsure`` it has a text that says so. Needs no torch.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias, get_args

from showtell.errors import ConfigError, did_you_mean, escape_controls
from showtell.inference.caption import Caption

Format = Literal["text", "jsonl", "csv", "coco", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)
Row: TypeAlias = dict[str, Any]

_SUFFIXES: dict[str, Format] = {
    **{".csv": "csv", ".jsonl": "jsonl", ".txt": "text", ".tsv": "text", "": "text"},
    **{".json": "coco", ".parquet": "parquet"},
}
_ESCAPES = {"\\": "\\\\", **{chr(0xDC00 + byte): f"\\x{byte:02x}" for byte in range(128, 256)}}
_ROW_GROUP = 8192
_FORMULA = ("=", "+", "-", "@", "\t")
"""First characters of a cell that a spreadsheet runs as a formula (OWASP, CSV injection)."""


def choose_format(name: str | None, output: Path | str | None) -> Format:
    """Return the format that is named, else that of the output's suffix, else text; a ConfigError for others."""
    if name == "parquet" and output is None:
        raise ConfigError("--format parquet cannot be used", mend="Name a file for it: -o captions.parquet")
    if name in FORMATS:
        return name
    if name is not None:
        raise ConfigError(f"--format {name} cannot be used", mend=did_you_mean(name, FORMATS))
    suffix = "" if output is None else Path(output).suffix.lower()
    if suffix not in _SUFFIXES:
        raise ConfigError(
            f"cannot write captions to {output}",
            found=f"the suffix '{suffix}'",
            expected=", ".join(filter(None, _SUFFIXES)),
            mend=f"Rename it, or name the format: --format {', '.join(FORMATS)}",
        )
    return _SUFFIXES[suffix]


def to_row(
    caption: Caption,
    *,
    all_hypotheses: bool = False,
    drawing: str | None = None,
    neighbours: bool = False,
    prefix: str = "",
    suffix: str = "",
) -> Row:
    """Return the row of a caption, with the ``drawing`` of its attention and the ``neighbours`` that spoke for it.

    ``prefix`` and ``suffix`` are put around the text of each hypothesis.
    A row with a drawing has the words, and the entropy of the attention of each.
    """
    if caption.error is not None:
        return {"path": caption.path, "error": caption.error}

    def scored(hypothesis: Caption) -> Row:
        return {"caption": f"{prefix}{hypothesis.text}{suffix}", "score": round(hypothesis.score, 6)}

    row: Row = {"path": caption.path, **scored(caption)}
    if caption.confidence is not None:
        row["confidence"] = round(caption.confidence, 4)
        row |= {
            "words": caption.words,
            "word_confidences": [round(each, 4) for each in caption.word_confidences],
        }
    if caption.unsure:
        row |= {"caption": caption.text, "unsure": True}
    if all_hypotheses:
        row["alternatives"] = [scored(other) for other in caption.alternatives]
    if drawing is not None:
        row |= {"attention": drawing, "words": caption.words}
        row["attention_entropy"] = [round(value, 3) for value in caption.attention_entropy or ()]
    if neighbours:
        row["neighbours"] = [neighbour.as_json() for neighbour in caption.neighbours]
    return row


@contextmanager
def row_writer(
    form: Format, file: BinaryIO, *, all_hypotheses: bool = False
) -> Iterator[Callable[[Row], None]]:
    """Yield a function that writes rows, each whole before it returns (Parquet: 8,192 at a time).

    All hypotheses are a row each in text and CSV, and one list in JSON lines and Parquet. COCO results hold no image
    without a caption or with an unsure one, and name each by the number that ends its file name, as in COCO's own
    files, else by that name without its suffix.
    """

    def put(block: bytes) -> None:
        file.write(block)
        file.flush()

    if form == "parquet":
        with _parquet_writer(file) as write:
            yield write
    elif form == "coco":
        with _coco_writer(put) as write:
            yield write
    elif form == "csv":
        put(_csv(["path", *(["rank"] if all_hypotheses else []), "caption", "score", "error", "confidence"]))
        yield lambda row: put(_csv_rows(row, all_hypotheses))
    else:
        yield lambda row: put(to_json(row) if form == "jsonl" else _text(row))


def to_json(row: Row) -> bytes:
    """Return a row as a line of JSON."""
    text = json.dumps(row, ensure_ascii=False)
    if not text.isprintable():  # lone surrogates of odd file names, which UTF-8 cannot encode
        text = json.dumps(row)
    return text.encode() + b"\n"


def escape(text: str) -> str:
    r"""Return text safe for one line and any terminal: ``\\``, ``\t``, ``\n``, and ``\xff`` for odd bytes."""

    # A byte of a file name that is not UTF-8 is a lone surrogate.
    text = re.sub(r"[\\\udc80-\udcff]", lambda match: _ESCAPES[match[0]], text)
    return escape_controls(text)


def _captions(row: Row) -> list[Row]:
    return [row] if "unsure" in row else list(row.get("alternatives", [row]))


def _text(row: Row) -> bytes:
    texts = [""] if "error" in row else [each["caption"] for each in _captions(row)]
    return "".join(f"{escape(row['path'])}\t{escape(text)}\n" for text in texts).encode()


def _csv_rows(row: Row, all_hypotheses: bool) -> bytes:
    path, rank = row["path"], [""] if all_hypotheses else []
    if "error" in row:
        return _csv([path, *rank, "", "", row["error"], ""])
    # Of the best caption alone.
    confidences = chain([row.get("confidence", "")], repeat(""))
    return b"".join(
        _csv([path, *([str(number)] if rank else []), each["caption"], each["score"], "", next(confidences)])
        for number, each in enumerate(_captions(row), start=1)
    )


def _csv(cells: list[str | float]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(
        _defused(cell) if isinstance(cell, str) else f"{cell:.6f}" for cell in cells
    )
    # Odd bytes of a file name are written as they are; other lone surrogates become a question mark.
    return re.sub(r"[\ud800-\udc7f\udd00-\udfff]", "?", buffer.getvalue()).encode("utf-8", "surrogateescape")


def _defused(cell: str) -> str:
    """Return a text that no spreadsheet takes for a formula, with an apostrophe before it, and no terminal obeys."""
    cell = f"'{cell}" if cell.startswith(_FORMULA) else cell
    return re.sub(r"[^\t\n\ud800-\udfff]+", lambda match: escape_controls(match[0]), cell)


@contextmanager
def _coco_writer(put: Callable[[bytes], None]) -> Iterator[Callable[[Row], None]]:
    start = "["

    def write(row: Row) -> None:
        nonlocal start
        if "error" not in row and "unsure" not in row:
            result = {"image_id": _image_id(row["path"]), "caption": row["caption"]}
            put(f"{start}\n{json.dumps(result)}".encode())
            start = ","

    yield write
    put(b"[]\n" if start == "[" else b"\n]\n")


def _image_id(path: str) -> int | str:
    """Return 139 for ``000000000139.jpg`` and ``COCO_val2014_000000000139.jpg``, and ``photo`` for ``photo.jpg``.

    A row of a table, ``photos.parquet#12``, keeps its number.
    """
    name = Path(path)
    stem = name.name if "#" in name.suffix else name.stem
    number = re.fullmatch(r"(?:COCO_\w+_)?([0-9]{12})", stem)
    return int(number[1]) if number else stem


@contextmanager
def _parquet_writer(file: BinaryIO) -> Iterator[Callable[[Row], None]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    hypothesis = pa.struct([("caption", pa.string()), ("score", pa.float64())])
    names = [("path", pa.string()), ("caption", pa.string()), ("score", pa.float64()), ("error", pa.string())]
    schema = pa.schema(
        [
            *names,
            ("alternatives", pa.list_(hypothesis)),
            ("attention", pa.string()),
            ("words", pa.list_(pa.string())),
            ("attention_entropy", pa.list_(pa.float64())),
            ("neighbours", pa.string()),
            ("confidence", pa.float64()),
            ("word_confidences", pa.list_(pa.float64())),
            ("unsure", pa.bool_()),
        ]
    )
    group: list[Row] = []

    def flush() -> None:
        parquet.write_table(pa.Table.from_pylist(group, schema))
        group.clear()

    def write(row: Row) -> None:
        row = {**row, "path": row["path"] if row["path"].isprintable() else escape(row["path"])}
        if "neighbours" in row:
            row["neighbours"] = json.dumps(row["neighbours"], ensure_ascii=False)
        group.append(row)
        if len(group) == _ROW_GROUP:
            flush()

    with pq.ParquetWriter(file, schema) as parquet:
        yield write
        if group:
            flush()
