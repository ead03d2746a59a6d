"""A set that is four times as large takes no more memory: allocations are counted, for N pictures and for 4N.

Constant parts, such as rows that are written together, are made small, so that N need not be large.
"""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from showtell.config.preprocessing import Preprocessing
from showtell.data import features, prepared
from showtell.data import validate as checking
from showtell.data.prepared import PreparedSet, prepare
from showtell.data.token_table import TokenTable
from showtell.images.load import ImageInfo
from showtell.inference.predict import list_images
from showtell.system import disk_store as spilled
from showtell.system import mmap as mapped

CONSTANT = 32_000
FEW_EXAMPLES, FEW_NAMES = 64, 400
"""As objects an example takes more than a kilobyte, what else there is of a picture at least 140 bytes."""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spilled, "FEW", 16)
    monkeypatch.setattr(checking, "IN_FLIGHT", 16)
    monkeypatch.setattr(prepared, "ROWS_AT_ONCE", 16)
    monkeypatch.setattr(mapped, "ROWS_AT_ONCE", 16)


def peak(work: Callable[[], object]) -> int:
    """Return the most bytes that Python held for a work.

    The less of two times: Python's table of interned texts, where pathlib puts names, may be laid out anew in one.
    """
    found = []
    for _ in range(2):
        tracemalloc.start()
        try:
            work()
            found.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    return min(found)


def assert_flat(work: Callable[[int], object], few: int, *, bytes_a_picture: float = 0.0) -> None:
    work(few)  # what is done once only: imports, caches
    grown = peak(lambda: work(4 * few)) - peak(lambda: work(few))
    assert grown < CONSTANT + bytes_a_picture * 3 * few


def write_set(folder: Path, count: int, form: str) -> Path:
    """Write a set of so many pictures with five captions each, the pictures empty files."""
    folder.mkdir(parents=True)
    rows = [
        (f"{number:05}.jpg", f"Caption {k} of number {number} .") for number in range(count) for k in range(5)
    ]
    if form == "csv":
        (folder / "set.csv").write_text(
            "image,caption\n" + "".join(f"{name},{text}\n" for name, text in rows)
        )
        return folder / "set.csv"
    if form == "jsonl":
        # Caption by caption: no two rows of a picture stand together.
        lines = (
            json.dumps({"image": name, "caption": text})
            for name, text in sorted(rows, key=lambda row: row[1])
        )
        (folder / "set.jsonl").write_text("\n".join(lines))
        return folder / "set.jsonl"
    for name in {name for name, _ in rows}:
        (folder / name).touch()
    if form == "folder":
        for name, text in rows[::5]:
            (folder / name).with_suffix(".txt").write_text(text)
    else:
        (folder / "metadata.csv").write_text(
            "file_name,text\n" + "".join(f"{name},{text}\n" for name, text in rows)
        )
    return folder


@pytest.mark.parametrize("form", ["csv", "jsonl", "folder", "imagefolder"])
def test_a_prepared_set_is_made_in_the_same_memory_whatever_its_size(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "inspect_image", lambda path: ImageInfo(path.stem.rjust(64, "0"), 1, 1))
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda self: self.suffix == ".jpg" or exists(self))
    sources = {
        count: write_set(tmp_path / f"{form}{count}", count, form)
        for count in (FEW_EXAMPLES, 4 * FEW_EXAMPLES)
    }

    def work(count: int) -> None:
        made = prepare(sources[count], tmp_path / "out", test_share=0.1)
        assert made.manifest["source"]["format"] == form
        assert len(made) == count

    # The rank by which a split is drawn, and the split.
    assert_flat(work, FEW_EXAMPLES, bytes_a_picture=8.0 + 1.0)


def test_a_prepared_set_is_read_into_no_memory_of_its_own(toy_set: PreparedSet) -> None:
    before = pa.total_allocated_bytes()
    loaded = PreparedSet.load(toy_set.directory)
    assert pa.total_allocated_bytes() - before < (toy_set.directory / "examples.parquet").stat().st_size / 4
    assert [loaded.captions(row) for row in range(len(loaded))] == [
        toy_set.captions(row) for row in range(len(toy_set))
    ]


def test_token_ids_take_no_memory_of_their_own() -> None:
    def work(count: int) -> None:
        groups = (["1 2 3 4 5 6 7 8 9 10"] * 5 for _ in range(count))
        flat = TokenTable(groups, lambda text: [int(word) for word in text.split()], vocabulary=11)
        assert len(flat) == count
        assert flat.nbytes > 140 * count

    assert_flat(work, FEW_NAMES)


def test_batches_to_look_at_are_made_as_they_are_needed(
    toy_set: PreparedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "_load", lambda prepared, row, preprocessing: np.empty((1, 1, 3), np.uint8))

    def work(count: int) -> None:
        rows = np.arange(count)
        batches = features._decoded_batches(toy_set, Preprocessing(), rows, 2)
        assert sum(len(good) for good, _, _ in batches) == count

    assert_flat(work, FEW_NAMES, bytes_a_picture=8.0)


def test_a_folder_is_listed_in_the_same_memory_whatever_its_size(tmp_path: Path) -> None:
    def names(count: int) -> Iterator[str]:
        return (f"photo{number}.jpg" for number in range(count))

    for count in (FEW_NAMES, 4 * FEW_NAMES):
        (tmp_path / str(count)).mkdir()
        for name in names(count):
            (tmp_path / str(count) / name).touch()

    def work(count: int) -> None:
        found, _ = list_images([tmp_path / str(count)])
        assert all(path.name == name for path, name in zip(found, names(count), strict=True))

    assert_flat(work, FEW_NAMES)
