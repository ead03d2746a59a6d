"""The unfinished output of a job: rows in parts on disk, so that the same command resumes after any interruption.

A part counts once it has its name, which says what is in it: it is written under another name, synced, then renamed.
``OUTPUT.parts/`` holds::

    units.jsonl                                   the units, one a line
    00000012-0000000000-00256-1b2c3d4e.end.jsonl  unit 12: 256 rows from image 0 on, their CRC-32, the unit's last
    manifest.json                                 the job: captioner, options and sources; written once all units are
    running.json                                  the rows at the start of the call that runs or was killed
"""

import json
import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from showtell.bulk.units import UNIT_IMAGES, Listing, Unit
from showtell.bulk.writers import Row, to_json
from showtell.errors import DataError
from showtell.system.atomic import (
    MANIFEST,
    atomic_path,
    cannot_write,
    read_manifest,
    write_json,
    write_manifest,
)
from showtell.system.disk_store import sort_texts, to_bytes
from showtell.system.reading import cannot_read

KIND, VERSION = "unfinished caption output", 1
UNITS, RUNNING = "units.jsonl", "running.json"

_NAME = re.compile(r"(\d{8})-(\d{10})-(\d{5})-([0-9a-f]{8})(\.end)?\.jsonl")


class _Part(NamedTuple):
    unit: int
    start: int
    num_rows: int
    crc: str
    is_last: bool
    path: Path

    @property
    def end(self) -> int:
        return self.start + self.num_rows


class Parts:
    """The parts of one job in a directory; one process writes them.

    Attributes:
        num_images: Images of all units; None: not known before they are read.
        num_rows: Rows in the parts.
        num_killed: Earlier calls that were killed, one after another, without a further part.
        problems: Sources that could not be listed.
    """

    def __init__(
        self,
        directory: Path,
        job: dict[str, Any],
        listing: Callable[[], Listing],
        on_row: Callable[[Row], None] = lambda row: None,
    ) -> None:
        """Open the parts of a job, or begin them with a new listing. ``on_row`` takes each row before it is kept.

        Raises:
            DataError: the directory has the parts of another job or other files, or cannot be read or written.
        """
        self._directory, self._on_row = directory, on_row
        if not (directory / MANIFEST).exists():
            self._begin(job, listing())
        manifest = read_manifest(directory, KIND, VERSION)
        _check_same(directory, manifest["job"], job)
        self.num_images: int | None = manifest["num_images"]
        self.problems: list[str] = manifest["problems"]
        self.num_rows = 0
        # Of each unit whether it is finished; if not, its next image and the rows that are not in a part yet.
        self._finished = bytearray()
        self._next: dict[int, int] = {}
        self._lines: dict[int, list[bytes]] = {}
        for part in _list_parts(directory):
            self._count(part)
        self.num_killed = self._note_running()

    def _note_running(self) -> int:
        path = self._directory / RUNNING
        try:
            last = json.loads(path.read_bytes())
        except (OSError, ValueError):  # none was killed, or this one at its first write
            last = {}
        num_killed = 1 + int(last["num_killed"]) if last.get("num_rows") == self.num_rows else 0
        write_json(path, {"num_rows": self.num_rows, "num_killed": num_killed})
        return num_killed

    def _begin(self, job: dict[str, Any], listing: Listing) -> None:
        _clear(self._directory)
        with atomic_path(self._directory / UNITS) as path, path.open("wb") as file:
            file.writelines(json.dumps(content).encode() + b"\n" for content in listing.contents())
        content = {"job": job, "num_images": listing.num_images, "problems": listing.problems}
        write_manifest(self._directory, KIND, VERSION, content)

    def _count(self, part: _Part) -> None:
        self.num_rows += part.num_rows
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
        with (self._directory / UNITS).open("rb") as file:
            yield from enumerate(file)

    def add(self, unit: int, row: Row) -> None:
        """Take the row of a unit's next image."""
        self._on_row(row)
        lines = self._lines.setdefault(unit, [])
        lines.append(to_json(row))
        if len(lines) >= UNIT_IMAGES:
            self._write(unit)

    def end(self, unit: int) -> None:
        """Finish a unit: all its images have rows."""
        self._write(unit, is_last=True)
        del self._lines[unit]

    def flush(self) -> None:
        """Write the rows of unfinished units, as this call ends in order."""
        for unit in [unit for unit, lines in self._lines.items() if lines]:
            self._write(unit)
        (self._directory / RUNNING).unlink(missing_ok=True)

    def _write(self, unit: int, *, is_last: bool = False) -> None:
        lines, start = self._lines.get(unit, []), self._next.get(unit, 0)
        content = b"".join(lines)
        crc, end = f"{zlib.crc32(content):08x}", ".end" if is_last else ""
        path = self._directory / f"{unit:08d}-{start:010d}-{len(lines):05d}-{crc}{end}.jsonl"
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
        self._count(_Part(unit, start, len(lines), crc, is_last, path))
        self._lines[unit] = []

    def rows(self) -> Iterator[Row]:
        """Yield the rows of the parts in the order of the images.

        Raises:
            DataError: a part is not what was written, or gone; those of its unit are deleted, so that the same
                command makes them again.
        """
        unit, end = 0, 0
        for part in _list_parts(self._directory):
            try:
                content = part.path.read_bytes()
            except OSError as error:
                raise cannot_read(part.path, error) from error
            if part.unit != unit:
                unit, end = part.unit, 0
            is_damaged = f"{zlib.crc32(content):08x}" != part.crc
            if is_damaged or part.start != end:
                for other in self._directory.glob(f"{unit:08d}-*"):
                    other.unlink(missing_ok=True)
                raise DataError(
                    f"cannot read {part.path if is_damaged else self._directory}",
                    found="other bytes than were written"
                    if is_damaged
                    else f"no rows before {part.path.name}",
                    mend="Run the same command again: these captions are made again, all others are kept",
                )
            end = part.end
            yield from map(json.loads, content.splitlines())

    def drawings(self) -> Iterator[str]:
        """Yield the paths of the drawings of attention in the rows."""
        return (row["attention"] for row in self.rows() if "attention" in row)

    def remove(self) -> None:
        """Delete the directory, the manifest first: what a kill leaves then is not taken for a job."""
        (self._directory / MANIFEST).unlink()
        _clear(self._directory)
        self._directory.rmdir()


def count_rows(directory: Path) -> int:
    """Return the number of rows in the parts of any job."""
    return sum(part.num_rows for part in _list_parts(directory))


def is_of_job(directory: Path, job: dict[str, Any]) -> bool:
    """Return whether a directory has the parts of this job."""
    try:
        return bool(read_manifest(directory, KIND, VERSION)["job"] == job)
    except (DataError, KeyError):
        return False


def discard(directory: Path) -> None:
    """Delete the parts of any job; a DataError if the directory is something else."""
    if directory.exists():
        (directory / MANIFEST).unlink(missing_ok=True)
        _clear(directory)


def _list_parts(directory: Path) -> Iterator[_Part]:
    """Yield the parts in the order of their rows."""
    matches = ((name, match) for name in _names(directory) if (match := _NAME.fullmatch(name)))
    return (
        _Part(int(match[1]), int(match[2]), int(match[3]), match[4], match[5] is not None, directory / name)
        for name, match in matches
    )


def _names(directory: Path) -> Iterator[str]:
    """Yield the names in a directory, if it exists, in order."""
    try:
        with os.scandir(directory) as entries:
            yield from sort_texts((entry.name for entry in entries), to_bytes)
    except FileNotFoundError:
        return
    except OSError as error:
        raise cannot_read(directory, error) from error


def _clear(directory: Path) -> None:
    """Delete parts without a manifest; a DataError if there is anything else."""
    for name in _names(directory):
        if name not in (UNITS, RUNNING) and not name.endswith(".tmp") and not _NAME.fullmatch(name):
            raise DataError(
                f"cannot keep unfinished captions in {directory}",
                found=f"another file ({name})",
                mend="Move it away, or choose another output",
            )
    try:
        for name in _names(directory):
            (directory / name).unlink()
    except OSError as error:
        raise cannot_write(directory, error) from error


def _check_same(directory: Path, found: dict[str, Any], job: dict[str, Any]) -> None:
    old, new = ({**each, **each.get("options", {})} for each in (found, job))
    differing = [key for key in new if key != "options" and old.get(key) != new[key]]
    if differing:
        raise DataError(
            f"{directory} holds the captions of another command",
            found=", ".join(f"{key} {old.get(key)!r}" for key in differing)[:200],
            expected=", ".join(f"{key} {new[key]!r}" for key in differing)[:200],
            mend="Run that command again to finish it, or add --overwrite to discard its captions",
        )
