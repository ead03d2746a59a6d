"""Where the rows of a job go. A sink says which images still need one; its output is whole once its block ends."""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from showtell.bulk.folders import Folder, folder_at
from showtell.bulk.parts import Parts, count_rows, discard, is_of_job
from showtell.bulk.report import CaptioningReport
from showtell.bulk.sidecar_plan import pending
from showtell.bulk.sidecars import Sidecars, SidecarWriter
from showtell.bulk.sources.storage import put_file
from showtell.bulk.units import Listing, Unit
from showtell.bulk.writers import Format, Row, row_writer
from showtell.errors import ShowtellError
from showtell.system.atomic import atomic_path, cannot_write, with_file_name
from showtell.system.console import note
from showtell.system.signals import sigterm_exits


class Sink(Protocol):
    """Takes the rows of units: those of one unit in order, those of different units in any order.

    Attributes:
        num_images: Images of all units; None: not known before they are read.
        num_rows: Images that have a row.
        num_killed: Earlier calls that a signal or a crash ended, one after another, without a further row.
        problems: Sources that could not be listed.
    """

    num_images: int | None
    num_rows: int
    num_killed: int
    problems: list[str]

    def units(self) -> Iterator[Unit]:
        """Yield all units in order."""

    def pending(self) -> Iterator[tuple[Unit, int]]:
        """Yield the units that are not finished, each with the number of its first image without a row."""

    def add(self, unit: int, row: Row) -> None:
        """Take the row of a unit's next image."""

    def end(self, unit: int) -> None:
        """Finish a unit: all its images have rows."""

    def drawings(self) -> Iterator[str]:
        """Yield the paths of the drawings of attention in the rows."""


class _Immediate:
    """Counts and writes each row when it comes; nothing is kept of it."""

    def __init__(self, listing: Listing, write: Callable[[Row], None], report: CaptioningReport) -> None:
        self.num_images, self.problems = listing.num_images, listing.problems
        self.num_rows = self.num_killed = 0
        self.units = listing.units
        self._write, self._report = write, report

    def pending(self) -> Iterator[tuple[Unit, int]]:
        return ((unit, 0) for unit in self.units())

    def add(self, unit: int, row: Row) -> None:
        self._report.add(row)
        self._write(row)

    def end(self, unit: int) -> None:
        pass

    def drawings(self) -> Iterator[str]:
        return iter(())


@contextmanager
def standard_output(
    listing: Listing, form: Format, report: CaptioningReport, *, all_hypotheses: bool
) -> Iterator[Sink]:
    """Write each row as soon as it comes, and count it."""
    with row_writer(form, sys.stdout.buffer, all_hypotheses=all_hypotheses) as write:
        yield _Immediate(listing, write, report)


@contextmanager
def file_of_parts(
    output: Path | str,
    job: dict[str, Any],
    listing: Callable[[], Listing],
    form: Format,
    report: CaptioningReport,
    *,
    all_hypotheses: bool,
    overwrite: bool,
) -> Iterator[Sink]:
    """Hold an output while its parts are written, and make it of them if the block succeeds; else keep them.

    An address is one of object storage. On it, another call takes over from this one, which then ends.

    Raises:
        DataError: another process writes this output, it cannot be written, or (unless ``overwrite``) its parts are
            those of another job.
    """
    if isinstance(output, Path) and output.is_dir():
        raise cannot_write(with_file_name(output), IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))
    with _held_parts(parts_folder(output), job, listing, overwrite=overwrite) as parts:
        yield parts
        with (
            put_file(output) if isinstance(output, str) else atomic_path(with_file_name(output)) as path,
            path.open("wb") as file,
            row_writer(form, file, all_hypotheses=all_hypotheses) as write,
        ):
            for row in parts.rows():
                report.add(row)
                write(row)
            parts.check_held()


def parts_folder(output: Path | str) -> Folder:
    """Return where the parts of an output are."""
    return folder_at(f"{output if isinstance(output, str) else with_file_name(output)}.parts")


@contextmanager
def sidecar_files(
    sidecars: Sidecars, job: dict[str, Any], listing: Callable[[], Listing], report: CaptioningReport
) -> Iterator[Sink]:
    """Write the side-car of each image as soon as its caption comes.

    Where every side-car that has text is skipped, they say themselves what is done. Else the rows are kept in parts
    until the end too, as a record; those of another call are discarded, since their captions are in the side-cars.
    """
    write = SidecarWriter(sidecars)
    if sidecars.on_existing == "skip":
        yield _Immediate(pending(listing(), sidecars), write, report)
        return
    record = folder_at(sidecars.record)
    overwrite = not is_of_job(record, job)
    with _held_parts(record, job, lambda: pending(listing(), sidecars), write, overwrite=overwrite) as parts:
        yield parts
        for row in parts.rows():
            report.add(row)


@contextmanager
def _held_parts(
    folder: Folder,
    job: dict[str, Any],
    listing: Callable[[], Listing],
    on_row: Callable[[Row], None] = lambda row: None,
    *,
    overwrite: bool,
) -> Iterator[Parts]:
    """Hold a folder of parts, and remove it if the block succeeds; else keep what is captioned so far.

    Parts without a row are no reason to refuse another job, and an error before the first row leaves none.
    """
    with folder.held(), sigterm_exits():
        if overwrite or not (count_rows(folder) or is_of_job(folder, job)):
            discard(folder)
        parts = Parts(folder, job, listing, on_row)
        if parts.num_rows:
            note(f"{parts.num_rows:,} captions are in {folder}; resuming there")
        try:
            yield parts
        except BaseException as error:
            parts.flush()
            if isinstance(error, ShowtellError) and not parts.num_rows:
                parts.remove()
                raise
            note(f"{parts.num_rows:,} captions are kept in {folder}: the same command resumes there")
            raise
        parts.remove()
