"""Captions as lines of text, JSON or CSV, whatever bytes are in a file's name; no torch here."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Literal

from showtell.inference.captioner import Caption

Form = Literal["text", "jsonl", "csv"]
FORMS: tuple[Form, ...] = ("text", "jsonl", "csv")

_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}


def header(form: Form, *, every: bool = False) -> bytes:
    """Return what stands before the first row."""
    if form != "csv":
        return b""
    return _csv(["path", *(["rank"] if every else []), "caption", "score", "error"])


def rows(caption: Caption, form: Form, *, every: bool = False, drawing: str | None = None) -> bytes:
    """Return the row or rows of a picture in UTF-8.

    Args:
        caption: Of a picture given by its path, or its error.
        form: ``text``: path, tab, caption, with backslash escapes; empty after the tab where there is an error.
        every: Give all alternatives: a row each, or one list in JSON.
        drawing: Where its attention was drawn (JSON alone says it).
    """
    path, listed = caption.path or "", caption.alternatives if every else [caption]
    if form == "jsonl":
        return _json(caption, every, drawing)
    if form == "csv":
        if caption.error is not None:
            return _csv([path, *([""] if every else []), "", "", caption.error])
        ranked = enumerate(listed, start=1)
        return b"".join(
            _csv([path, *([str(rank)] if every else []), one.text, f"{one.score:.6f}", ""])
            for rank, one in ranked
        )
    texts = [one.text for one in listed] if caption.error is None else [""]
    return "".join(f"{escape(path)}\t{escape(text)}\n" for text in texts).encode()


def escape(text: str) -> str:
    r"""Return text safe for one line and any terminal: ``\\``, ``\t``, ``\n``, and ``\xff`` for odd bytes."""

    def escaped(character: str) -> Iterator[str]:
        code = ord(character)
        if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is no UTF-8
            yield f"\\x{code - 0xDC00:02x}"
        elif 0xD800 <= code <= 0xDFFF or character in "\u2028\u2029":
            yield f"\\u{code:04x}"
        elif code < 32 or 127 <= code < 160:
            yield _ESCAPES.get(character, f"\\x{code:02x}")
        else:
            yield _ESCAPES.get(character, character)

    return "".join(part for character in text for part in escaped(character))


def _json(caption: Caption, every: bool, drawing: str | None) -> bytes:
    row: dict[str, object] = {"path": caption.path}
    if caption.error is not None:
        row["error"] = caption.error
    else:
        row.update(caption=caption.text, score=round(caption.score, 6))
        if every:
            row["alternatives"] = [
                {"caption": one.text, "score": round(one.score, 6)} for one in caption.alternatives
            ]
        if drawing is not None:
            row["attention"] = drawing
    text = json.dumps(row, ensure_ascii=False)
    if not text.isprintable():  # lone surrogates of odd file names, which UTF-8 cannot hold
        text = json.dumps(row)
    return text.encode() + b"\n"


def _csv(cells: list[str]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    # Odd bytes of a file name go out as they came in; anything else that is no text, as a question mark.
    return "".join(
        one if not "\ud800" <= one <= "\udfff" or "\udc80" <= one <= "\udcff" else "?"
        for one in buffer.getvalue()
    ).encode("utf-8", "surrogateescape")
