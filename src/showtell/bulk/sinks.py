"""Where the rows of a job go. A sink says which images still need one; its output is whole once its block ends."""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from showtell.bulk.folders import Folder, written
from showtell.bulk.parts import Parts, count_rows, discard, is_of_job
from showtell.bulk.report import CaptioningReport
from showtell.bulk.sidecars import Sidecars, pending
from showtell.bulk.units import Listing, Unit
from showtell.bulk.writers import Format, Row, row_writer
from showtell.errors import ShowtellError
from showtell.system.atomic import cannot_write, with_file_name
from showtell.system.console import note
from showtell.system.signals import sigterm_exits


class Immediate:
    """Counts and writes each row when it comes, and keeps nothing of it.

    Attributes and methods are those of `Parts`.
    """

    num_rows = num_killed = 0

    def __init__(self, listing: Listing, write: Callable[[Row], None], report: CaptioningReport) -> None:
        self.num_images, self.problems, self.units = listing.num_images, listing.problems, listing.units
        self._write, self._report = write, report

    def pending(self) -> Iterator[tuple[Unit, int]]:
        """Yield all units, each from its first image on."""
        return ((unit, 0) for unit in self.units())

    def add(self, unit: int, row: Row) -> None:
        """Take the row of a unit's next image."""
        self._report.add(row)
        self._write(row)

    def end(self, unit: int) -> None:
        """Do nothing at the end of a unit."""

    def drawings(self) -> Iterator[str]:
        """Return none: there are no rows yet."""
        return iter(())


Sink: TypeAlias = Immediate | Parts
"""Takes the rows of units: those of one unit in order, those of different units in any order."""


@contextmanager
def standard_output(
    listing: Listing, form: Format, report: CaptioningReport, *, all_hypotheses: bool
) -> Iterator[Sink]:
    """Write each row as soon as it comes, and count it."""
    with row_writer(form, sys.stdout.buffer, all_hypotheses=all_hypotheses) as write:
        yield Immediate(listing, write, report)


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
            written(_named(output)) as path,
            path.open("wb") as file,
            row_writer(form, file, all_hypotheses=all_hypotheses) as write,
        ):
            for row in parts.rows():
                report.add(row)
                write(row)
            parts.check_held()


def parts_folder(output: Path | str) -> Folder:
    """Return where the parts of an output are."""
    place = _named(output)
    return Folder(f"{place}.parts" if isinstance(place, str) else place.with_name(f"{place.name}.parts"))


def _named(output: Path | str) -> Path | str:
    return with_file_name(output) if isinstance(output, Path) else output


@contextmanager
def sidecar_files(
    sidecars: Sidecars, job: dict[str, Any], listing: Callable[[], Listing], report: CaptioningReport
) -> Iterator[Sink]:
    """Write the side-car of each image as soon as its caption comes.

    The rows are kept in parts until the end too, as a record; those of another call are discarded, since their
    captions are in the side-cars. Where every side-car that has text is skipped, they say themselves what is done.
    """
    record = Folder(sidecars.record)
    due = pending(listing(), sidecars) if sidecars.on_existing == "skip" else None
    if due and not due.num_images and not is_of_job(record, job):
        yield Immediate(due, sidecars.write, report)
        return
    with _held_parts(
        record,
        job,
        lambda: due or pending(listing(), sidecars),
        sidecars.write,
        overwrite=not is_of_job(record, job),
        lists_again=due is not None,
    ) as parts:
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
    lists_again: bool = False,
) -> Iterator[Parts]:
    """Hold a folder of parts, and remove it if the block succeeds; else keep what is captioned so far.

    Parts without a row are no reason to refuse another job, and an error before the first row leaves none.
    """
    with folder.held(), sigterm_exits():
        if overwrite or not (count_rows(folder) or is_of_job(folder, job)):
            discard(folder)
        parts = Parts(folder, job, listing, on_row, lists_again=lists_again)
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
