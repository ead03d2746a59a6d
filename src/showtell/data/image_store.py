"""Images embedded in a dataset as bytes become files of the prepared set: ``images/``, named by content."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from showtell.data.sources.base import EmbeddedImageExample, Example
from showtell.system.console import progress

FOLDER = "images"
_SUFFIXES = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"GIF8": ".gif", b"RIFF": ".webp", b"BM": ".bmp"}


def write_embedded_images(
    examples: Iterable[Example | EmbeddedImageExample], directory: Path
) -> Iterator[Example]:
    """Yield all examples, writing embedded images unchanged to the prepared set ``directory``, one at a time."""
    with progress("reading images", None, unit="images") as advance:
        for example in examples:
            if isinstance(example, Example):
                yield example
            else:
                path = _store(example.data, directory / FOLDER)
                advance(1, "")
                yield Example(example.key, path, example.captions, example.split)


def remove_unreferenced(directory: Path, is_used: Callable[[Path], bool]) -> None:
    """Remove the stored images of examples that were left out."""
    for path in (directory / FOLDER).glob("*/*"):
        if not is_used(path):
            path.unlink()


def _store(data: bytes, folder: Path) -> Path:
    digest = hashlib.sha256(data).hexdigest()
    suffix = next((suffix for mark, suffix in _SUFFIXES.items() if data.startswith(mark)), "")
    path = folder / digest[:2] / f"{digest}{suffix}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return path
