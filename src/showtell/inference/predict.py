"""Captions image files and folders: list them, caption them, write rows. The function behind ``showtell caption``."""

import contextlib
import errno
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from showtell.config.generation import override
from showtell.errors import ConfigError, DataError, ImageError
from showtell.images.listing import describe_suffixes, list_images
from showtell.inference.caption import Caption
from showtell.inference.captioner import BATCH_SIZE, Captioner
from showtell.inference.writers import Format, header, rows
from showtell.system.atomic import atomic_path, cannot_write, with_file_name
from showtell.system.console import note, progress_bar
from showtell.system.disk_store import text_list


@dataclass
class CaptioningReport:
    """The number of captioned images, and the problems of the others."""

    num_captioned: int = 0
    problems: list[str] = field(default_factory=list)


def caption_files(
    captioner: Captioner,
    paths: Sequence[Path],
    *,
    output: Path | None = None,
    form: Format = "text",
    all_hypotheses: bool = False,
    attention: Path | None = None,
    batch_size: int = BATCH_SIZE,
    recursive: bool = False,
    neighbours_shown: bool = False,
    **options: Any,
) -> CaptioningReport:
    """Caption images into rows, in the order given, each as soon as its batch is done.

    Args:
        captioner: The captioner.
        paths: Files, and folders of images, with the folders in them if ``recursive``.
        output: A file, complete when it appears (``NAME.partial`` until then); None: standard output.
        form: See `showtell.inference.writers`.
        all_hypotheses: Write all hypotheses of the beam, or all samples.
        attention: A folder for one attention drawing per image.
        neighbours_shown: Write the images whose captions spoke for each caption (JSON lines only).
        options: Fields of `DecodingOptions`.

    Raises:
        DataError: no images at all, or an output that cannot be written.
        ConfigError: an option is unknown or out of range, the decoder has no attention, or neighbours are asked for
            without retrieval.
    """
    if neighbours_shown and override(captioner.options, **options).retrieval == "off":
        raise ConfigError(
            "--show-neighbours cannot be used",
            found="retrieval 'off'",
            mend="Add --retrieval rerank; showtell index gives a captioner its datastore",
        )
    left_out: Counter[str] = Counter()
    images, problems = list_images(paths, recursive=recursive, left_out=left_out)
    if not images:
        raise DataError("there is nothing to caption", found="; ".join(problems))
    if left_out:
        note(f"files left out, no images: {left_out.total()} ({describe_suffixes(left_out)})")
    report = CaptioningReport(problems=problems)
    writer = None if attention is None else AttentionWriter(attention, images)
    stream = captioner.stream(images, attention=writer is not None, batch_size=batch_size, **options)
    with _open_output(output) as file, _progress(output, len(images)) as advance:
        file.write(header(form, all_hypotheses=all_hypotheses))
        for caption in stream:
            drawing = None
            if caption.error is None:
                report.num_captioned += 1
                try:
                    drawing = writer(caption) if writer is not None else None
                except ImageError as error:
                    report.problems.append(f"attention not drawn: {error}")
            else:
                report.problems.append(caption.error)
            file.write(
                rows(
                    caption,
                    form,
                    all_hypotheses=all_hypotheses,
                    drawing=drawing,
                    neighbours=neighbours_shown,
                )
            )
            file.flush()
            advance(1, "")
    return report


@contextlib.contextmanager
def _open_output(path: Path | None) -> Iterator[BinaryIO]:
    if path is None:
        yield sys.stdout.buffer
        return
    path = with_file_name(path)
    partial = path.with_name(f"{path.name}.partial")
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            try:
                yield file
            except BaseException:
                note(f"the captions so far are in {partial}")
                raise
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error


@contextlib.contextmanager
def _progress(output: Path | None, total: int) -> Iterator[Callable[[int, str], None]]:
    """Show progress, unless the rows themselves go to the terminal."""
    if output is None and sys.stdout.isatty():
        yield lambda count, detail: None
        return
    with progress_bar("captioning", total, unit="images") as advance:
        yield advance


class AttentionWriter:
    """Draws attention into a folder: ``photo.attention.png``, or ``photo.attention-2.png`` if that name is taken.

    The images that are captioned are never overwritten.
    """

    def __init__(self, folder: Path, images: Iterable[Path]) -> None:
        self._folder, self._taken = folder, text_list()
        self._inputs = text_list(os.path.realpath(path) for path in images)

    def __call__(self, caption: Caption) -> str:
        """Draw the attention of a caption and return the path; an ImageError if the image can no longer be read."""
        drawing = caption.draw_attention()
        target = self._folder / self._name(Path(caption.path or "").stem)
        with atomic_path(target) as temporary:
            drawing.save(temporary, "PNG")
        return str(target)

    def _name(self, stem: str) -> str:
        name, number = f"{stem}.attention.png", 1
        while self._inputs.find(os.path.realpath(self._folder / name)) or self._taken.add(name.casefold()):
            number += 1
            name = f"{stem}.attention-{number}.png"
        return name
