"""The readers there are, and which of them a path is for.

A new one is a module with ``LOOKS``, ``recognise`` and ``read``, and a line in `READERS`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from showtell.data.sources import coco, csv_table, flickr8k, flickr8k_kaggle, folder, jsonl
from showtell.data.sources.source import Source
from showtell.errors import ConfigError, DataError, did_you_mean


class Reader(Protocol):
    """What a reader's module offers."""

    LOOKS: str

    def recognise(self, path: Path) -> bool:
        """Tell, from names alone, whether this is such a set."""

    def read(self, path: Path) -> Source:
        """Read it, reporting what is wrong with single entries instead of raising."""


# In this order a path is tried: the most particular first.
READERS: dict[str, Reader] = {
    "flickr8k": flickr8k,
    "flickr8k-kaggle": flickr8k_kaggle,
    "coco": coco,
    "csv": csv_table,
    "jsonl": jsonl,
    "folder": folder,
}


def open_source(path: Path, format: str | None = None) -> Source:
    """Read a published set with the reader that recognises it, or with the one named.

    Raises:
        ConfigError: no reader of that name.
        DataError: nothing there, nothing recognised, or the reader cannot begin.
    """
    if format is not None and format not in READERS:
        raise ConfigError(f"unknown format '{format}'", mend=did_you_mean(format, READERS))
    if not path.exists():
        raise DataError(f"cannot read {path}", found="no such file or directory", mend="Check the path")
    if format is not None:
        return READERS[format].read(path)
    for reader in READERS.values():
        if reader.recognise(path):
            return reader.read(path)
    known = "\n".join(f"  {name}: {reader.LOOKS}" for name, reader in READERS.items())
    raise DataError(
        f"{path} is no set that showtell recognises", expected=f"one of\n{known}\nForce one with --format"
    )
