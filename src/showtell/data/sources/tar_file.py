"""Opening .tar files of any size: no header takes much memory, and their members are not kept."""

import gzip
import os
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import IO, Any, cast

from showtell.system.reading import open_file

ERRORS = (tarfile.TarError, OSError, EOFError, zlib.error, ValueError, RecursionError)
"""What a broken file raises; RecursionError: many long names in a row."""
MAX_HEADER, MAX_UNPACKED = 2**20, 16 * 2**30  # bytes
_GZIP = b"\x1f\x8b"
_CHUNK = 2**20


@contextmanager
def opened(file: Path) -> Iterator[IO[bytes]]:
    """Yield the bytes of a .tar as a stream, unpacked if they are compressed; seeking back in it may be slow."""
    with open_file(file) as content:
        yield decompressed(content)


def decompressed(content: IO[bytes]) -> IO[bytes]:
    """Return the bytes of a .tar as a stream, given those of the file, which may be compressed."""
    is_packed = content.read(len(_GZIP)) == _GZIP
    content.seek(0)
    return cast(IO[bytes], gzip.GzipFile(fileobj=content)) if is_packed else content


@contextmanager
def unpacked(file: Path) -> Iterator[tuple[IO[bytes], str]]:
    """Yield the bytes of a .tar for reading in any order, and what was wrong in unpacking them.

    Compressed ones are written to a temporary file without a name (in ``TMPDIR`` or ``/var/tmp``), as far as they
    can be read, and at most `MAX_UNPACKED` of them.
    """
    folder = os.environ.get("TMPDIR", "/var/tmp")
    with opened(file) as content:
        if not isinstance(content, gzip.GzipFile):
            yield content, ""
            return
        with TemporaryFile(dir=folder if Path(folder).is_dir() else None) as copy:
            wrong = ""
            try:
                while chunk := content.read(_CHUNK):
                    if copy.tell() + len(chunk) > MAX_UNPACKED:
                        raise ValueError(
                            f"more than {MAX_UNPACKED:,} bytes when unpacked; give smaller shards"
                        )
                    copy.write(chunk)
            except ERRORS as error:
                wrong = str(error)
            copy.seek(0)
            yield cast(IO[bytes], copy), wrong


def members(content: IO[bytes]) -> tarfile.TarFile:
    """Return the members of a .tar, given its bytes; a header of more than `MAX_HEADER` is a ReadError."""
    return tarfile.TarFile(fileobj=cast(IO[bytes], _Headers(content)))


def visible_members(content: IO[bytes]) -> Iterator[tarfile.TarInfo]:
    """Yield the members of a .tar that are no folders, without hidden ones and macOS's shadow entries.

    Raises:
        ReadError: it is no .tar.
        ValueError: it is cut or broken, after the members that were yielded.
    """
    tar, member = members(content), None
    try:
        while (member := tar.next()) is not None:
            vars(tar)["members"] = []  # else they stay in memory
            if member.size < 0:
                raise ValueError("a member of negative size")  # the next would be one before it
            path = PurePosixPath(member.name)
            if not (member.isdir() or path.name.startswith(".") or "__MACOSX" in path.parts):
                yield member
        # tarfile ends without an error at a header that it cannot read.
        content.seek(tar.offset)
        mark, rest = content.read(512), content.read(2**20)
    except ERRORS as error:
        raise ValueError(f"cut or broken at byte {_break(content, tar, member):,}: {error}") from error
    if mark != bytes(512):
        raise ValueError(f"cut or broken at byte {_break(content, tar, member):,}; what follows was not read")
    if rest.strip(b"\0"):
        raise ValueError("a second archive follows the end of the first, and was not read")


def _break(content: IO[bytes], tar: tarfile.TarFile, last: tarfile.TarInfo | None) -> int:
    """Return where a .tar ends: at a header that cannot be read, or in its last member."""
    try:
        return min(tar.offset, content.seek(0, os.SEEK_END))
    except ERRORS:  # compressed, and cut
        return last.offset_data if last is not None else tar.offset


def read_member(content: IO[bytes], place: Sequence[int], limit: int) -> bytes:
    """Return the bytes of a member, given their offset and number; ValueError: they are cut, or over the limit."""
    offset, size = place
    if size > limit:
        raise ValueError(f"{size:,} bytes, more than {limit:,}")
    content.seek(offset)
    data = content.read(size)
    if len(data) < size:
        raise ValueError(f"cut after {len(data):,} of {size:,} bytes")
    return data


class _Headers:
    """A file as ``tarfile`` needs it, which reads a name of any length at once."""

    def __init__(self, content: IO[bytes]) -> None:
        self._content = content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    def read(self, size: int) -> bytes:
        if size > MAX_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._content.read(size)
