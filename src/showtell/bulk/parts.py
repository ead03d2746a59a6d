"""The unfinished output of a job: rows in parts on disk, so that the same command resumes after any interruption.

A part counts once it has its name, which says what is in it: it is written under another name, synced, then renamed.
``OUTPUT.parts/`` holds::

    units.jsonl                                   the units, one a line
    00000012-0000000000-00256-1b2c3d4e.end.jsonl  unit 12: 256 rows from image 0 on, their CRC-32, the unit's last
    manifest.json                                 the job: captioner, options and sources; written once all units are
    running.json                                  the call that runs or was killed, and how far it was at its start

On a disk the folder is locked. On object storage, which has no locks, a call that begins takes over: it writes its
own ``running.json``, and the call before it ends when it is to write its next part and finds another's there.
"""

import json
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from secrets import token_hex
from typing import Any, NamedTuple

from showtell.bulk.folders import Folder
from showtell.bulk.units import UNIT_IMAGES, Listing, Unit
from showtell.bulk.writers import Row, to_json
from showtell.errors import DataError
from showtell.system.atomic import MANIFEST, parse_manifest, with_sum

KIND, VERSION = "unfinished caption output", 1
UNITS, RUNNING = "units.jsonl", "running.json"
_WRITING = 4  # parts that are not written yet

_NAME = re.compile(r"(\d{8})-(\d{10})-(\d{5})-([0-9a-f]{8})(\.end)?\.jsonl")


class _Part(NamedTuple):
    unit: int
    start: int
    num_rows: int
    crc: str
    is_last: bool
    name: str

    @property
    def end(self) -> int:
        return self.start + self.num_rows


class Parts:
    """The parts of one job in a folder; one process writes them.

    A thread writes them one after another, while others are captioned. Its errors are raised by the next call.

    Attributes:
        num_images: Images of all units; None: not known before they are read.
        num_rows: Rows in the parts.
        num_killed: Earlier calls that were killed, one after another, without a further row.
        problems: Sources that could not be listed.
    """

    def __init__(
        self,
        folder: Folder,
        job: dict[str, Any],
        listing: Callable[[], Listing],
        on_row: Callable[[Row], None] = lambda row: None,
        *,
        lists_again: bool = False,
    ) -> None:
        """Open the parts of a job, or begin them with a new listing (always if it ``lists_again``).

        ``on_row`` takes each row before it is kept.

        Raises:
            DataError: the folder has the parts of another job or other files, or cannot be read or written.
        """
        self._folder, self._on_row = folder, on_row
        manifest, last = _read_manifest(folder), self._running()
        if manifest is None or lists_again:
            manifest = self._begin(job, listing())
        _check_same(folder, manifest["job"], job)
        self._seed = zlib.crc32(json.dumps(manifest["job"], sort_keys=True).encode())
        self.num_images: int | None = manifest["num_images"]
        self.problems: list[str] = manifest["problems"]
        self.num_rows = 0
        # Of each unit whether it is finished; if not, its next image and the rows that are not in a part yet.
        self._finished = bytearray()
        self._next: dict[int, int] = {}
        self._lines: dict[int, list[bytes]] = {}
        for part in _list_parts(folder):
            self.num_rows += part.num_rows
            self._count(part)
        place = [self.num_rows, self.num_images]
        self.num_killed = 1 + int(last["num_killed"]) if last.get("place") == place else 0
        self._call = token_hex(8)
        _write_json(folder, RUNNING, {"call": self._call, "place": place, "num_killed": self.num_killed})
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="parts")
        self._writing = deque[Future[None]]()

    def _running(self) -> dict[str, Any]:
        """Return what the last call to begin noted; nothing if it ended in order or at its first write."""
        try:
            return dict(json.loads(self._folder.read(RUNNING) or b"{}"))
        except (TypeError, ValueError):
            return {}

    def _is_taken_over(self) -> bool:
        return not self._folder.is_locked and self._running().get("call") != self._call

    def check_held(self) -> None:
        """Raise a DataError if another call has taken over."""
        if self._is_taken_over():
            raise DataError(
                f"{self._folder} is in use by another process that writes it",
                found="that it began after this one",
                mend="It keeps the captions of this one; choose another output for this one",
            )

    def _begin(self, job: dict[str, Any], listing: Listing) -> dict[str, Any]:
        discard(self._folder)
        content = {"job": job, "num_images": listing.num_images, "problems": listing.problems}
        manifest = with_sum({"kind": KIND, "format": VERSION, **content})
        try:
            with self._folder.written(UNITS) as path, path.open("wb") as file:
                file.writelines(json.dumps(content).encode() + b"\n" for content in listing.contents())
            _write_json(self._folder, MANIFEST, manifest)
        except DataError:
            self.remove()
            raise
        return manifest

    def _count(self, part: _Part) -> None:
        if part.is_last:
            self._finished.extend(bytes(max(0, part.unit + 1 - len(self._finished))))
            self._finished[part.unit] = True
            self._next.pop(part.unit, None)
        else:
            self._next[part.unit] = part.end

    def pending(self) -> Iterator[tuple[Unit, int]]:
        """Yield the units that are not finished, each with the number of its first image without a row."""
        for number, line in self._numbered_lines():
            if not any(self._finished[number : number + 1]):
                yield Unit(number, json.loads(line)), self._next.get(number, 0)

    def units(self) -> Iterator[Unit]:
        """Yield all units in order."""
        return (Unit(number, json.loads(line)) for number, line in self._numbered_lines())

    def _numbered_lines(self) -> Iterator[tuple[int, bytes]]:
        with self._folder.open(UNITS) as file:
            yield from enumerate(file)

    def add(self, unit: int, row: Row) -> None:
        """Take the row of a unit's next image."""
        self._on_row(row)
        # Not as soon as there are enough: most often the unit ends, and is one part.
        if len(self._lines.setdefault(unit, [])) >= UNIT_IMAGES:
            self._write(unit)
        self._lines[unit].append(to_json(row))

    def end(self, unit: int) -> None:
        """Finish a unit: all its images have rows."""
        self._write(unit, is_last=True)
        del self._lines[unit]

    def flush(self) -> None:
        """Write the rows of unfinished units, as this call ends in order; nothing if another has taken over."""
        if self._is_taken_over():
            return
        for unit in [unit for unit, lines in self._lines.items() if lines]:
            self._write(unit)
        self._wait(0)
        self._folder.delete([RUNNING])

    def _write(self, unit: int, *, is_last: bool = False) -> None:
        lines, start = self._lines.get(unit, []), self._next.get(unit, 0)
        content = b"".join(lines)
        crc, end = self._crc(content), ".end" if is_last else ""
        name = f"{unit:08d}-{start:010d}-{len(lines):05d}-{crc}{end}.jsonl"
        part = _Part(unit, start, len(lines), crc, is_last, name)
        self._lines[unit] = []
        self._count(part)
        before = self._writing[-1] if self._writing else None
        self._writing.append(self._writer.submit(self._keep, part, content, before))
        self._wait(_WRITING)

    def _keep(self, part: _Part, content: bytes, before: "Future[None] | None") -> None:
        if before is not None:
            before.result()  # after a part that could not be written, none is
        self.check_held()
        with self._folder.written(part.name) as path:
            path.write_bytes(content)
        self.num_rows += part.num_rows

    def _wait(self, num_left: int) -> None:
        """Wait until at most so many parts are not written yet."""
        while self._writing and (len(self._writing) > num_left or self._writing[0].done()):
            self._writing[0].result()  # one that failed stays, so that none after it is written
            self._writing.popleft()

    def _crc(self, content: bytes) -> str:
        """Return the CRC-32 of rows of this job: those of another do not pass for them."""
        return f"{zlib.crc32(content, self._seed):08x}"

    def rows(self) -> Iterator[Row]:
        """Yield the rows of the parts in the order of the images.

        Raises:
            DataError: a part is not what was written, or gone; those of its unit are deleted, so that the same
                command makes them again.
        """
        self._wait(0)
        unit, end = 0, 0
        for name, content in self._folder.read_all(part.name for part in _list_parts(self._folder)):
            part = _part(name)
            if part.unit != unit:
                unit, end = part.unit, 0
            is_damaged = content is None or self._crc(content) != part.crc
            if is_damaged or part.start != end:
                of_unit = (other.name for other in _list_parts(self._folder) if other.unit == unit)
                self._folder.delete(list(of_unit))
                raise DataError(
                    f"cannot read {self._folder}/{name}" if is_damaged else f"cannot read {self._folder}",
                    found="other bytes than were written" if is_damaged else f"no rows before {name}",
                    mend="Run the same command again: these captions are made again, all others are kept",
                )
            end = part.end
            yield from map(json.loads, (content or b"").splitlines())

    def drawings(self) -> Iterator[str]:
        """Yield the paths of the drawings of attention in the rows."""
        return (row["attention"] for row in self.rows() if "attention" in row)

    def remove(self) -> None:
        """Delete the folder, the manifest first: what a kill leaves then is not taken for a job."""
        discard(self._folder)
        self._folder.remove()


def count_rows(folder: Folder) -> int:
    """Return the number of rows in the parts of any job."""
    return sum(part.num_rows for part in _list_parts(folder))


def is_of_job(folder: Folder, job: dict[str, Any]) -> bool:
    """Return whether a folder has the parts of this job."""
    try:
        return (_read_manifest(folder) or {}).get("job") == job
    except DataError:
        return False


def discard(folder: Folder) -> None:
    """Delete the parts of any job, the manifest first; a DataError if the folder has anything else."""
    for name in folder.names():
        if name not in (MANIFEST, UNITS, RUNNING) and not name.endswith(".tmp") and not _NAME.fullmatch(name):
            raise DataError(
                f"cannot keep unfinished captions in {folder}",
                found=f"another file ({name})",
                mend="Move it away, or choose another output",
            )
    folder.delete([MANIFEST])
    folder.delete(folder.names())


def _read_manifest(folder: Folder) -> dict[str, Any] | None:
    content = folder.read(MANIFEST)
    return None if content is None else parse_manifest(content, str(folder), KIND, VERSION)


def _write_json(folder: Folder, name: str, values: dict[str, Any]) -> None:
    with folder.written(name) as path:
        path.write_text(json.dumps(values, indent=2), encoding="utf-8")


def _list_parts(folder: Folder) -> Iterator[_Part]:
    """Yield the parts in the order of their rows."""
    return (_part(name) for name in folder.names() if _NAME.fullmatch(name))


def _part(name: str) -> _Part:
    match = _NAME.fullmatch(name)
    assert match is not None
    return _Part(int(match[1]), int(match[2]), int(match[3]), match[4], match[5] is not None, name)


def _check_same(folder: Folder, found: dict[str, Any], job: dict[str, Any]) -> None:
    old, new = ({**each, **each.get("options", {})} for each in (found, job))
    differing = [key for key in new if key != "options" and old.get(key) != new[key]]
    if differing:
        raise DataError(
            f"{folder} holds the captions of another command",
            found=", ".join(f"{key} {old.get(key)!r}" for key in differing)[:200],
            expected=", ".join(f"{key} {new[key]!r}" for key in differing)[:200],
            mend="Run that command again to finish it, or add --overwrite to discard its captions",
        )
