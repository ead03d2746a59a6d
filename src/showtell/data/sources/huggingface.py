"""Sets of the Hugging Face library ``datasets``: saved to disk, as Parquet files, or streamed from the hub.

    saved with save_to_disk        DIR/dataset_dict.json, DIR/train/data-00000-of-00001.arrow, ...
    downloaded from the hub        DIR/data/train-00000-of-00001.parquet
    streamed                       hf:OWNER/NAME[/CONFIG][@REVISION][:SPLIT]

An image column holds a picture's bytes, which are handed over as they are; captions are a text, a list, or one of
several columns. A row's own split (``nlphuji/flickr30k`` has all rows in "test") counts before that of the dataset; a
dataset of one split only has none, unless it was asked for by name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from showtell.data.sources.base import EmbeddedImageExample, Example, Problem, Source
from showtell.data.sources.table import (
    CAPTION_COLUMNS,
    IMAGE_COLUMNS,
    SPLIT_COLUMNS,
    caption_texts,
    find_captions,
    find_column,
)
from showtell.errors import ConfigError, DataError, MissingExtraError
from showtell.system.disk_store import DiskList

LOOKS = "a folder written by datasets' save_to_disk, a folder of .parquet files, or hf:OWNER/NAME[:SPLIT]"
ADDRESS = re.compile(
    r"(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:/(?P<config>[^@:/]+))?(?:@(?P<revision>[^:]+))?(?::(?P<split>\w+))?"
)
PARQUET_FOLDERS = ("*.parquet", "data/*.parquet", "*/*.parquet", "*/*/*.parquet")
SCRIPT = re.compile(r"dataset scripts|custom code", re.IGNORECASE)
CONVERTED = "refs/convert/parquet"
PICTURE_COLUMNS = ("image", "img", "picture", "jpg", "png", "webp", *IMAGE_COLUMNS)
NAME_COLUMNS = ("filename", "file_name", "image_name", "image_path", "image_file")
ID_COLUMNS = ("img_id", "image_id", "imgid", "cocoid", "id", "__key__")

T = TypeVar("T")


def matches(path: Path) -> bool:
    """Tell whether a dataset was saved here, or Parquet files lie here."""
    if path.is_file():
        return path.suffix == ".parquet"
    return _is_saved(path) or any(next(path.glob(pattern), None) for pattern in PARQUET_FOLDERS)


def read(path: Path) -> Source:
    """Read a dataset that lies on the disk; its pictures are gone through one by one.

    Raises:
        DataError: there is none, or it has no image or no caption column.
        MissingExtraError: ``datasets`` is not installed.
    """
    if not matches(path):
        raise DataError(
            f"cannot read {path} as huggingface",
            found="neither dataset_info.json nor a .parquet file",
            expected=LOOKS,
            mend="Check the path",
        )
    library = _library()
    if _is_saved(path):
        loaded = _ask(str(path), lambda: library.load_from_disk(str(path)))
    else:
        options = {"data_files": path.name} if path.is_file() else {}
        place = str(path.parent if path.is_file() else path)
        loaded = _ask(str(path), lambda: library.load_dataset(place, streaming=True, **options))
    folder = path if path.is_dir() else path.parent
    return _source(str(path), loaded, folder, split_asked=False)


def read_hub(address: str) -> Source:
    """Stream a dataset from the hub: ``OWNER/NAME[/CONFIG][@REVISION][:SPLIT]``.

    Raises:
        ConfigError: the address is not of that form.
        DataError: the dataset cannot be reached, or has no image or no caption column.
        MissingExtraError: ``datasets`` is not installed.
    """
    what = f"hf:{address}"
    match = ADDRESS.fullmatch(address)
    if match is None:
        raise ConfigError(f"cannot read {what}", expected="hf:OWNER/NAME[/CONFIG][@REVISION][:SPLIT]")
    library = _library()
    name, config, revision, split = match["name"], match["config"], match["revision"], match["split"]

    def load(revision: str | None) -> Any:
        return library.load_dataset(name, config, split=split, revision=revision, streaming=True)

    notes: list[str] = []
    try:
        loaded = _ask(what, lambda: load(revision))
    except DataError as error:
        # Sets that are a program are no longer run; the hub keeps what they make as Parquet.
        if revision is not None or not SCRIPT.search(str(error.__cause__)):
            raise
        loaded = _ask(what, lambda: load(CONVERTED))
        notes = [f"{name} is a script; the hub's conversion to Parquet ({CONVERTED}) was read"]
    return _source(what, loaded, Path(), split_asked=split is not None, notes=notes)


def _is_saved(path: Path) -> bool:
    names = ("dataset_dict.json",), ("dataset_info.json", "state.json")
    return any(all((path / name).is_file() for name in group) for group in names)


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("the package 'datasets'", extra="datasets", cause=str(error)) from error
    return datasets


def _ask(what: str, question: Callable[[], T]) -> T:
    """Return what the library answers; it raises errors of all kinds, all of which are the set's or the network's.

    Raises:
        DataError: it answered with an error.
    """
    try:
        return question()
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).split("\n")[0]
        raise DataError(
            f"cannot read {what}", found=first, mend="Check name, configuration and split, and the network"
        ) from error


def _source(what: str, loaded: Any, folder: Path, *, split_asked: bool, notes: Sequence[str] = ()) -> Source:
    splits = dict(loaded) if isinstance(loaded, Mapping) else {str(loaded.split or ""): loaded}
    notes, problems = list(notes), list[Problem]()
    parts = [_DatasetSplit(what, name, rows) for name, rows in splits.items()]
    if len(parts) == 1 and not split_asked and parts[0].split_column is None:
        if parts[0].split:
            notes.append(f"all rows are in '{parts[0].split}', which is no split")
        parts[0].split = ""
    return Source(_examples(parts, folder, problems), problems, "huggingface", notes)


class _DatasetSplit:
    """One split of a dataset: its rows, pictures not decoded, and which columns hold what.

    Raises:
        DataError: there is no image or no caption column.
    """

    def __init__(self, what: str, split: str, rows: Any) -> None:
        self.what, self.split = what, split
        features = rows.features
        columns = list(features) if features is not None else list(_ask(what, lambda: next(iter(rows), {})))
        pictures = [name for name, feature in (features or {}).items() if type(feature).__name__ == "Image"]
        self.image = pictures[0] if pictures else find_column(columns, PICTURE_COLUMNS)
        if self.image is None or not find_captions(columns):
            raise DataError(
                f"cannot read {what}",
                found=f"the columns {', '.join(columns) or '(none)'}",
                expected=f"an image column and a caption column ({', '.join(CAPTION_COLUMNS)})",
                mend="Rename the dataset's columns (rename_column) and save it again",
            )
        self.name_column = find_column([name for name in columns if name != self.image], NAME_COLUMNS)
        self.id_column = find_column(columns, ID_COLUMNS)
        self.split_column = find_column(columns, SPLIT_COLUMNS)
        if pictures:
            rows = rows.cast_column(self.image, _library().Image(decode=False))
        self._rows = rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        rows = iter(self._rows)
        while (record := _ask(self.what, lambda: next(rows, None))) is not None:
            yield record

    def text(self, record: dict[str, Any], column: str | None) -> str:
        """Return a field as text; nothing where there is no such column or no value."""
        value = record[column] if column else None
        return "" if value is None else str(value).strip()


def _examples(
    parts: Sequence[_DatasetSplit], folder: Path, problems: list[Problem]
) -> Iterator[Example | EmbeddedImageExample]:
    names = _UniqueNames()
    for part in parts:
        for number, record in enumerate(part):
            where = f"{part.split or 'row'}[{number}]"
            captions = caption_texts(record)
            if isinstance(captions, str):
                problems.append(Problem("unreadable-line", where, captions))
                continue
            split = part.text(record, part.split_column) or part.split
            name = part.text(record, part.name_column)
            data, path = _picture(record[str(part.image)])
            if data is None and path and "://" in path:
                try:
                    data = _fetch(part.what, path)
                except DataError as error:
                    problems.append(Problem("missing-picture", name or where, error.found))
                    continue
            if data is not None:
                key = names.of(data, name or PurePosixPath(path).name, part.text(record, part.id_column))
                yield EmbeddedImageExample(key, data, captions, split)
            elif path:
                yield Example(name or path, folder / path, captions, split)
            else:
                problems.append(Problem("missing-picture", name or where, f"nothing in '{part.image}'"))


def _picture(value: Any) -> tuple[bytes | None, str]:
    """Return a picture's bytes, where they are held, and the path it has or had."""
    if isinstance(value, Mapping):
        return value.get("bytes"), str(value.get("path") or "")
    if isinstance(value, bytes):
        return value, ""
    return None, str(value or "")


def _fetch(what: str, address: str) -> bytes:
    """Return the bytes of a picture that lies beside its dataset on the hub."""
    from datasets.utils.file_utils import xopen

    def read() -> bytes:
        with xopen(address, "rb") as file:
            return bytes(file.read())

    return _ask(what, read)


class _UniqueNames:
    """Names pictures that come as bytes: no two pictures under one name, no picture of no name twice.

    Sets with a row for each caption repeat the picture; where rows name no file, equal bytes are one picture.
    """

    def __init__(self) -> None:
        self._digests = _pairs()  # by key
        self._keys = _pairs()  # of pictures without a name, by digest

    def of(self, data: bytes, name: str, identity: str) -> str:
        """Return the key of a picture whose file is called ``name``, or whose row at least has an identity."""
        digest = hashlib.sha256(data).hexdigest()
        earlier = None if name else self._keys.find(digest)
        if earlier is not None:
            return earlier[1]
        key = name or identity or digest[:16]
        taken = self._digests.add((key, digest))
        if taken is not None and taken[1] != digest:
            key = f"{key}#{digest[:8]}"
        if not name:
            self._keys.add((digest, key))
        return key


def _pairs() -> DiskList[tuple[str, str]]:
    return DiskList(pack=list, unpack=tuple, name=lambda pair: pair[0])
