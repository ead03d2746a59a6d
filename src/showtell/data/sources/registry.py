"""The dataset readers, and detection of the reader for a path.

A new reader is a module as `Reader` describes it, and its name in `READERS`. Modules are imported on demand: the
command line lists their names in its help.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from showtell.errors import ConfigError, DataError, did_you_mean

if TYPE_CHECKING:
    from showtell.data.sources.base import Source
    from showtell.data.sources.columns import Columns


class Reader(Protocol):
    """The module of a reader: the texts are for error messages."""

    LAYOUT: str  # a dataset of this format
    MISSING: str  # completes "found ...": why a path is not of this format

    def find(self, path: Path, *, forced: bool, **options: Any) -> list[Path]:
        """Return the files (or the folder) that `read` needs; empty if ``path`` is of another format.

        No entry is read. With ``forced``, the user named this format, and a file is accepted under any name. A reader
        in `FOUND_BY_COLUMNS` also takes ``columns``: those that the user names.
        """

    def read(self, path: Path, files: list[Path], **options: Any) -> Source:
        """Read the files found under ``path``; problems of single entries are collected, not raised.

        A reader in `IMAGES_ELSEWHERE` also takes ``images``: the folder of the images, if it is not beside the files.
        One in `WITH_COLUMNS` takes ``columns``: those that the user names.

        Raises:
            DataError: files, columns or images that the format needs are missing.
            MissingExtraError: the reader needs a package that is not installed.
        """


READERS = (
    *("flickr8k", "flickr8k-kaggle", "flickr30k", "flickr30k-kaggle", "flickr30k-csv"),
    *("coco", "karpathy", "imagefolder", "webdataset", "huggingface"),
    *("csv", "jsonl", "split-tables", "json", "caption-list", "folder"),
)
"""In the order of detection: the most specific first, a dataset's own texts before Karpathy's."""
IMAGES_ELSEWHERE = ("coco", "karpathy", "csv", "jsonl", "split-tables", "json", "caption-list")
"""Readers with the option ``images``."""
WITH_COLUMNS = ("imagefolder", "webdataset", "huggingface", "csv", "jsonl", "split-tables", "json")
"""Readers with the option ``columns``."""
FOUND_BY_COLUMNS = ("split-tables", "json")
"""Those of them that know their files by the columns."""
HUB = "hf:"


def find_reader(name: str) -> Reader:
    """Return the reader of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in READERS:
        raise ConfigError(f"unknown format '{name}'", mend=did_you_mean(name, READERS))
    return cast(Reader, importlib.import_module(f"showtell.data.sources.{name.replace('-', '_')}"))


def open_source(
    path: str | Path,
    format: str | None = None,
    *,
    images: Path | None = None,
    image_column: str = "",
    caption_column: str = "",
) -> Source:
    """Read a published dataset (a file, a folder, or ``hf:OWNER/NAME``) with the named or the first fitting reader.

    ``images`` is the folder of its images, if they are not beside the annotation file; the columns of a table are
    named if they have unusual names, or several may be meant.

    Raises:
        ConfigError: no reader of that name, or one that does not take ``images`` or columns, or no such column.
        DataError: the path does not exist, no reader matches, or the dataset cannot be read.
    """
    from showtell.data.sources import columns as tables
    from showtell.data.sources.webdataset import is_pattern

    readers = {name: find_reader(name) for name in (READERS if format is None else [format])}
    columns = tables.Columns(image_column, caption_column)
    if str(path).startswith(HUB):
        from showtell.data.sources.huggingface import read_hub

        if "huggingface" not in readers:
            raise ConfigError(
                f"{path} cannot be read as {format}", expected="huggingface", mend="Omit --format"
            )
        return read_hub(str(path).removeprefix(HUB), columns)
    path = Path(path)
    try:
        for needed in filter(None, (path, images)):
            if not needed.exists() and not is_pattern(needed):
                raise DataError(
                    f"cannot read {needed}", found="no such file or directory", mend="Check the path"
                )
        for name, reader in readers.items():
            by_columns = _columns(name, columns) if name in FOUND_BY_COLUMNS else {}
            if files := reader.find(path, forced=format is not None, **by_columns):
                source = reader.read(path, files, **_options(name, images), **_columns(name, columns))
                source.name = name
                return source
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"cannot read {path}", found=reason, mend="Check path and permissions") from error
    if format is not None:
        layout, missing = readers[format].LAYOUT, readers[format].MISSING
        raise DataError(
            f"cannot read {path} as {format}", found=missing, expected=layout, mend="Check the path"
        )
    known = "\n".join(f"  {name}: {reader.LAYOUT}" for name, reader in readers.items())
    from showtell.data.sources.nearest import describe_nearest

    expected = f"one of\n{known}\nTo choose one, pass --format"
    raise DataError(f"unknown dataset format of {path}", found=describe_nearest(path), expected=expected)


def _options(name: str, images: Path | None) -> dict[str, Path]:
    """Return the options of a reader; ConfigError: it has not the one that is given."""
    if images is None:
        return {}
    if name not in IMAGES_ELSEWHERE:
        expected = f"a dataset in one of the formats {', '.join(IMAGES_ELSEWHERE)}"
        raise ConfigError("--images does not fit", found=name, expected=expected, mend="Omit --images")
    return {"images": images}


def _columns(name: str, columns: Columns) -> dict[str, Columns]:
    """Likewise, of the columns that the user names."""
    if not columns:
        return {}
    if name not in WITH_COLUMNS:
        expected = f"a dataset in one of the formats {', '.join(WITH_COLUMNS)}"
        raise ConfigError("--image-column or --caption-column does not fit", found=name, expected=expected)
    return {"columns": columns}
