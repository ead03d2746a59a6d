"""Parquet files: columns of images, keys, row groups, damage, resuming, memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from showtell.bulk.sources.listing import list_units
from showtell.errors import ConfigError

ImagesOf = Callable[..., list[Any]]
TinyJpeg = Callable[[str], bytes]


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


@pytest.mark.parametrize(
    ("columns", "keys"),
    [
        ({"image": [{"bytes": b"1", "path": "a.jpg"}, {"bytes": b"2", "path": None}]}, ["a.jpg", "{}#1"]),
        ({"label": [1, 2], "data": [b"1", b"2"]}, ["{}#0", "{}#1"]),
        ({"file_name": ["a", "b"], "id": [7, 8], "jpg": [b"1", b"2"]}, ["a", "b"]),
        ({"image_id": [7, None], "image": [b"1", b"2"], "thumbnail": [b"3", b"4"]}, ["7", "{}#1"]),
    ],
)
def test_keys_are_paths_or_names_or_ids_or_row_numbers(
    tmp_path: Path, images_of: ImagesOf, columns: dict[str, Any], keys: list[str]
) -> None:
    table = write(tmp_path / "a.parquet", columns)
    assert images_of(table) == [(keys[0].format(table), b"1"), (keys[1].format(table), b"2")]


def test_paths_are_relative_to_the_file(tmp_path: Path, images_of: ImagesOf) -> None:
    table = write(tmp_path / "a.parquet", {"caption": ["A dog."], "path": ["images/a.jpg"]})
    assert images_of(table) == [tmp_path / "images" / "a.jpg"]


def test_a_column_can_be_named(tmp_path: Path, images_of: ImagesOf) -> None:
    table = write(tmp_path / "a.parquet", {"image": [b"large"], "thumb": [b"small"]})
    assert images_of(table, image_column="thumb") == [(f"{table}#0", b"small")]
    with pytest.raises(ConfigError, match=r"no column for --image-column thumbs: .*Did you mean 'thumb'"):
        list_units([table], image_column="thumbs")


def test_rows_without_an_image_are_errors_in_their_places(tmp_path: Path, images_of: ImagesOf) -> None:
    table = write(tmp_path / "a.parquet", {"image": [b"one", None, b"three"]})
    found = images_of(table)
    assert [name for name, _ in found] == [f"{table}#{row}" for row in range(3)]
    assert found[1][1] == f"cannot read {table}#1: found nothing in 'image'. Leave it out"


@pytest.mark.parametrize("group", [1, 100, 300, 1_000])
def test_each_row_is_in_one_unit_from_any_start(tmp_path: Path, images_of: ImagesOf, group: int) -> None:
    images = [str(number).encode() for number in range(700)]
    table = write(tmp_path / "a.parquet", {"image": images}, row_group_size=group)
    listing = list_units([table])
    assert listing.num_images == 700
    assert [data for _, data in images_of(table)] == images
    for unit in listing.units():
        whole = list(unit.images())
        for start in (1, 99, 100, 255):
            assert list(unit.images(start)) == whole[start:]


def test_a_file_that_cannot_be_read_is_one_error(tmp_path: Path, images_of: ImagesOf) -> None:
    (tmp_path / "text.parquet").write_bytes(b"no")
    write(tmp_path / "columns.parquet", {"a": [1], "b": [2]})
    write(tmp_path / "empty.parquet", {"image": pa.array([], pa.binary())})
    names = ["text", "missing", "columns", "empty"]
    found = images_of(*(tmp_path / f"{name}.parquet" for name in names))
    assert [Path(path).stem for path, _ in found] == names
    assert "Parquet" in found[0][1]
    assert "No such file" in found[1][1]
    assert found[2][1].endswith(
        "found the columns a, b; expected a column of images. If there is one, name it: --image-column"
    )
    assert "no rows" in found[3][1]


def test_where_a_file_is_damaged_each_row_is_an_error(tmp_path: Path, images_of: ImagesOf) -> None:
    images = [os.urandom(500) for _ in range(600)]
    table = write(tmp_path / "a.parquet", {"image": images}, row_group_size=300, compression="gzip")
    before = images_of(table)
    content = bytearray(table.read_bytes())
    content[60_000:60_100] = bytes(100)
    table.write_bytes(content)
    found = images_of(table)
    assert [name for name, _ in found] == [name for name, _ in before]
    assert found[300:] == before[300:]
    assert found[299][1].startswith(f"cannot read {table}: found ")


def test_a_call_resumes_in_the_middle_of_a_file(
    tmp_path: Path, tiny_jpeg: TinyJpeg, check_resume: Callable[..., None]
) -> None:
    images = [tiny_jpeg(f"{number}") for number in range(9)]
    images[4] = b"broken"
    check_resume(write(tmp_path / "a.parquet", {"image": images}, row_group_size=4), after=[3, 2, 1])


@pytest.mark.slow
def test_memory_is_that_of_a_page(tmp_path: Path, peak_of: Callable[..., int]) -> None:
    schema = pa.schema([("image", pa.binary())])
    peaks = []
    for count in (20, 400):
        table = tmp_path / f"{count}.parquet"
        with pq.ParquetWriter(table, schema, write_batch_size=8, use_dictionary=False) as writer:
            images = [os.urandom(2**20) for _ in range(count)]
            writer.write_table(pa.table({"image": images}, schema), row_group_size=count)
        peaks.append(peak_of(table, count))
    assert peaks[1] < peaks[0] + 40 * 2**20
