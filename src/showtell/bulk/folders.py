"""Outputs on a disk of this machine (paths) or on object storage (texts, their addresses): files and their folders.

A file has its name once it is whole: on a disk it is synced and renamed, and object storage has no object before all
of it has come.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

from showtell.bulk.sources.storage import delete_objects, list_names, open_binary, put_file, read_object
from showtell.system.atomic import atomic_path, cannot_write
from showtell.system.batch_pool import map_ahead
from showtell.system.disk_store import sort_texts, to_bytes
from showtell.system.locks import locked_directory
from showtell.system.reading import cannot_read, open_file

_THREADS, _AHEAD = 8, 16  # files


def written(place: Path | str) -> AbstractContextManager[Path]:
    """Yield a path to be written; what is there becomes the file at this place if the block succeeds."""
    return atomic_path(place) if isinstance(place, Path) else put_file(place)


class Folder:
    """A folder without folders in it; ``str`` is its path or address.

    Attributes:
        is_locked: Whether no other process writes it while it is held.
    """

    def __init__(self, place: Path | str) -> None:
        self._place, self.is_locked = place, isinstance(place, Path)

    def __str__(self) -> str:
        return str(self._place)

    def _file(self, name: str) -> Path | str:
        return self._place / name if isinstance(self._place, Path) else f"{self._place}/{name}"

    def held(self) -> AbstractContextManager[None]:
        """Lock the folder inside the block if that is possible; a DataError if another process has locked it."""
        return locked_directory(self._place) if isinstance(self._place, Path) else contextlib.nullcontext()

    def names(self) -> Iterator[str]:
        """Yield the names of the files in order; none if there is no folder."""
        if isinstance(self._place, str):
            yield from sort_texts(list_names(self._place), to_bytes)
            return
        try:
            with os.scandir(self._place) as entries:
                yield from sort_texts((entry.name for entry in entries), to_bytes)
        except FileNotFoundError:
            return
        except OSError as error:
            raise cannot_read(self._place, error) from error

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, None if it does not exist."""
        file = self._file(name)
        if isinstance(file, str):
            return read_object(file)
        try:
            with open_file(file) as content:
                return content.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise cannot_read(file, error) from error

    def read_all(self, names: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
        """Yield the name and content of each file, which threads read ahead."""
        return map_ahead(lambda name: (name, self.read(name)), names, workers=_THREADS, ahead=_AHEAD)

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading."""
        return open_binary(str(self._file(name)))

    def written(self, name: str) -> AbstractContextManager[Path]:
        """Yield a path to be written, as `written`."""
        return written(self._file(name))

    def delete(self, names: Iterable[str]) -> None:
        """Delete files, which may be gone already."""
        if isinstance(self._place, str):
            delete_objects(f"{self._place}/{name}" for name in names)
            return
        try:
            for name in names:
                (self._place / name).unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(self._place, error) from error

    def remove(self) -> None:
        """Delete the folder if it is there and empty; object storage has none then."""
        if isinstance(self._place, Path):
            with contextlib.suppress(OSError):
                self._place.rmdir()
