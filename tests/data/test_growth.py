"""Memory grows by few bytes per image: allocations are counted for N images and for 4N.

Constant parts, such as rows that are written together, are made small, so that N need not be large. A million images
may take 400 MB more than ten thousand: 400 bytes per image.
"""

from __future__ import annotations

import io
import json
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from showtell.config.preprocessing import Preprocessing
from showtell.data import features, prepared_writer, summary, validate
from showtell.data.batches import TokenTable
from showtell.data.prepared import PreparedSet, prepare
from showtell.data.sources.registry import open_source
from showtell.data.summary import summarize
from showtell.images.listing import list_images
from showtell.images.load import ImageInfo
from showtell.system import json_stream

CONSTANT = 32_000
FEW_EXAMPLES, FEW_NAMES = 64, 400
"""As objects, an example takes more than a kilobyte."""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "IN_FLIGHT", 16)
    monkeypatch.setattr(prepared_writer, "ROWS_PER_BATCH", 16)
    monkeypatch.setattr(json_stream, "_HEAD", 256)


def peak(work: Callable[[], object]) -> int:
    """Return the peak of bytes that Python allocates, the smaller of two runs.

    In one of them Python may resize its table of interned texts, where pathlib puts names.
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


def assert_flat(work: Callable[[int], object], few: int, *, bytes_per_image: float = 0.0) -> None:
    work(4 * few)  # imports, caches
    grown = peak(lambda: work(4 * few)) - peak(lambda: work(few))
    assert grown < CONSTANT + bytes_per_image * 3 * few


def write_set(folder: Path, count: int, form: str) -> Path:
    """Write a set of ``count`` images, which are empty files, with five captions each."""
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
        # Caption by caption: no two rows of an image are consecutive.
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


@pytest.mark.thorough
@pytest.mark.parametrize("form", ["csv", "jsonl", "folder", "imagefolder"])
def test_preparing_a_set_takes_few_bytes_per_image(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validate, "inspect_image", lambda path: ImageInfo(path.stem.rjust(64, "0"), 1, 1))
    status, stat = tmp_path.stat(), Path.stat
    monkeypatch.setattr(
        Path, "stat", lambda self, **options: status if self.suffix == ".jpg" else stat(self, **options)
    )
    sources = {
        count: write_set(tmp_path / f"{form}{count}", count, form)
        for count in (FEW_EXAMPLES, 4 * FEW_EXAMPLES)
    }

    def work(count: int) -> None:
        made = prepare(sources[count], tmp_path / "out", test_fraction=0.1, overwrite=True)
        assert made.manifest["source"]["format"] == form
        assert len(made) == count

    # The rank that determines the split, the split, and the sorted names of a folder.
    assert_flat(work, FEW_EXAMPLES, bytes_per_image=8 + 1 + (0 if form in ("csv", "jsonl") else 150))


@pytest.mark.thorough
def test_reading_shards_takes_few_bytes_per_image(tmp_path: Path) -> None:
    for count in (FEW_EXAMPLES, 4 * FEW_EXAMPLES):
        names = [f"{number:05}.{field}" for field in ("jpg", "txt") for number in range(count)]
        with tarfile.open(tmp_path / f"{count}.tar", "w") as tar:
            for name in names:
                info = tarfile.TarInfo(name)
                info.size = len(name)
                tar.addfile(info, io.BytesIO(name.encode()))

    def work(count: int) -> None:
        assert sum(1 for _ in open_source(tmp_path / f"{count}.tar").examples) == count

    assert_flat(work, FEW_EXAMPLES)


@pytest.mark.thorough
def test_summarizing_a_set_takes_few_bytes_per_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "BUFFERED_WORDS", 100)
    monkeypatch.setattr(validate, "inspect_image", lambda path: ImageInfo(path.stem.rjust(64, "0"), 1, 1))
    sources = {count: write_set(tmp_path / str(count), count, "imagefolder") for count in (100, 400)}
    sets = {count: prepare(source, tmp_path / f"set{count}") for count, source in sources.items()}
    # Hashes of five captions, and of a word that no other image has, with its count, while they are merged.
    assert_flat(lambda count: summarize(sets[count]), 100, bytes_per_image=5 * 8 * 2 + 16 * 4)


def test_a_prepared_set_is_memory_mapped(toy_set: PreparedSet) -> None:
    before = pa.total_allocated_bytes()
    loaded = PreparedSet.load(toy_set.directory)
    assert pa.total_allocated_bytes() - before < (toy_set.directory / "examples.arrow").stat().st_size / 4
    assert [loaded.captions(row) for row in range(len(loaded))] == [
        toy_set.captions(row) for row in range(len(toy_set))
    ]


@pytest.mark.thorough
def test_token_ids_take_few_bytes_per_image() -> None:
    def work(count: int) -> None:
        groups = (["1 2 3 4 5 6 7 8 9 10"] * 5 for _ in range(count))
        flat = TokenTable(groups, lambda text: [int(word) for word in text.split()], vocabulary=11)
        assert len(flat) == count
        assert flat.nbytes < 160 * count

    assert_flat(work, FEW_NAMES, bytes_per_image=150)


@pytest.mark.thorough
def test_batches_to_encode_are_made_on_demand(toy_set: PreparedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "_load", lambda prepared, row, preprocessing: np.empty((1, 1, 3), np.uint8))

    def work(count: int) -> None:
        rows = np.arange(count)
        batches = features._decoded_batches(toy_set, Preprocessing(), rows, 2)
        assert sum(len(good) for good, _, _ in batches) == count

    assert_flat(work, FEW_NAMES, bytes_per_image=8.0)


@pytest.mark.thorough
def test_listing_a_folder_takes_few_bytes_per_image(tmp_path: Path) -> None:
    def names(count: int) -> Iterator[str]:
        return (f"photo{number}.jpg" for number in range(count))

    for count in (FEW_NAMES, 4 * FEW_NAMES):
        (tmp_path / str(count)).mkdir()
        for name in names(count):
            (tmp_path / str(count) / name).touch()

    def work(count: int) -> None:
        found, _ = list_images([tmp_path / str(count)])
        assert all(path.name == name for path, name in zip(found, names(count), strict=True))

    assert_flat(work, FEW_NAMES, bytes_per_image=250)
