"""Records on disk instead of a dict of objects, so that memory does not grow with their number.

The store is a temporary SQLite file without a name (in ``SQLITE_TMPDIR``, ``TMPDIR`` or ``/var/tmp``), which is gone
when the process ends. Arrow files cannot replace it: their rows can be neither replaced nor found by a key.
"""

import json
import sqlite3
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, Generic, TypeVar

from showtell.errors import DataError

T = TypeVar("T")

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class DiskList(Sequence[T], Generic[T]):
    """Records in the order in which their keys first appear, like the values of a dict.

    ``pack`` converts a record to JSON values, with lone surrogates allowed, and ``unpack`` converts them back.
    ``key`` returns the text that identifies a record; without it all are kept.
    """

    def __init__(
        self,
        items: Iterable[T] = (),
        *,
        pack: Callable[[T], Any],
        unpack: Callable[[Any], T],
        key: Callable[[T], str | bytes] | None = None,
    ) -> None:
        self._pack, self._unpack, self._key = pack, unpack, key
        self._count = 0
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        weakref.finalize(self, self._database.close)
        # One transaction without a journal: a temporary store need not survive a crash.
        cache = f"PRAGMA cache_size = -{_CACHE if key is None else _CACHE_OF_KEYS}"
        for statement in (*_PRAGMAS, cache, _CREATE, "BEGIN"):
            self._run(statement)
        for item in items:
            self.add(item)

    def add(self, item: T) -> T | None:
        """Append a record; if its key exists, keep the earlier record and return that."""
        key = None if self._key is None else self._key(item)
        added = self._run(_INSERT, (None if key is None else to_bytes(key), self._content(item))).rowcount
        if key is not None and not added:
            return self.find(key)
        self._count += 1
        return None

    def replace(self, item: T, *, last: bool = False) -> None:
        """Replace the record of the same key, in its place or (``last``) at the end; a KeyError if there is none."""
        key = "" if self._key is None else self._key(item)
        if not self._run(_MOVE if last else _UPDATE, (self._content(item), to_bytes(key))).rowcount:
            raise KeyError(key)

    def find(self, key: str | bytes) -> T | None:
        """Return the record of a key, or None."""
        row = self._run("SELECT content FROM record WHERE key = ?", (to_bytes(key),)).fetchone()
        return None if row is None else self._read(row)

    def in_order(self, sort_key: Callable[[T], bytes]) -> Iterator[T]:
        """Yield the records in the order of these bytes, sorted on disk."""
        self._database.create_function("sort_key", 1, lambda content: sort_key(self._read((content,))))
        return map(self._read, self._run("SELECT content FROM record ORDER BY sort_key(content)"))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        return map(self._read, self._run("SELECT content FROM record ORDER BY place"))

    def __getitem__(self, index: Any) -> Any:
        """Return a record or a list of them; each access reads all records before it."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError(index)
        return next(islice(self, index % self._count, None))

    def _content(self, item: T) -> bytes:
        return to_bytes(_encode(self._pack(item)))

    def _read(self, row: tuple[bytes]) -> T:
        return self._unpack(json.loads(row[0].decode("utf-8", "surrogatepass")))

    def _run(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        try:
            return self._database.execute(statement, values)
        except sqlite3.OperationalError as error:
            raise DataError(
                "cannot write a temporary file",
                found=str(error),
                mend="Free some space in /var/tmp, or set TMPDIR to a folder on another disk",
            ) from error


_PRAGMAS = ("PRAGMA journal_mode = OFF", "PRAGMA temp_store = FILE")
_CACHE, _CACHE_OF_KEYS = 512, 16384
"""KiB: what is written and read in order needs none, also when it is sorted; keys are found anywhere."""
SORTED_IN_MEMORY = 20_000  # texts
_CREATE = "CREATE TABLE record (place INTEGER PRIMARY KEY, key BLOB UNIQUE, content BLOB)"
_INSERT = "INSERT OR IGNORE INTO record (key, content) VALUES (?, ?)"
_UPDATE = "UPDATE record SET content = ? WHERE key = ?"
_MOVE = "UPDATE record SET content = ?, place = (SELECT MAX(place) + 1 FROM record) WHERE key = ?"


def sort_texts(texts: Iterable[str], key: Callable[[str], bytes]) -> Iterator[str]:
    """Yield texts in the order of their keys; more than memory should hold are sorted on disk."""
    texts = iter(texts)
    first = list(islice(texts, SORTED_IN_MEMORY))
    if len(first) < SORTED_IN_MEMORY:
        yield from sorted(first, key=key)
    else:
        yield from DiskList(chain(first, texts), pack=str, unpack=str).in_order(key)


def text_list(texts: Iterable[str] = ()) -> DiskList[str]:
    """Return distinct texts on disk, like the keys of a dict."""
    return DiskList(texts, pack=str, unpack=str, key=str)


def to_bytes(text: str | bytes) -> bytes:
    """Return UTF-8 bytes, which sort like the text; lone surrogates (undecodable file names) are allowed."""
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
