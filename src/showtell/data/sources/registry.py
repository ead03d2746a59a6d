"""The readers there are, and which of them a path is for.

A new one is a module with ``LOOKS``, ``matches`` and ``read``, and a line in `READERS`. The modules are imported
when they are needed: the command line lists their names in its help.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from showtell.errors import ConfigError, DataError, did_you_mean

if TYPE_CHECKING:
    from showtell.data.sources.base import Source


class Reader(Protocol):
    """What a reader's module offers."""

    LOOKS: str

    def matches(self, path: Path) -> bool:
        """Tell, from names alone, whether this is such a set."""

    def read(self, path: Path) -> Source:
        """Read it, reporting what is wrong with single entries instead of raising."""


# By module. In this order a path is tried: the most particular first, a set's own texts before Karpathy's.
READERS: dict[str, str] = {
    "flickr8k": "flickr8k",
    "flickr8k-kaggle": "flickr8k_kaggle",
    "flickr30k": "flickr30k",
    "flickr30k-kaggle": "flickr30k_kaggle",
    "flickr30k-csv": "flickr30k_csv",
    "coco": "coco",
    "karpathy": "karpathy",
    "imagefolder": "imagefolder",
    "huggingface": "huggingface",
    "csv": "csv_table",
    "jsonl": "jsonl",
    "folder": "folder",
}

HUB = "hf:"


def find_reader(name: str) -> Reader:
    """Return the reader of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in READERS:
        raise ConfigError(f"unknown format '{name}'", mend=did_you_mean(name, READERS))
    return cast(Reader, importlib.import_module(f"showtell.data.sources.{READERS[name]}"))


def open_source(path: str | Path, format: str | None = None) -> Source:
    """Read a published set with the reader that recognises it, or with the one named.

    Args:
        path: A file, a folder, or ``hf:OWNER/NAME`` for a set on the Hugging Face hub.
        format: A reader's name.

    Raises:
        ConfigError: no reader of that name.
        DataError: nothing there, nothing recognised, or the reader cannot begin.
    """
    forced = find_reader(format) if format is not None else None
    if str(path).startswith(HUB):
        return _open_hub(str(path), format)
    path = Path(path)
    if not path.exists():
        raise DataError(f"cannot read {path}", found="no such file or directory", mend="Check the path")
    try:
        if forced is not None:
            return forced.read(path)
        for reader in map(find_reader, READERS):
            if reader.matches(path):
                return reader.read(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"cannot read {path}", found=reason, mend="Check the path and its rights") from error
    known = "\n".join(f"  {name}: {find_reader(name).LOOKS}" for name in READERS)
    raise DataError(
        f"{path} is no set that showtell recognises", expected=f"one of\n{known}\nForce one with --format"
    )


def _open_hub(address: str, format: str | None) -> Source:
    from showtell.data.sources.huggingface import read_hub

    if format not in (None, "huggingface"):
        raise ConfigError(
            f"{address} cannot be read as {format}", expected="huggingface", mend="Leave --format away"
        )
    return read_hub(address.removeprefix(HUB))
