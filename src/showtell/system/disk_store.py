"""Records on disk in place of a dict of objects, so that memory does not grow with how many there are.

A private file of SQLite in ``SQLITE_TMPDIR``, ``TMPDIR`` or ``/var/tmp``; it has no name there, so that nothing is
left however the process ends. A few megabytes of it are in memory.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import chain, count, islice
from typing import Any, Generic, TypeVar, overload

from showtell.errors import DataError

FEW = 4_096
_LARGEST = 2**62 - 1

T = TypeVar("T")

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class DiskList(Sequence[T], Generic[T]):
    """Records in the order in which their names first came, as in a dict.

    Args:
        items: What there is to begin with.
        pack: Turns a record into JSON values; any text will do, that which is no Unicode too.
        unpack: Turns them back.
        name: By what a record is found; None: records are not looked up, all are kept.
    """

    def __init__(
        self,
        items: Iterable[T] = (),
        *,
        pack: Callable[[T], Any],
        unpack: Callable[[Any], T],
        name: Callable[[T], Hashable] | None = None,
    ) -> None:
        self._pack, self._unpack, self._name = pack, unpack, name
        self._count = 0
        # Names would all be there twice: the index has their hash, or the next number where that is another name's.
        self._database = _open(
            "CREATE TABLE record (place INTEGER PRIMARY KEY, slot INTEGER UNIQUE, content BLOB)"
        )
        weakref.finalize(self, self._database.close)
        for item in items:
            self.add(item)

    def add(self, item: T) -> T | None:
        """Add a record at the end; where there is one of its name, that one stays and is returned."""
        content = to_bytes(_encode(self._pack(item)))
        name = None if self._name is None else self._name(item)
        slots: Iterable[int | None] = [None] if self._name is None else _slots(name)
        for slot in slots:
            if self._run(_INSERT, (slot, content)).rowcount:
                break
            earlier = self._at(slot)
            if self._name is not None and earlier is not None and self._name(earlier) == name:
                return earlier
        self._count += 1
        return None

    def replace(self, item: T, *, last: bool = False) -> None:
        """Put a record in the place of the one of its name, or (``last``) at the end.

        Raises:
            KeyError: there is none of its name.
        """
        name = None if self._name is None else self._name(item)
        slot, found = self._look_up(name)
        if found is None:
            raise KeyError(name)
        content = to_bytes(_encode(self._pack(item)))
        self._run(_MOVE if last else _UPDATE, (content, slot))

    def find(self, name: Hashable) -> T | None:
        """Return the record of a name, if there is one."""
        return self._look_up(name)[1]

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        return map(self._read, self._run("SELECT content FROM record ORDER BY place"))

    @overload
    def __getitem__(self, place: int) -> T: ...

    @overload
    def __getitem__(self, place: slice) -> list[T]: ...

    def __getitem__(self, place: int | slice) -> T | list[T]:
        """Return a record, or a list of them; for a few, as those before it are gone through each time."""
        if isinstance(place, slice):
            return [self[at] for at in range(*place.indices(self._count))]
        if not -self._count <= place < self._count:
            raise IndexError(place)
        return next(islice(self, place % self._count, None))

    def _look_up(self, name: Hashable) -> tuple[int, T | None]:
        """Return the slot of a name and the record in it, none where the name would come."""
        if self._name is None:
            raise ValueError("these records have no names")
        for slot in _slots(name):
            found = self._at(slot)
            if found is None or self._name(found) == name:
                return slot, found
        raise AssertionError("slots have no end")

    def _at(self, slot: int | None) -> T | None:
        row = self._run("SELECT content FROM record WHERE slot = ?", (slot,)).fetchone()
        return None if row is None else self._read(row)

    def _read(self, row: tuple[bytes]) -> T:
        return self._unpack(json.loads(row[0].decode("utf-8", "surrogatepass")))

    def _run(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        return _run(self._database, statement, values)


_INSERT = "INSERT OR IGNORE INTO record (slot, content) VALUES (?, ?)"
_UPDATE = "UPDATE record SET content = ? WHERE slot = ?"
_MOVE = "UPDATE record SET content = ?, place = (SELECT MAX(place) + 1 FROM record) WHERE slot = ?"


def _slots(name: Hashable) -> Iterator[int]:
    """Yield where the record of a name may be: 62 bits of its hash, then the numbers after."""
    return count(hash(name) & _LARGEST)


def text_list(texts: Iterable[str] = ()) -> DiskList[str]:
    """Return texts on disk, each once, as in the keys of a dict."""
    return DiskList(texts, pack=str, unpack=str, name=str)


def external_sort(texts: Iterable[str], key: Callable[[str], bytes]) -> Iterator[str]:
    """Yield texts in the order of their keys; of equal keys, in their own.

    Few are sorted in memory, for a tree has many small folders.
    """
    coming = iter(texts)
    few = list(islice(coming, FEW))
    if len(few) < FEW:
        yield from sorted(few, key=key)
        return
    with contextlib.closing(_open("CREATE TABLE text (key BLOB, content BLOB)")) as database:
        for text in chain(few, coming):
            _run(database, "INSERT INTO text VALUES (?, ?)", (key(text), to_bytes(text)))
        few.clear()
        for (content,) in _run(database, "SELECT content FROM text ORDER BY key, rowid"):
            yield content.decode("utf-8", "surrogatepass")


def to_bytes(text: str) -> bytes:
    """Return bytes in the order of code points, of what is no Unicode too (odd bytes in names of files)."""
    return text.encode("utf-8", "surrogatepass")


def _open(table: str) -> sqlite3.Connection:
    database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    # One transaction without a journal: what is here is gone with the process anyway.
    for statement in ("PRAGMA journal_mode = OFF", "PRAGMA temp_store = FILE", table, "BEGIN"):
        _run(database, statement)
    return database


def _run(database: sqlite3.Connection, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
    try:
        return database.execute(statement, values)
    except sqlite3.OperationalError as error:
        raise DataError(
            "cannot keep a temporary file",
            found=str(error),
            mend="Free some space in /var/tmp, or let TMPDIR name a folder on another disk",
        ) from error
