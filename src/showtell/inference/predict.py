"""Caption files and folders into rows: the function behind ``showtell caption``."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from showtell.errors import DataError, ImageError
from showtell.images.load import IMAGE_SUFFIXES, load_image
from showtell.images.preprocess import crop_box
from showtell.inference.captioner import BATCH_SIZE, Caption, Captioner
from showtell.inference.writers import Form, header, rows
from showtell.system.atomic import atomic_path, cannot_write, with_file_name
from showtell.system.console import note, progress
from showtell.system.disk_store import DiskList, text_list, to_bytes


@dataclass
class CaptioningReport:
    """How it went: pictures captioned, and what was wrong with the others."""

    captioned: int = 0
    problems: list[str] = field(default_factory=list)


def list_images(paths: Iterable[Path], *, recursive: bool = False) -> tuple[DiskList[Path], list[str]]:
    """Return files as they are and folders as their pictures (by suffix, in natural order), and folders without.

    Hidden files are left out; what is no folder is taken for a picture, so that it is told if it is none. The list is
    on disk, for a folder of a million pictures would take hundreds of megabytes.
    """
    found = _spilled_paths()
    problems: list[str] = []
    for path in paths:
        try:
            if not path.is_dir():
                found.add(path)
                continue
        except OSError:
            # A name that is too long, a folder that is closed: told when the picture is opened.
            found.add(path)
            continue
        try:
            # By itself, for of a folder that cannot be listed to its end nothing is captioned.
            inside = _spilled_paths(_pictures_of(path, recursive))
        except OSError as error:
            problems.append(f"cannot read {path}: found {error.strerror}")
            continue
        if not inside:
            hint = "" if recursive else ". Look into its folders with --recursive"
            problems.append(f"cannot read {path}: found a folder without pictures{hint}")
        for picture in inside:
            found.add(picture)
    return found, problems


def _spilled_paths(paths: Iterable[Path] = ()) -> DiskList[Path]:
    return DiskList(paths, pack=str, unpack=Path)


def _pictures_of(folder: Path, recursive: bool) -> Iterator[Path]:
    for name in sorted(_names(folder, recursive), key=lambda name: _natural(name.removesuffix("/"))):
        if name.endswith("/"):
            yield from _pictures_of(folder / name, recursive)
        else:
            yield folder / name


def _names(folder: Path, recursive: bool) -> Iterator[str]:
    """Yield the names of pictures, and where they are looked into those of folders, which end in a slash."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if Path(entry).is_dir() if entry.is_symlink() else entry.is_dir():
                if recursive and not entry.is_symlink():
                    yield f"{entry.name}/"
            elif entry.name.lower().endswith(IMAGE_SUFFIXES):
                yield entry.name


def _natural(name: str) -> bytes:
    """Return a key that puts ``photo2`` before ``photo10``.

    Texts end in a byte lower than any in a name; before the digits of a number, which begins with no zero, stands how
    many they are.
    """
    parts = re.split(r"([0-9]+)", name.casefold())
    numbers = [part.lstrip("0").encode() for part in parts[1::2]]
    key = to_bytes(parts[0]) + b"\0"
    for number, text in zip(numbers, parts[2::2], strict=True):
        key += (len(number) + 1).to_bytes(2, "big") + number + to_bytes(text) + b"\0"
    return key + b"\0\0" + to_bytes(name)


def caption_files(
    captioner: Captioner,
    paths: Sequence[Path],
    *,
    output: Path | None = None,
    form: Form = "text",
    every: bool = False,
    attention: Path | None = None,
    batch_size: int = BATCH_SIZE,
    recursive: bool = False,
    **options: Any,
) -> CaptioningReport:
    """Caption pictures into rows, in the order given, each as soon as its batch is done.

    Args:
        captioner: What captions them.
        paths: Files, and folders of pictures.
        output: A file, which appears when it is whole (``NAME.partial`` until then); None: standard output.
        form: ``text``, ``jsonl`` or ``csv`` (`showtell.inference.writers`).
        every: Write all beam_size or samples.
        attention: A folder for one drawing a picture.
        batch_size: Pictures looked at together.
        recursive: Look into folders of folders.
        options: Fields of `DecodingOptions`.

    Raises:
        DataError: no pictures at all, or an output that cannot be written.
        ConfigError: an option is unknown or out of range, or the decoder has no attention to draw.
    """
    pictures, problems = list_images(paths, recursive=recursive)
    if not pictures:
        raise DataError("there is nothing to caption", found="; ".join(problems))
    outcome = CaptioningReport(problems=problems)
    draw = None if attention is None else AttentionWriter(captioner, attention, pictures)
    stream = captioner.stream(pictures, attention=draw is not None, batch_size=batch_size, **options)
    with _sink(output) as sink, _bar(output, len(pictures)) as advance:
        sink.write(header(form, every=every))
        for caption in stream:
            drawing = None
            if caption.error is None:
                outcome.captioned += 1
                try:
                    drawing = draw(caption) if draw is not None else None
                except ImageError as error:
                    outcome.problems.append(f"attention not drawn: {error}")
            else:
                outcome.problems.append(caption.error)
            sink.write(rows(caption, form, every=every, drawing=drawing))
            sink.flush()
            advance(1, "")
    return outcome


@contextlib.contextmanager
def _sink(path: Path | None) -> Iterator[BinaryIO]:
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
                note(f"what was done is in {partial}")
                raise
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error


@contextlib.contextmanager
def _bar(output: Path | None, total: int) -> Iterator[Callable[[int, str], None]]:
    """Show progress, unless the rows themselves go to the terminal."""
    if output is None and sys.stdout.isatty():
        yield lambda count, detail: None
        return
    with progress("captioning", total, unit="pictures") as advance:
        yield advance


class AttentionWriter:
    """Draws attention into a folder: ``photo.attention.png``, ``photo.attention-2.png`` for a namesake.

    What is being captioned is never written over, whatever it is called.
    """

    def __init__(self, captioner: Captioner, folder: Path, pictures: Iterable[Path]) -> None:
        self._captioner, self._folder = captioner, folder
        self._taken = text_list()
        self._inputs = text_list(os.path.realpath(path) for path in pictures)

    def __call__(self, caption: Caption) -> str:
        """Draw one and return its path.

        Raises:
            PictureError: the picture can no longer be read.
            DataError: the drawing cannot be written.
        """
        from showtell.images.attention_overlay import draw_attention

        source = Path(caption.path or "")
        picture = load_image(source)
        window = crop_box(picture.shape[0], picture.shape[1], self._captioner.preprocessing)
        looks = caption.attention
        if looks is None:
            raise ValueError("a caption without attention cannot be drawn")
        sheet = draw_attention(
            picture, caption.words, looks, grid=self._captioner.grid, window=window, title=caption.text
        )
        target = self._folder / self._name(source.stem)
        with atomic_path(target) as temporary:
            sheet.save(temporary, "PNG")
        return str(target)

    def _name(self, stem: str) -> str:
        name, number = f"{stem}.attention.png", 1
        while self._inputs.find(os.path.realpath(self._folder / name)) or self._taken.add(name.casefold()):
            number += 1
            name = f"{stem}.attention-{number}.png"
        return name
