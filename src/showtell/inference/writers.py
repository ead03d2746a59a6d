"""Captions as rows of text, JSON lines or CSV, safe for file names of any bytes. Needs no torch."""

import csv
import io
import json
from pathlib import Path
from typing import Literal, get_args

from showtell.errors import ConfigError, did_you_mean
from showtell.inference.caption import Caption

Format = Literal["text", "jsonl", "csv"]
FORMATS: tuple[Format, ...] = get_args(Format)

_SUFFIXES: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".txt": "text", ".tsv": "text", "": "text"}
_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}


def choose_format(name: str | None, output: Path | None) -> Format:
    """Return the format that is named, else that of the output's suffix, else text; a ConfigError for others."""
    if name in FORMATS:
        return name
    if name is not None:
        raise ConfigError(f"--format {name} cannot be used", mend=did_you_mean(name, FORMATS))
    suffix = "" if output is None else output.suffix.lower()
    if suffix not in _SUFFIXES:
        raise ConfigError(
            f"cannot write captions to {output}",
            found=f"the suffix '{suffix}'",
            expected=", ".join(filter(None, _SUFFIXES)),
            mend=f"Rename it, or name the format: --format {', '.join(FORMATS)}",
        )
    return _SUFFIXES[suffix]


def header(form: Format, *, all_hypotheses: bool = False) -> bytes:
    """Return the bytes before the first row."""
    if form != "csv":
        return b""
    return _csv(["path", *(["rank"] if all_hypotheses else []), "caption", "score", "error"])


def rows(
    caption: Caption,
    form: Format,
    *,
    all_hypotheses: bool = False,
    drawing: str | None = None,
    neighbours: bool = False,
) -> bytes:
    """Return the row or rows of an image in UTF-8; those of text are path, tab and caption (empty for an error).

    All hypotheses are a row each, or one list in JSON. Only JSON names the ``drawing`` of attention and the
    ``neighbours`` that spoke for the caption.
    """
    path, captions = caption.path or "", caption.alternatives if all_hypotheses else [caption]
    if form == "jsonl":
        return _json(caption, all_hypotheses, drawing, neighbours)
    if form == "csv":
        if caption.error is not None:
            return _csv([path, *([""] if all_hypotheses else []), "", "", caption.error])
        return b"".join(
            _csv([path, *([str(rank)] if all_hypotheses else []), each.text, f"{each.score:.6f}", ""])
            for rank, each in enumerate(captions, start=1)
        )
    texts = [each.text for each in captions] if caption.error is None else [""]
    return "".join(f"{escape(path)}\t{escape(text)}\n" for text in texts).encode()


def escape(text: str) -> str:
    r"""Return text safe for one line and any terminal: ``\\``, ``\t``, ``\n``, and ``\xff`` for odd bytes."""

    def escaped(character: str) -> str:
        code = ord(character)
        if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is not UTF-8
            return f"\\x{code - 0xDC00:02x}"
        if 0xD800 <= code <= 0xDFFF or character in "\u2028\u2029":
            return f"\\u{code:04x}"
        if code < 32 or 127 <= code < 160:
            return _ESCAPES.get(character, f"\\x{code:02x}")
        return _ESCAPES.get(character, character)

    return "".join(map(escaped, text))


def _json(caption: Caption, all_hypotheses: bool, drawing: str | None, neighbours: bool) -> bytes:
    row: dict[str, object] = {"path": caption.path}
    if caption.error is not None:
        row["error"] = caption.error
    else:
        row.update(caption=caption.text, score=round(caption.score, 6))
        if all_hypotheses:
            row["alternatives"] = [
                {"caption": other.text, "score": round(other.score, 6)} for other in caption.alternatives
            ]
        if drawing is not None:
            row["attention"] = drawing
        if neighbours:
            row["neighbours"] = [neighbour.as_json() for neighbour in caption.neighbours]
    text = json.dumps(row, ensure_ascii=False)
    if not text.isprintable():  # lone surrogates of odd file names, which UTF-8 cannot encode
        text = json.dumps(row)
    return text.encode() + b"\n"


def _csv(cells: list[str]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    # Odd bytes of a file name are written as they are; other lone surrogates become a question mark.
    return "".join(
        character if not "\ud800" <= character <= "\udfff" or "\udc80" <= character <= "\udcff" else "?"
        for character in buffer.getvalue()
    ).encode("utf-8", "surrogateescape")
