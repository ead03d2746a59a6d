"""Pictures that a set holds as bytes become files of the prepared set: ``pictures/``, named by content.

Bytes are written as they are held, one picture at a time, each once; everything after that sees files only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Iterator
from pathlib import Path

from showtell.data.sources.base import EmbeddedImageExample, Example
from showtell.system.console import progress

FOLDER = "pictures"
_SUFFIXES = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"GIF8": ".gif", b"RIFF": ".webp", b"BM": ".bmp"}


def write_embedded_images(
    examples: Iterable[Example | EmbeddedImageExample], directory: Path
) -> Iterator[Example]:
    """Yield all examples, those whose set holds the bytes after these have been written.

    Args:
        examples: Gone through once; one picture is in memory at a time.
        directory: The prepared set in the making.
    """
    with progress("reading pictures", None, unit="pictures") as advance:
        for example in examples:
            if isinstance(example, Example):
                yield example
            else:
                path = _store(example.data, directory / FOLDER)
                advance(1, "")
                yield Example(example.key, path, example.captions, example.split)


def remove_unreferenced(directory: Path, used: Container[Path]) -> None:
    """Remove the stored pictures of examples that were left out."""
    for path in (directory / FOLDER).glob("*/*"):
        if path not in used:
            path.unlink()


def _store(data: bytes, folder: Path) -> Path:
    digest = hashlib.sha256(data).hexdigest()
    suffix = next((suffix for mark, suffix in _SUFFIXES.items() if data.startswith(mark)), "")
    path = folder / digest[:2] / f"{digest}{suffix}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return path
