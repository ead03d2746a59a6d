"""The dataset readers, and detection of the reader for a path.

A new reader is a module with ``LAYOUT``, ``matches`` and ``read``, and a line in `READERS`. Modules are imported on
demand: the command line lists their names in its help.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from showtell.errors import ConfigError, DataError, did_you_mean

if TYPE_CHECKING:
    from showtell.data.sources.base import Source


class Reader(Protocol):
    """The module of a reader."""

    LAYOUT: str

    def matches(self, path: Path) -> bool:
        """Return whether a path is such a dataset, by names only."""

    def read(self, path: Path) -> Source:
        """Read the dataset; problems of single entries are collected, not raised.

        Raises:
            DataError: files, columns or images that the format needs are missing.
            MissingExtraError: the reader needs a package that is not installed.
        """


# Modules in the order of detection: the most specific first, a dataset's own texts before Karpathy's.
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
    """Read a published dataset with the named reader, or the first one that matches.

    Args:
        path: A file, a folder, or ``hf:OWNER/NAME`` for a dataset on the Hugging Face hub.
        format: Name of a reader.

    Raises:
        ConfigError: no reader of that name.
        DataError: the path does not exist, no reader matches, or the dataset cannot be read.
    """
    forced = find_reader(format) if format is not None else None
    if str(path).startswith(HUB):
        from showtell.data.sources.huggingface import read_hub

        if format not in (None, "huggingface"):
            raise ConfigError(
                f"{path} cannot be read as {format}", expected="huggingface", mend="Omit --format"
            )
        return read_hub(str(path).removeprefix(HUB))
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
        raise DataError(f"cannot read {path}", found=reason, mend="Check path and permissions") from error
    known = "\n".join(f"  {name}: {find_reader(name).LAYOUT}" for name in READERS)
    raise DataError(
        f"unknown dataset format of {path}", expected=f"one of\n{known}\nTo choose one, pass --format"
    )
