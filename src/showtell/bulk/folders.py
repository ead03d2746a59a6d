"""The folder of an unfinished output, on a disk of this machine or on object storage.

A file has its name once it is whole: on a disk it is synced and renamed, and object storage has no object before all
of it has come.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Protocol

from showtell.bulk.sources.storage import (
    delete_objects,
    is_url,
    list_names,
    open_binary,
    put_file,
    read_object,
)
from showtell.system.atomic import atomic_path, cannot_write
from showtell.system.batch_pool import map_ahead
from showtell.system.disk_store import sort_texts, to_bytes
from showtell.system.locks import locked_directory
from showtell.system.reading import cannot_read, open_file

_THREADS, _AHEAD = 8, 16  # objects


class Folder(Protocol):
    """A folder without folders in it; ``str`` is its path or address.

    Attributes:
        is_locked: Whether no other process writes it while it is held.
    """

    is_locked: bool

    def held(self) -> AbstractContextManager[None]:
        """Lock the folder inside the block if that is possible; a DataError if another process has locked it."""

    def names(self) -> Iterator[str]:
        """Yield the names of the files in order; none if there is no folder."""

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
        """Yield the name and content of each file, None if it does not exist."""

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading."""

    def written(self, name: str) -> AbstractContextManager[Path]:
        """Yield a path to be written; what is there becomes the file if the block succeeds."""

    def delete(self, names: Iterable[str]) -> None:
        """Delete files, which may be gone already."""

    def remove(self) -> None:
        """Delete the folder, which is empty."""


class LocalFolder:
    """A directory."""

    is_locked = True

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    def held(self) -> AbstractContextManager[None]:
        """See `Folder`."""
        return locked_directory(self._path)

    def names(self) -> Iterator[str]:
        """See `Folder`."""
        try:
            with os.scandir(self._path) as entries:
                yield from sort_texts((entry.name for entry in entries), to_bytes)
        except FileNotFoundError:
            return
        except OSError as error:
            raise cannot_read(self._path, error) from error

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
        """See `Folder`."""
        for name in names:
            try:
                with open_file(self._path / name) as file:
                    content = file.read()
            except (FileNotFoundError, NotADirectoryError):
                yield name, None
            except OSError as error:
                raise cannot_read(self._path / name, error) from error
            else:
                yield name, content

    def open(self, name: str) -> IO[bytes]:
        """See `Folder`."""
        return (self._path / name).open("rb")

    def written(self, name: str) -> AbstractContextManager[Path]:
        """See `Folder`."""
        return atomic_path(self._path / name)

    def delete(self, names: Iterable[str]) -> None:
        """See `Folder`."""
        try:
            for name in names:
                (self._path / name).unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def remove(self) -> None:
        """See `Folder`."""
        self._path.rmdir()


class RemoteFolder:
    """Objects whose addresses begin with that of the folder."""

    is_locked = False

    def __init__(self, url: str) -> None:
        self._url = url

    def __str__(self) -> str:
        return self._url

    def held(self) -> AbstractContextManager[None]:
        """See `Folder`."""
        return contextlib.nullcontext()

    def names(self) -> Iterator[str]:
        """See `Folder`."""
        return sort_texts(list_names(self._url), to_bytes)

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
        """See `Folder`."""

        def read(name: str) -> tuple[str, bytes | None]:
            return name, read_object(f"{self._url}/{name}")

        return map_ahead(read, names, workers=_THREADS, ahead=_AHEAD, name="fetch")

    def open(self, name: str) -> IO[bytes]:
        """See `Folder`."""
        return open_binary(f"{self._url}/{name}")

    def written(self, name: str) -> AbstractContextManager[Path]:
        """See `Folder`."""
        return put_file(f"{self._url}/{name}")

    def delete(self, names: Iterable[str]) -> None:
        """See `Folder`."""
        delete_objects(f"{self._url}/{name}" for name in names)

    def remove(self) -> None:
        """See `Folder`: object storage has none without objects."""


def folder_at(place: Path | str) -> Folder:
    """Return the folder at a path, or at an address of object storage."""
    return RemoteFolder(place) if isinstance(place, str) and is_url(place) else LocalFolder(Path(place))
