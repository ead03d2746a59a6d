"""Captions any number of image files and folders into one output. The function behind ``showtell caption``."""

import errno
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from showtell.bulk.attention import AttentionWriter
from showtell.bulk.engine import Event, caption_units
from showtell.bulk.parts import Parts, discard
from showtell.bulk.units import Listing, Unit, list_units
from showtell.bulk.writers import Format, Row, escape, to_row, write_rows
from showtell.config.generation import override
from showtell.errors import ConfigError, DataError, ImageError
from showtell.inference.caption import Caption
from showtell.inference.captioner import BATCH_SIZE, Captioner
from showtell.system.atomic import atomic_path, cannot_write, sha256_json, with_file_name
from showtell.system.console import note, progress_bar
from showtell.system.locks import locked_directory

MAX_PROBLEMS = 10


@dataclass
class CaptioningReport:
    """What came of the images.

    Attributes:
        num_captioned: Images with a caption.
        num_failed: Images and sources without one.
        problems: The first of the problems, whole.
        kinds: The number of problems of each kind.
    """

    num_captioned: int = 0
    num_failed: int = 0
    problems: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, row: Row) -> None:
        """Count a row."""
        if "error" in row:
            self.fail(row["error"])
        else:
            self.num_captioned += 1

    def fail(self, problem: str) -> None:
        """Count a problem."""
        self.num_failed += 1
        self.count(problem)

    def count(self, problem: str) -> None:
        """Count a problem that cost no caption."""
        self.kinds[_kind(problem)] += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)


def caption_files(
    captioner: Captioner,
    sources: Sequence[Path],
    *,
    output: Path | None = None,
    form: Format = "text",
    all_hypotheses: bool = False,
    attention: Path | None = None,
    batch_size: int = BATCH_SIZE,
    recursive: bool = False,
    neighbours_shown: bool = False,
    overwrite: bool = False,
    on_error: Literal["skip", "fail"] = "skip",
    **options: Any,
) -> CaptioningReport:
    """Caption images into rows, in the order given.

    Args:
        captioner: The captioner.
        sources: Files, and folders of images, with the folders in them if ``recursive``.
        output: A file, complete when it appears; until then its rows are in ``NAME.parts``, where the same call
            resumes after any interruption. None: standard output, each row as soon as its batch is done.
        form: See `showtell.bulk.writers`.
        all_hypotheses: Write all hypotheses of the beam, or all samples.
        attention: A folder for one attention drawing per image.
        batch_size: Images per batch.
        recursive: Caption the images of folders in folders too.
        neighbours_shown: Write the images whose captions spoke for each caption (JSON lines and Parquet).
        overwrite: Discard the unfinished rows of another call with this output.
        on_error: What an image that cannot be captioned does: ``skip`` writes a row with the error, ``fail`` ends the
            call.
        options: Fields of `DecodingOptions`.

    Raises:
        DataError: no images at all, an output that cannot be written or that another process writes, one with
            unfinished rows of another call, or (``on_error="fail"``) an image that cannot be captioned.
        ConfigError: an option is unknown or out of range, the decoder has no attention, or neighbours are asked for
            without retrieval.
    """
    decoding = override(captioner.options, **options)
    if neighbours_shown and decoding.retrieval == "off":
        raise ConfigError(
            "--show-neighbours cannot be used",
            found="retrieval 'off'",
            mend="Add --retrieval rerank; showtell index gives a captioner its datastore",
        )
    report = CaptioningReport()

    def listing() -> Listing:
        found = list_units(sources, recursive=recursive)
        if found.num_images == 0:
            raise DataError("there is nothing to caption", found="; ".join(found.problems))
        return found

    def events(work: Iterator[tuple[Unit, int]], draw: AttentionWriter | None) -> Iterator[Event]:
        def row_of(caption: Caption) -> Row:
            drawing = _draw(caption, draw, report)
            return to_row(
                caption, all_hypotheses=all_hypotheses, drawing=drawing, neighbours=neighbours_shown
            )

        for event in caption_units(
            captioner, work, row_of, batch_size=batch_size, attention=draw is not None, **options
        ):
            if on_error == "fail" and event.row is not None and "error" in event.row:
                raise DataError(event.row["error"], mend="--on-error skip captions the others")
            yield event

    if output is None:
        found = listing()
        with _progress(found.num_images, quiet=sys.stdout.isatty()) as advance:
            draw = None if attention is None else AttentionWriter(attention, _paths(found.units()))
            rows = (event.row for event in events(((unit, 0) for unit in found.units()), draw) if event.row)
            write_rows(
                _counted(rows, report, advance), form, sys.stdout.buffer, all_hypotheses=all_hypotheses
            )
        for problem in found.problems:
            report.fail(problem)
        return report

    output = with_file_name(output)
    job = {
        "captioner": sha256_json(dict(captioner.facts)),
        "options": decoding.model_dump(),
        "rows": {
            "all_hypotheses": all_hypotheses,
            "neighbours": neighbours_shown,
            "attention": str(attention),
        },
        "sources": [escape(str(source)) for source in sources],
        "recursive": recursive,
        "folder": escape(str(Path.cwd())),
    }
    with _job(output, job, listing, overwrite=overwrite) as parts:
        drawn = None if attention is None else _drawings(parts)
        draw = None if attention is None else AttentionWriter(attention, _paths(parts.units()), drawn or ())
        with _progress(parts.num_images, done=parts.num_rows) as advance:
            for event in events(parts.pending(), draw):
                if event.row is None:
                    parts.end(event.unit)
                else:
                    parts.add(event.unit, event.row)
                    advance()
        with atomic_path(output) as path, path.open("wb") as file:
            write_rows(_counted(parts.rows(), report), form, file, all_hypotheses=all_hypotheses)
        parts.remove()
    for problem in parts.problems:
        report.fail(problem)
    return report


@contextmanager
def _job(
    output: Path, job: dict[str, Any], listing: Callable[[], Listing], *, overwrite: bool
) -> Iterator[Parts]:
    """Hold an output while its parts are written; what is captioned so far is kept when the block fails."""
    directory = output.with_name(f"{output.name}.parts")
    if output.is_dir():
        raise cannot_write(output, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))
    with locked_directory(directory):
        if overwrite:
            discard(directory)
        parts = Parts(directory, job, listing)
        if parts.num_rows:
            note(f"{parts.num_rows:,} captions are in {directory}; resuming there")
        try:
            yield parts
        except BaseException:
            parts.flush()
            note(f"{parts.num_rows:,} captions are kept in {directory}: the same command resumes there")
            raise


def _draw(caption: Caption, draw: AttentionWriter | None, report: CaptioningReport) -> str | None:
    if draw is None or caption.error is not None:
        return None
    try:
        return draw(caption)
    except ImageError as error:
        report.count(f"attention not drawn: {error}")
        return None


def _paths(units: Iterator[Unit]) -> Iterator[str]:
    return (str(path) for unit in units for path in unit.content["paths"])


def _drawings(parts: Parts) -> Iterator[str]:
    return (row["attention"] for row in parts.rows() if "attention" in row)


def _counted(
    rows: Iterator[Row], report: CaptioningReport, advance: Callable[[], None] = lambda: None
) -> Iterator[Row]:
    for row in rows:
        report.add(row)
        yield row
        advance()


@contextmanager
def _progress(total: int | None, *, done: int = 0, quiet: bool = False) -> Iterator[Callable[[], None]]:
    """Show progress with the rate and the time left, unless the rows themselves go to the terminal."""
    if quiet:
        yield lambda: None
        return
    started, count = time.monotonic(), 0
    with progress_bar("captioning", total, unit="images") as move:
        move(done, "")

        def advance() -> None:
            nonlocal count
            count += 1
            rate = count / max(time.monotonic() - started, 1e-9)
            left = "" if total is None else f", {_duration((total - done - count) / rate)} left"
            move(1, f"{rate:.1f} images/s{left}")

        yield advance


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes}:{seconds:02d}"


def _kind(problem: str) -> str:
    """Return what was found, without numbers: what many images have in common."""
    found = problem.partition(": found ")[2] or problem
    return re.sub(r"[0-9][0-9,.]*", "N", re.split(r"[;(]|\. ", found)[0]).strip()
