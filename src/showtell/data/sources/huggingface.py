"""Datasets of the Hugging Face library ``datasets``: saved to disk, as Parquet files, or streamed from the hub.

    saved with save_to_disk        DIR/dataset_dict.json, DIR/train/data-00000-of-00001.arrow, ...
    downloaded from the hub        DIR/data/train-00000-of-00001.parquet
    streamed                       hf:OWNER/NAME[/CONFIG][@REVISION][:SPLIT]

Images are embedded as bytes, which are kept unchanged; captions are a text, a list, or one of several columns. A
row's own split (``nlphuji/flickr30k`` has all rows in "test") overrides that of the dataset; the split of a dataset
with only one is ignored, unless it was requested by name.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from showtell.data.sources.base import EmbeddedImageExample, Example, Problem, Source
from showtell.data.sources.columns import (
    CHOOSE,
    SPLIT_COLUMNS,
    Columns,
    caption_texts,
    find_column,
)
from showtell.data.sources.hub_dataset import (
    EMBEDDED_COLUMNS,
    ID_COLUMNS,
    NAME_COLUMNS,
    fetch,
    image_parts,
    is_saved,
    library,
    library_errors,
    load_hub,
    load_saved,
    parquet_files,
    undecoded,
)
from showtell.data.sources.img2dataset import failed_status, note_of, split_captions
from showtell.data.sources.names import NameMatcher
from showtell.data.sources.table import USUAL
from showtell.data.sources.unique_names import UniqueNames
from showtell.errors import DataError

LAYOUT = "a folder written by datasets' save_to_disk, a folder of .parquet files, or hf:OWNER/NAME[:SPLIT]"
MISSING = "neither dataset_info.json nor a .parquet file"


def find(path: Path, *, forced: bool) -> list[Path]:
    """Return a saved dataset, or a file or folder of Parquet files."""
    if path.is_file():
        return [path] if path.suffix == ".parquet" else []
    found = is_saved(path) or any(True for _ in parquet_files(path))
    return [path] if found else []


def read(path: Path, files: list[Path], columns: Columns = USUAL) -> Source:
    """Read a local dataset; its images are read one by one."""
    folder, options = (path.parent, {"data_files": path.name}) if path.is_file() else (path, {})
    if is_saved(path):
        loaded = load_saved(path)
    else:
        datasets = library()
        with library_errors(str(path)):
            loaded = datasets.load_dataset(str(folder), streaming=True, **options)
    return _source(str(path), loaded, folder, columns, keep_split=False)


def read_hub(address: str, columns: Columns = USUAL) -> Source:
    """Stream a dataset from the hub: ``OWNER/NAME[/CONFIG][@REVISION][:SPLIT]``.

    Raises:
        ConfigError: the address has another form, or the dataset no column that the user names.
        DataError: the dataset cannot be reached, or has no image or no caption column.
        MissingExtraError: ``datasets`` is not installed.
    """
    loaded, split, notes = load_hub(address)
    source = _source(f"hf:{address}", loaded, Path(), columns, keep_split=split is not None)
    source.name, source.notes = "huggingface", notes + source.notes
    return source


def _source(dataset: str, loaded: Any, folder: Path, columns: Columns, *, keep_split: bool) -> Source:
    splits = dict(loaded) if isinstance(loaded, Mapping) else {str(loaded.split or ""): loaded}
    parts = [_DatasetSplit(dataset, name, rows, columns) for name, rows in splits.items()]
    source = Source((), [])
    if len(parts) == 1 and not keep_split and parts[0].split_column is None:
        if parts[0].split:
            source.notes.append(f"all rows are in '{parts[0].split}', which is not used as a split")
        parts[0].split = ""
    source.examples = _examples(parts, folder, source)
    return source


class _DatasetSplit:
    """One split of a dataset: its rows with encoded images, and the roles of its columns."""

    def __init__(self, dataset: str, split: str, rows: Any, chosen: Columns) -> None:
        self.dataset, self.split = dataset, split
        features = rows.features
        with library_errors(dataset):
            columns = list(next(iter(rows), {}) if features is None else features)
        if "json" not in columns:
            chosen.check(columns, dataset)
        self._chosen = chosen
        self._rows, images = undecoded(rows)
        named = replace(chosen, image_names=EMBEDDED_COLUMNS).find_image(columns)
        image = images[0] if images and not chosen.image else named
        self.captions = chosen.find_captions(columns) or self._answers(columns)
        # Shards of WebDataset have captions in lines of a text, or in JSON.
        self.is_webdataset = "__key__" in columns
        self.has_json = self.is_webdataset and "json" in columns
        if image is None or not (self.captions or self.has_json):
            raise DataError(
                f"cannot read {dataset}",
                found=f"the columns {', '.join(columns) or '(none)'}",
                expected=chosen.expected,
                mend=f"If they have other names, {CHOOSE}",
            )
        self.image = image
        self.name_column = find_column([name for name in columns if name != image], NAME_COLUMNS)
        self.id_column = find_column(columns, ID_COLUMNS)
        self.split_column = find_column(columns, SPLIT_COLUMNS)

    def caption_texts(self, record: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the captions of a row; ValueError: it has none."""
        metadata = record.get("json") if self.has_json else None
        if self.captions:
            texts = caption_texts(record, self.captions)
        else:
            metadata = metadata if isinstance(metadata, Mapping) else {}
            texts = caption_texts(metadata, self._chosen.find_captions(metadata) or ["caption"])
        if not self.is_webdataset or len(texts) != 1 or not self.captions:
            return texts
        return split_captions(texts[0], metadata)

    def _answers(self, columns: list[str]) -> list[str]:
        """Return the column of answers if the first question asks for a caption, as in sets for chat models."""
        if not {"question", "answer"} <= set(columns):
            return []
        first: Mapping[str, Any] = next(iter(self), {})
        return ["answer"] if "caption" in str(first.get("question")).lower() else []

    def __iter__(self) -> Iterator[dict[str, Any]]:
        with library_errors(self.dataset):
            yield from self._rows


def _text(record: dict[str, Any], column: str | None) -> str:
    """Return a field as text; empty if there is no such column or no value."""
    value = record[column] if column else None
    return "" if value is None else str(value).strip()


def _examples(
    parts: list[_DatasetSplit], folder: Path, source: Source
) -> Iterator[Example | EmbeddedImageExample]:
    names, matcher, problems = UniqueNames(), NameMatcher(), source.problems
    failed = Counter[str]()
    for part in parts:
        for number, record in enumerate(part):
            position = f"{part.split or 'row'}[{number}]"
            if status := failed_status(record):
                failed[status] += 1
                continue
            try:
                captions = part.caption_texts(record)
            except ValueError as error:
                problems.append(Problem("unreadable-line", position, str(error)))
                continue
            split = _text(record, part.split_column) or part.split
            name = _text(record, part.name_column)
            data, path = image_parts(record[part.image])
            if data is None and "://" in path:
                try:
                    data = fetch(path, part.dataset)
                except DataError as error:
                    problems.append(Problem("missing-image", name or position, error.found))
                    continue
            if data is not None:
                key = names.key(data, name or PurePosixPath(path).name, _text(record, part.id_column))
                yield EmbeddedImageExample(key, data, captions, split)
            elif path:
                path = matcher.match(folder, path)
                yield Example(name or path, folder / path, captions, split)
            else:
                problems.append(Problem("missing-image", name or position, f"nothing in '{part.image}'"))
    source.notes += matcher.notes + note_of(failed)
