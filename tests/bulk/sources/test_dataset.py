"""Datasets of Hugging Face's library: saved to disk, and streamed from the hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from showtell.bulk.sources.listing import list_units
from showtell.errors import ConfigError

datasets = pytest.importorskip("datasets")

ImagesOf = Callable[..., list[Any]]
TinyJpeg = Callable[[str], bytes]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    datasets.disable_progress_bars()


def part(images: list[bytes | None], **columns: list[Any]) -> Any:
    rows = {"image": [{"bytes": data, "path": None} for data in images], **columns}
    return datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[dict[str, Any]]]:
    """Let the hub have one dataset; returns how it is loaded."""

    def have(loaded: Any) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []

        def load(name: str, config: str | None, **options: Any) -> Any:
            calls.append({"name": name, "config": config, **options})
            return loaded

        monkeypatch.setattr(datasets, "load_dataset", load)
        return calls

    return have


def test_a_dataset_saved_to_disk_is_captioned_split_by_split(tmp_path: Path, images_of: ImagesOf) -> None:
    saved = tmp_path / "saved"
    splits = {"train": part([b"1", b"2"], filename=["a.jpg", None]), "test": part([b"3"])}
    datasets.DatasetDict(splits).save_to_disk(saved)
    assert images_of(saved) == [
        ("a.jpg", b"1"),
        (f"{saved}:train#1", b"2"),
        (f"{saved}:test#0", b"3"),
    ]


def test_units_are_ranges_of_rows(tmp_path: Path, images_of: ImagesOf) -> None:
    images = [str(number).encode() for number in range(600)]
    part(list(images)).save_to_disk(tmp_path / "saved")
    listing = list_units([tmp_path / "saved"])
    assert listing.num_images == 600
    assert len(list(listing.units())) == 3
    assert images_of(tmp_path / "saved") == [
        (f"{tmp_path / 'saved'}#{number}", data) for number, data in enumerate(images)
    ]


def test_shards_of_the_hub_are_units_and_are_streamed(hub: Any, images_of: ImagesOf) -> None:
    calls = hub(part([b"1", b"2", b"3", b"4"]).to_iterable_dataset(num_shards=2))
    address = "hf:someone/photos/large@v1:train"
    found = images_of(address)
    assert found == [
        (f"{address}#0#0", b"1"),
        (f"{address}#0#1", b"2"),
        (f"{address}#1#0", b"3"),
        (f"{address}#1#1", b"4"),
    ]
    assert images_of(address, start=1) == [found[1], found[3]]
    assert list_units([address]).num_images is None
    expected = {
        "name": "someone/photos",
        "config": "large",
        "revision": "v1",
        "split": "train",
        "streaming": True,
    }
    assert calls[0] == expected


def test_a_dataset_that_breaks_off_ends_in_an_error(hub: Any, images_of: ImagesOf) -> None:
    def rows() -> Any:
        yield {"image": b"1"}
        raise ConnectionError("no route to host")

    hub(datasets.IterableDataset.from_generator(rows))
    (_, data), (name, error) = images_of("hf:someone/broken")
    assert (data, name) == (b"1", "hf:someone/broken:train")
    assert error.startswith("cannot read hf:someone/broken: found no route to host")


def test_a_dataset_without_images_is_a_problem(hub: Any) -> None:
    hub(datasets.Dataset.from_dict({"a": [1], "b": [2]}).to_iterable_dataset())
    assert list_units(["hf:someone/numbers"]).problems == [
        "cannot read hf:someone/numbers: found the columns a, b; expected a column of images. "
        "If there is one, name it: --image-column"
    ]
    with pytest.raises(ConfigError, match=r"expected hf:OWNER/NAME"):
        list_units(["hf:a b"])


def test_a_call_resumes_in_the_middle_of_a_dataset(
    tmp_path: Path, tiny_jpeg: TinyJpeg, check_resume: Callable[..., None]
) -> None:
    part([tiny_jpeg(f"{number}") for number in range(5)]).save_to_disk(tmp_path / "saved")
    check_resume(tmp_path / "saved", after=[2, 1])
