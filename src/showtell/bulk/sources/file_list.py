"""Lists of files to caption, for ``--filelist``: one a line, or NUL-separated; ``-`` is standard input."""

import codecs
import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from showtell.errors import DataError
from showtell.system.disk_store import DiskList
from showtell.system.reading import cannot_read

_CHUNK = 2**16  # bytes: more than a path has, so that the first chunk shows whether NULs separate them


@dataclass(frozen=True)
class FileList:
    """The paths in a list, which are kept on disk, and the SHA-256 of the list."""

    paths: DiskList[str]
    sha256: str


def read_file_list(path: Path) -> FileList:
    """Read a list to its end; empty lines are passed over.

    Raises:
        DataError: it cannot be read, or is UTF-16.
    """
    digest = hashlib.sha256()
    try:
        with nullcontext(sys.stdin.buffer) if path == Path("-") else path.open("rb") as file:
            paths = DiskList(_paths(_chunks(file, digest), path), pack=str, unpack=str)
    except OSError as error:
        raise cannot_read(path, error) from error
    return FileList(paths, digest.hexdigest())


def _chunks(file: BinaryIO, digest: "hashlib._Hash") -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
        yield chunk


def _paths(chunks: Iterator[bytes], path: Path) -> Iterator[str]:
    rest = next(chunks, b"").removeprefix(codecs.BOM_UTF8)
    if rest.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(
            f"cannot read {path}", found="UTF-16", expected="UTF-8", mend="Save the file as UTF-8"
        )
    separator = b"\0" if b"\0" in rest else b"\n"
    for chunk in chain(chunks, [separator]):
        *whole, rest = (rest + chunk).split(separator)
        lines = whole if separator == b"\0" else (line.removesuffix(b"\r") for line in whole)
        yield from (os.fsdecode(line) for line in lines if line)
