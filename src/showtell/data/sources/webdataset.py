"""WebDataset shards: .tar files in which the members of one name before the first dot are a sample.

    train/shard-000000.tar    000000000.jpg, 000000000.txt, 000000000.json, 000000001.jpg, ...

Captions are the lines of ``txt`` (img2dataset's is one caption), or those in ``json``. Members are read in place; the
order does not matter, and images are neither decoded nor unpacked.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain, groupby, islice, starmap
from pathlib import Path, PurePosixPath
from typing import IO, Any

from showtell.data.sources.base import EmbeddedImageExample, Problem, Source
from showtell.data.sources.columns import CHOOSE, Columns, caption_texts, parse_list
from showtell.data.sources.files import is_image
from showtell.data.sources.img2dataset import failed_in, failed_status, note_of, split_captions
from showtell.data.sources.locate import folders_below, split_of
from showtell.data.sources.shard_names import TAR_SUFFIXES, expand_braces, has_braces
from showtell.data.sources.table import USUAL
from showtell.data.sources.tar_file import (
    ERRORS,
    members,
    opened,
    read_member,
    unpacked,
    visible_members,
)
from showtell.data.sources.unique_names import UniqueNames
from showtell.errors import DataError
from showtell.system.disk_store import DiskList
from showtell.system.reading import parse_json

LAYOUT = "a .tar of images with .txt or .json each, a folder of such shards, or shard-{000..005}.tar"
MISSING = "no .tar"
MAX_IMAGE, MAX_TEXT = 256 * 2**20, 2**20  # bytes

Sample = tuple[str, dict[str, list[int]]]  # key, and offset and size of each field


def find(path: Path, *, forced: bool) -> list[Path]:
    """Return the shards; a file named by a pattern that does not exist is an error."""
    if is_pattern(path):
        shards = list(_expand(path))
    elif path.is_file():
        shards = [path] if forced or path.name.lower().endswith(TAR_SUFFIXES) else []
    else:
        shards = [
            shard for folder in folders_below(path, 2, most=sys.maxsize) for shard in _shards_in(folder)
        ]
        shards = shards if forced or any(map(_has_samples, shards)) else []
    return shards


def _shards_in(folder: Path) -> list[Path]:
    shards: list[Path] = []
    with suppress(PermissionError), os.scandir(folder) as entries:
        # Of millions of images, not all names are held.
        names = (
            entry.name for entry in entries if entry.name.lower().endswith(TAR_SUFFIXES) and entry.is_file()
        )
        shards = [folder / name for name in names if not name.startswith(".")]
    return sorted(shards)


def is_pattern(path: Path) -> bool:
    """Return whether a path names several shards, as ``shard-{000..005}.tar`` does."""
    return path.name.lower().endswith(TAR_SUFFIXES) and has_braces(str(path)) and not path.exists()


def _expand(path: Path) -> Iterator[Path]:
    for shard in map(Path, expand_braces(str(path))):
        if not shard.is_file():
            raise DataError(f"cannot read {shard}", found="no such file", mend="Check the pattern of shards")
        yield shard


def _has_samples(shard: Path) -> bool:
    """Return whether one of the first members is an image; a broken shard is reported when it is read."""
    try:
        with opened(shard) as content, members(content) as tar:
            return any(is_image(PurePosixPath(member.name).name) for member in islice(tar, 64))
    except ERRORS:
        return True


def read(path: Path, files: list[Path], columns: Columns = USUAL) -> Source:
    source = Source((), [])
    # Of a pattern, the folders from the first brace on may name a split.
    root = path if path.is_dir() else Path(str(path).partition("{")[0] + "x").parent
    splits = [split_of(shard, root) for shard in files]
    if len(set(splits)) == 1:
        source.notes += [
            f"all shards are in '{name}', which is not used as a split" for name in set(splits) if name
        ]
        splits = [""] * len(splits)
    source.examples = _Reader(source, columns).examples(files, splits)
    return source


def _apart(key: str, fields: dict[str, list[int]]) -> Iterator[Sample]:
    """Yield a sample, or the several of images with a text each (``a.1.jpg``, ``a.1.txt``, ``a.2.jpg``, ...)."""
    groups: dict[str, dict[str, list[int]]] = {}
    for field, place in fields.items():
        stem, _, suffix = field.rpartition(".")
        groups.setdefault(stem, {})[suffix] = place
    has_pairs = all(
        any(is_image(f"x.{field}") for field in group) and len(group) > 1 for group in groups.values()
    )
    if len(groups) > 1 and has_pairs:
        yield from ((f"{key}.{stem}" if stem else key, group) for stem, group in groups.items())
    else:
        yield key, fields


class _Reader:
    """Reads the samples of shards, with the problems and notes of their source."""

    def __init__(self, source: Source, columns: Columns) -> None:
        self._source, self._columns = source, columns
        self._names, self._failed, self._several = UniqueNames(), Counter[str](), 0
        self._found: dict[str, None] = {}  # columns, until there is an example
        self._is_empty = True

    def examples(self, shards: Sequence[Path], splits: Sequence[str]) -> Iterator[EmbeddedImageExample]:
        for shard, split in zip(shards, splits, strict=True):
            try:
                with unpacked(shard) as (content, wrong):
                    if wrong:
                        self._report(shard.name, f"cut or broken: {wrong}")
                    for key, fields in chain.from_iterable(
                        starmap(_apart, self._samples(content, shard.name))
                    ):
                        example = self._example(content, shard.name, key, fields, split)
                        if example is not None:
                            self._is_empty = False
                            yield example
            except ERRORS as error:
                self._report(shard.name, f"not a readable .tar: {error}")
        if self._is_empty:
            self._columns.check(self._found, str(shards[0]))
        statistics = (shard.with_name(f"{shard.name.partition('.')[0]}_stats.json") for shard in shards)
        self._source.notes += note_of(self._failed or failed_in(filter(Path.is_file, statistics)))
        if self._several:
            self._source.notes.append(
                f"{self._several:,} samples have several images; the first of each was read"
            )

    def _report(self, key: str, detail: str, kind: str = "unreadable-line") -> None:
        self._source.problems.append(Problem(kind, key, detail))

    def _samples(self, content: IO[bytes], shard: str) -> DiskList[Sample]:
        """Return the samples of a shard, whose members need not be neighbors."""
        samples = DiskList[Sample](
            pack=list, unpack=lambda values: (values[0], values[1]), key=lambda one: one[0]
        )
        for key, group in groupby(self._members(content, shard), key=lambda member: member[0]):
            earlier = samples.add((key, {}))
            fields = {} if earlier is None else earlier[1]
            for _, field, offset, size in group:
                if field in fields:
                    self._report(f"{shard}:{key}.{field}", "twice in the shard; the last was read")
                fields[field] = [offset, size]
            samples.replace((key, fields))
        return samples

    def _members(self, content: IO[bytes], shard: str) -> Iterator[tuple[str, str, int, int]]:
        """Yield key, field, offset and size of each file, without hidden ones and macOS's shadow entries."""
        try:
            for member in visible_members(content):
                path = PurePosixPath(member.name)
                stem, _, field = path.name.partition(".")
                if not member.isreg() or member.issparse():
                    self._report(f"{shard}:{member.name}", "a link or a special file")
                elif field:
                    yield str(path.with_name(stem)), field.lower(), member.offset_data, member.size
        except ValueError as error:
            self._report(shard, str(error))

    def _example(
        self, content: IO[bytes], shard: str, key: str, fields: dict[str, list[int]], split: str
    ) -> EmbeddedImageExample | None:
        """Return a sample as an example; None: it is reported, or of no image and no text."""
        images = [field for field in fields if is_image(f"x.{field}")]
        wanted = self._columns.image.lower()
        image = next((field for field in images if not wanted or field == wanted), None)
        try:
            metadata = _metadata(content, fields)
            if image is None:
                if status := failed_status(metadata):
                    self._failed[status] += 1
                elif wanted and images:
                    self._report(f"{shard}:{key}", f"no '{wanted}'")
                elif "json" in fields or _texts(fields):
                    self._report(key, f"no image in {shard}", "captions-without-image")
                return None
            if self._is_empty:
                self._found.update(dict.fromkeys([*images, *_texts(fields), *metadata]))
            captions = self._captions(content, fields, metadata)
            data = read_member(content, fields[image], MAX_IMAGE)
        except ERRORS as error:
            self._report(f"{shard}:{key}", str(error))
            return None
        if not captions:
            self._report(f"{key}.{image}", f"no text in {shard}", "no-captions")
            return None
        self._several += len(images) > 1 and not wanted
        return EmbeddedImageExample(self._names.key(data, f"{key}.{image}", ""), data, captions, split)

    def _captions(
        self, content: IO[bytes], fields: dict[str, list[int]], metadata: dict[str, Any]
    ) -> tuple[str, ...]:
        texts = _texts(fields)
        chosen = self._columns.find_captions(texts)
        if not (chosen or self._columns.caption or "json" in fields):
            chosen = list(texts)
            if len(chosen) > 1 and not all(name.isdigit() for name in chosen):
                raise ValueError(f"several texts ({', '.join(chosen)}): {CHOOSE}")
        captions: list[str] = []
        for name in chosen:
            text = read_member(content, fields[texts[name]], MAX_TEXT).decode("utf-8-sig")
            values = parse_list(text)
            captions += (
                split_captions(text, metadata) if values is None else caption_texts({name: values}, [name])
            )
        names = self._columns.find_captions(metadata)
        return tuple(captions) if captions or not names else caption_texts(metadata, names)


def _metadata(content: IO[bytes], fields: dict[str, list[int]]) -> dict[str, Any]:
    """Return the object in ``json``; what is no object is its caption or captions."""
    metadata = (
        parse_json(read_member(content, fields["json"], MAX_TEXT), lenient=True) if "json" in fields else None
    )
    return metadata if isinstance(metadata, dict) else {} if metadata is None else {"caption": metadata}


def _texts(fields: dict[str, list[int]]) -> dict[str, str]:
    """Return the fields of texts by name: ``txt``, ``text``, and ``short`` for ``short.txt``."""
    return {
        field.removesuffix(".txt"): field
        for field in fields
        if field.endswith("txt") or USUAL.find_captions([field])
    }
