"""Datasets of the library ``datasets``: ``{"dataset": SOURCE, "split": ..., "column": ..., ...}``.

A unit of a dataset saved to disk is a range of rows (``row``, ``rows``), one of a dataset streamed from the hub is a
shard (``shard``: its number and how many there are).
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from showtell.bulk.sources.embedded import EmbeddedImages, find_image_column
from showtell.bulk.sources.storage import is_url
from showtell.bulk.units import UNIT_IMAGES, Failure, UnitImage
from showtell.data.sources.hub_dataset import (
    fetch,
    library_errors,
    load_hub,
    load_saved,
    undecoded,
)
from showtell.errors import ShowtellError
from showtell.images.load import NamedBytes
from showtell.system.console import note

ADDRESS = "hf:"


def units(source: str, image_column: str) -> Iterator[dict[str, Any]]:
    """Yield the units of ``hf:OWNER/NAME[/CONFIG][@REVISION][:SPLIT]``, or of a folder, split by split.

    Raises:
        ConfigError: there is no column ``image_column``, or the address has another form.
        DataError: the dataset cannot be read, or has no column of images.
        MissingExtraError: ``datasets`` is not installed.
    """
    _splits.cache_clear()
    for split, rows in _splits(source).items():
        unit = {"dataset": source, "split": split, "column": _image_column(source, rows, image_column)}
        if _is_streamed(rows):
            yield from ({**unit, "shard": [number, rows.num_shards]} for number in range(rows.num_shards))
        else:
            for row in range(0, len(rows), UNIT_IMAGES):
                yield {**unit, "row": row, "rows": min(UNIT_IMAGES, len(rows) - row)}


def read(content: dict[str, Any], start: int) -> Iterator[UnitImage]:
    """Yield the images of the rows, not decoded by the library; where they cannot be read on, an error."""
    source, split = content["dataset"], content["split"]
    where = f"{source}:{split}" if split and not source.endswith(f":{split}") else source
    try:
        rows = _splits(source)[split]
        if "shard" in content:
            shard, num_shards = content["shard"]
            rows = rows.shard(num_shards, shard).skip(start)
            where, number = f"{where}#{shard}" if num_shards > 1 else where, start
        else:
            number = content["row"] + start
            rows = rows.select(range(number, content["row"] + content["rows"]))
        rows, _ = undecoded(rows)
        images = EmbeddedImages(
            _columns(rows), content["column"], where=where, folder=source, load=partial(_load, source)
        )
        with library_errors(source):
            for row in rows:
                yield images.image(row, number)
                number += 1
    except ShowtellError as error:
        yield Failure(where, str(error))


@lru_cache(maxsize=1)
def _splits(source: str) -> dict[str, Any]:
    if source.startswith(ADDRESS):
        loaded, split, notes = load_hub(source.removeprefix(ADDRESS))
        for line in notes:
            note(line)
    else:
        loaded, split = load_saved(Path(source)), None
    return dict(loaded) if isinstance(loaded, Mapping) else {split or str(loaded.split or ""): loaded}


def _is_streamed(rows: Any) -> bool:
    return not hasattr(rows, "select")


def _columns(rows: Any) -> list[str]:
    return list(next(iter(rows), {}) if rows.features is None else rows.features)


def _image_column(source: str, rows: Any, wanted: str) -> str:
    with library_errors(source):
        columns = _columns(rows)
    _, images = undecoded(rows)
    return find_image_column(source, columns, embedded=images[:1], wanted=wanted)


def _load(source: str, file: str) -> UnitImage:
    if not is_url(file):
        return Path(file)
    try:
        return NamedBytes(fetch(file, source), file)
    except ShowtellError as error:
        return Failure(file, str(error))
