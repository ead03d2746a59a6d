"""Datasets of Hugging Face's library: saved, as Parquet, streamed; their pictures become files, byte for byte."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from showtell.data.prepared import PreparedSet, prepare
from showtell.data.sources.base import EmbeddedImageExample, Example, Problem, Source
from showtell.data.sources.registry import open_source
from showtell.errors import ConfigError, DataError, MissingExtraError
from showtell.system.atomic import sha256_file

datasets = pytest.importorskip("datasets")

TinyJpeg = Callable[[str], bytes]
SPLITS = ("train", "train", "train", "val", "test")


@pytest.fixture(autouse=True)
def _quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets.disable_progress_bars()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def flickr30k(tiny_jpeg: TinyJpeg) -> Any:
    """The columns and the one split of ``nlphuji/flickr30k``."""
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "caption": datasets.List(datasets.Value("string")),
            "sentids": datasets.List(datasets.Value("string")),
            "split": datasets.Value("string"),
            "img_id": datasets.Value("string"),
            "filename": datasets.Value("string"),
        }
    )
    rows = [
        {
            "image": {"bytes": tiny_jpeg(f"{number}.jpg"), "path": f"{number}.jpg"},
            "caption": [f"Two men, {number}.", f"Two\nlines of {number} ."],
            "sentids": [str(2 * number), str(2 * number + 1)],
            "split": split,
            "img_id": str(number),
            "filename": f"{number}.jpg",
        }
        for number, split in enumerate(SPLITS)
    ]
    return datasets.Dataset.from_list(rows, features=features, split="test")


def captioned(tiny_jpeg: TinyJpeg, names: list[str], **columns: list[Any]) -> Any:
    """A dataset of pictures without names of their own, and further columns."""
    rows = {"image": [{"bytes": tiny_jpeg(name), "path": None} for name in names], **columns}
    return datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())


def check_flickr30k(prepared: PreparedSet, tiny_jpeg: TinyJpeg) -> None:
    assert prepared.keys == [f"{number}.jpg" for number in range(5)]
    assert [prepared.split(row) for row in range(5)] == ["train", "train", "train", "dev", "test"]
    assert prepared.captions(3) == ["Two men, 3.", "Two lines of 3 ."]
    assert prepared.manifest["problems"] == {}
    for row in range(5):
        assert prepared.image_path(row).read_bytes() == tiny_jpeg(f"{row}.jpg")


@pytest.mark.parametrize("format", [None, "huggingface"])
@pytest.mark.parametrize("layout", ["dataset", "dictionary", "shards", "parquet", "converted", "file"])
def test_flickr30k_is_read_from_the_disk(
    flickr30k: Any, tiny_jpeg: TinyJpeg, tmp_path: Path, layout: str, format: str | None
) -> None:
    path = tmp_path / "saved"
    if layout == "dictionary":
        datasets.DatasetDict(test=flickr30k).save_to_disk(path)
    elif layout in ("dataset", "shards"):
        flickr30k.save_to_disk(path, num_shards=3 if layout == "shards" else 1)
    else:
        places = {
            "parquet": "data/test-00000-of-00001.parquet",
            "converted": "TEST/test/0000.parquet",
            "file": "flickr30k.parquet",
        }
        (path / places[layout]).parent.mkdir(parents=True)
        flickr30k.to_parquet(path / places[layout])
        path = path / places[layout] if layout == "file" else path
    prepared = prepare(path, tmp_path / "set", format=format)
    assert prepared.manifest["source"] == {"path": str(path), "format": "huggingface"}
    check_flickr30k(prepared, tiny_jpeg)


def test_images_are_written_out_once_and_move_with_the_set(
    flickr30k: Any, tiny_jpeg: TinyJpeg, tmp_path: Path
) -> None:
    flickr30k.save_to_disk(tmp_path / "saved")
    prepare(tmp_path / "saved", tmp_path / "set")
    (tmp_path / "set").rename(tmp_path / "moved")
    prepared = PreparedSet.load(tmp_path / "moved")
    check_flickr30k(prepared, tiny_jpeg)
    files = [path for path in (tmp_path / "moved" / "images").rglob("*") if path.is_file()]
    assert len(files) == 5
    assert {path.suffix for path in files} == {".jpg"}
    assert all(prepared.sha256(row) == sha256_file(prepared.image_path(row)) for row in range(5))


def test_each_split_of_a_dictionary_is_a_split(tiny_jpeg: TinyJpeg, tmp_path: Path) -> None:
    parts = {
        name: captioned(tiny_jpeg, [name], text=[f"A dog of {name}."], id=[7])
        for name in ("train", "validation", "test")
    }
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    examples = list(open_source(tmp_path / "saved").examples)
    assert [(example.split, example.captions) for example in examples] == [
        (name, (f"A dog of {name}.",)) for name in parts
    ]
    # Three pictures under one identity are three.
    assert len({example.key for example in examples}) == 3
    assert examples[0].key == "7"


def test_the_only_split_of_a_dataset_is_none(tiny_jpeg: TinyJpeg, tmp_path: Path) -> None:
    names = [str(number) for number in range(10)]
    part = captioned(tiny_jpeg, names, caption=["A dog."] * 10)
    datasets.DatasetDict(test=part).save_to_disk(tmp_path / "saved")
    prepared = prepare(tmp_path / "saved", tmp_path / "set")
    assert [len(prepared.split_rows(split)) for split in ("train", "dev")] == [9, 1]
    assert prepared.manifest["notes"] == ["all rows are in 'test', which is not used as a split"]


@pytest.mark.parametrize(
    ("columns", "captions"),
    [
        ({"caption": ["A dog."]}, ("A dog.",)),
        ({"captions": [["A dog.", "A cat."]]}, ("A dog.", "A cat.")),
        ({"text": ["A dog."]}, ("A dog.",)),
        ({"sentences": [["A dog.", "A cat."]]}, ("A dog.", "A cat.")),
        ({"sentences": [{"raw": "A dog.", "tokens": ["a", "dog"]}]}, ("A dog.",)),
        ({"caption_0": ["A dog."], "caption_1": ["A cat."], "caption_2": [None]}, ("A dog.", "A cat.")),
    ],
)
def test_captions_stand_in_columns_of_many_kinds(
    tiny_jpeg: TinyJpeg, tmp_path: Path, columns: dict[str, list[Any]], captions: tuple[str, ...]
) -> None:
    captioned(tiny_jpeg, ["a"], **columns).save_to_disk(tmp_path / "saved")
    [example] = open_source(tmp_path / "saved").examples
    assert example.captions == captions


def test_rows_that_repeat_a_image_without_a_name_are_one_image(tiny_jpeg: TinyJpeg, tmp_path: Path) -> None:
    part = captioned(tiny_jpeg, ["a", "b", "a"], caption=["One.", "Two.", "Three."], id=[1, 2, 3])
    part.save_to_disk(tmp_path / "saved")
    prepared = prepare(tmp_path / "saved", tmp_path / "set")
    assert prepared.keys == ["1", "2"]
    assert prepared.captions(0) == ["One.", "Three."]
    assert prepared.manifest["problems"] == {}


def test_two_images_of_one_name_are_two_and_one_of_two_names_is_reported(
    tiny_jpeg: TinyJpeg, tmp_path: Path
) -> None:
    names = ["x.jpg", "x.jpg", "y.jpg"]
    part = captioned(tiny_jpeg, ["a", "b", "a"], caption=["One.", "Two.", "Three."], file_name=names)
    part.save_to_disk(tmp_path / "saved")
    keys = [example.key for example in open_source(tmp_path / "saved").examples]
    assert keys[0::2] == ["x.jpg", "y.jpg"]
    assert keys[1].startswith("x.jpg#")
    prepared = prepare(tmp_path / "saved", tmp_path / "set", max_problem_fraction=0.5)
    assert prepared.manifest["problems"] == {"duplicate-image": 1}


def test_images_that_are_files_stay_where_they_are(tiny_jpeg: TinyJpeg, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(tiny_jpeg("a"))
    rows = {"image": [str(tmp_path / "a.jpg")], "caption": ["A dog."]}
    part = datasets.Dataset.from_dict(rows)
    part.save_to_disk(tmp_path / "text")
    part.cast_column("image", datasets.Image()).save_to_disk(tmp_path / "embedded")
    for name in ("text", "embedded"):
        [example] = open_source(tmp_path / name).examples
        assert example.captions == ("A dog.",)
        held = isinstance(example, EmbeddedImageExample)
        assert (example.data if held else example.image.read_bytes()) == tiny_jpeg("a")
    [example] = open_source(tmp_path / "text").examples
    assert isinstance(example, Example)
    assert example.image == tmp_path / "a.jpg"
    prepared = prepare(tmp_path / "text", tmp_path / "set")
    assert prepared.image_path(0) == tmp_path / "a.jpg"
    assert not (tmp_path / "set" / "images").exists()


def test_warts_are_reported_and_leave_no_image_behind(tiny_jpeg: TinyJpeg, tmp_path: Path) -> None:
    png = io.BytesIO()
    Image.new("RGB", (4, 4)).save(png, "PNG")
    part = datasets.Dataset.from_dict(
        {
            "image": [
                {"bytes": png.getvalue(), "path": None},
                {"bytes": b"\xff\xd8\xff no picture", "path": None},
                None,
                {"bytes": tiny_jpeg("d"), "path": None},
                {"bytes": tiny_jpeg("e"), "path": None},
            ],
            "caption": [["A dog.", " "], ["Broken."], ["Lost."], [], None],
            "filename": ["a.png", "b.jpg", "c.jpg", "d.jpg", "e.jpg"],
        }
    ).cast_column("image", datasets.Image())
    part.save_to_disk(tmp_path / "saved")
    source = open_source(tmp_path / "saved")
    assert [example.key for example in source.examples] == ["a.png", "b.jpg", "d.jpg"]
    assert source.problems == [
        Problem("missing-image", "c.jpg", "nothing in 'image'"),
        Problem("unreadable-line", "row[4]", "caption is neither text nor a list of texts"),
    ]
    prepared = prepare(tmp_path / "saved", tmp_path / "set", max_problem_fraction=1.0)
    assert prepared.keys == ["a.png"]
    assert prepared.image_path(0).suffix == ".png"
    assert [path for path in (tmp_path / "set" / "images").rglob("*") if path.is_file()] == [
        prepared.image_path(0)
    ]
    assert prepared.manifest["problems"] == {
        "missing-image": 1,
        "undecodable-image": 1,
        "no-captions": 1,
        "empty-caption": 1,
        "unreadable-line": 1,
    }


def test_a_dataset_without_the_columns_is_refused(tiny_jpeg: TinyJpeg, tmp_path: Path) -> None:
    captioned(tiny_jpeg, ["a"], label=[1]).save_to_disk(tmp_path / "saved")
    with pytest.raises(
        DataError,
        match=r"found the columns image, label; expected an image column .* caption .*--caption-column",
    ):
        open_source(tmp_path / "saved")


def test_shards_of_webdataset_have_a_caption_a_line(
    hub: list[dict[str, Any]], tiny_jpeg: TinyJpeg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = datasets.Features(
        {name: datasets.Value("string") for name in ("__key__", "txt")}
        | {"jpg": datasets.Image(), "json": {"caption": datasets.Value("string")}}
    )
    rows = [
        {
            "__key__": "a",
            "txt": "One.\nTwo.",
            "json": {"caption": "Other."},
            "jpg": {"bytes": tiny_jpeg("a")},
        },
        {
            "__key__": "b",
            "txt": "One\nline.",
            "json": {"caption": "One line."},
            "jpg": {"bytes": tiny_jpeg("b")},
        },
    ]
    part = datasets.Dataset.from_list(rows, features=features)
    for columns, captions in (
        (part, [("One.", "Two."), ("One\nline.",)]),
        (part.remove_columns("txt"), [("Other.",), ("One line.",)]),
    ):
        monkeypatch.setattr(datasets, "load_dataset", lambda *names, columns=columns, **options: columns)
        assert [example.captions for example in open_source("hf:a/b").examples] == captions


def test_failed_downloads_are_no_missing_images(tiny_jpeg: TinyJpeg, tmp_path: Path) -> None:
    rows = {
        "caption": ["Two\nlines.", "Gone.", None],
        "key": ["000", "001", "002"],
        "status": ["success", "failed_to_download", "failed_to_resize"],
        "jpg": [tiny_jpeg("a"), None, None],
    }
    pq.write_table(pa.table(rows), tmp_path / "00000.parquet")
    (tmp_path / "00000_stats.json").write_text("{}")
    source = open_source(tmp_path)
    [example] = source.examples
    assert (source.name, example.key, example.captions) == ("huggingface", "000", ("Two\nlines.",))
    assert source.problems == []
    assert source.notes[1:] == [
        "2 rows are failed downloads and have no image (failed_to_download 1, failed_to_resize 1)"
    ]


@pytest.mark.parametrize(
    ("columns", "captions"),
    [
        ({"annotations_captions": [["A dog.", "A cat."]], "image_id": [7]}, ("A dog.", "A cat.")),
        ({"question": ["Come up with a caption for the image"], "answer": [["A dog."]]}, ("A dog.",)),
        ({"caption": ["['A dog.', 'A cat.']"]}, ("A dog.", "A cat.")),
    ],
)
def test_captions_are_in_the_columns_of_known_sets(
    tiny_jpeg: TinyJpeg, tmp_path: Path, columns: dict[str, list[Any]], captions: tuple[str, ...]
) -> None:
    captioned(tiny_jpeg, ["a"], **columns).save_to_disk(tmp_path / "saved")
    [example] = open_source(tmp_path / "saved").examples
    assert example.captions == captions


@pytest.mark.parametrize(
    "columns",
    [
        {"question": ["What color is it?"], "answer": ["red"]},
        {"short_caption": ["A dog."], "long_caption": ["A dog runs."]},
    ],
)
def test_columns_that_may_be_captions_or_not_are_refused(
    tiny_jpeg: TinyJpeg, tmp_path: Path, columns: dict[str, list[Any]]
) -> None:
    captioned(tiny_jpeg, ["a"], **columns).save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match="choose columns with --image-column and --caption-column"):
        open_source(tmp_path / "saved")


def test_a_broken_shard_is_a_data_error_that_leaves_nothing(flickr30k: Any, tmp_path: Path) -> None:
    flickr30k.save_to_disk(tmp_path / "saved")
    shard = next((tmp_path / "saved").glob("*.arrow"))
    shard.write_bytes(shard.read_bytes()[:200])
    with pytest.raises(DataError, match=r"cannot read .*saved: found .*\. Check that its files are whole$"):
        prepare(tmp_path / "saved", tmp_path / "set")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == ["saved"]


# ---- the hub: what goes to the library is tested, and what it would send comes from Parquet files


@pytest.fixture
def hub(flickr30k: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A hub of one dataset, and what it was asked for; a script, unless its conversion is asked for."""
    (tmp_path / "hub" / "TEST" / "test").mkdir(parents=True)
    flickr30k.to_parquet(tmp_path / "hub" / "TEST" / "test" / "0000.parquet")
    asked: list[dict[str, Any]] = []
    load = datasets.load_dataset

    def answer(name: str, config: str | None, **options: Any) -> Any:
        asked.append({"name": name, "config": config, **options})
        if name == "nlphuji/flickr30k" and options["revision"] is None:
            raise RuntimeError("Dataset scripts are no longer supported, but found flickr30k.py")
        return load(str(tmp_path / "hub"), split=options["split"], streaming=options["streaming"])

    monkeypatch.setattr(datasets, "load_dataset", answer)
    return asked


def test_a_dataset_is_streamed_from_the_hub(
    hub: list[dict[str, Any]], tiny_jpeg: TinyJpeg, tmp_path: Path
) -> None:
    prepared = prepare("hf:someone/flickr30k", tmp_path / "set")
    check_flickr30k(prepared, tiny_jpeg)
    assert prepared.manifest["source"] == {"path": "hf:someone/flickr30k", "format": "huggingface"}
    assert hub == [
        {"name": "someone/flickr30k", "config": None, "split": None, "revision": None, "streaming": True}
    ]


def test_a_dataset_that_is_a_script_is_read_from_its_conversion(
    hub: list[dict[str, Any]], tiny_jpeg: TinyJpeg, tmp_path: Path
) -> None:
    prepared = prepare("hf:nlphuji/flickr30k", tmp_path / "set")
    check_flickr30k(prepared, tiny_jpeg)
    assert [asked["revision"] for asked in hub] == [None, "refs/convert/parquet"]
    assert prepared.manifest["notes"] == [
        "nlphuji/flickr30k is a script; its conversion to Parquet on the hub (refs/convert/parquet) was read"
    ]


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("mnist", ("mnist", None, None, None)),
        ("a/b:test", ("a/b", None, None, "test")),
        ("a/b/2017", ("a/b", "2017", None, None)),
        ("a/b@refs/pr/1", ("a/b", None, "refs/pr/1", None)),
        ("a/b-c.d/e f@v1:test", ("a/b-c.d", "e f", "v1", "test")),
    ],
)
def test_the_address_names_configuration_revision_and_split(
    hub: list[dict[str, Any]], address: str, asked: tuple[str | None, ...]
) -> None:
    source = open_source(f"hf:{address}")
    assert tuple(hub[0][name] for name in ("name", "config", "revision", "split")) == asked
    assert len(list(source.examples)) == 5


def test_a_split_that_was_requested_is_one(hub: list[dict[str, Any]]) -> None:
    part = open_source("hf:a/b:test")
    assert [example.split for example in part.examples] == list(SPLITS)
    assert hub[0]["split"] == "test"


@pytest.mark.parametrize("address", ["hf:", "hf:a/b:", "hf:a b/c", "hf:a/b/c/d"])
def test_another_address_is_misuse(address: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot read hf:.*expected hf:OWNER/NAME"):
        open_source(address)
    with pytest.raises(ConfigError, match="cannot be read as coco: expected huggingface"):
        open_source("hf:a/b", "coco")


def test_what_the_library_says_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*names: Any, **options: Any) -> Any:
        raise ConnectionError("Couldn't reach 'a/b' on the Hub (LocalEntryNotFoundError)\nmore")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(
        DataError,
        match=r"cannot read hf:a/b: found Couldn't reach 'a/b' on the Hub \(Local\w+\)\. Check name",
    ):
        open_source("hf:a/b")


def test_without_the_package_its_extra_is_named(
    flickr30k: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flickr30k.save_to_disk(tmp_path / "saved")
    monkeypatch.setitem(sys.modules, "datasets", None)
    for path in (tmp_path / "saved", "hf:a/b"):
        with pytest.raises(
            MissingExtraError, match=r"Run in the clone of showtell: pip install -e '\.\[datasets\]'"
        ):
            open_source(path)


def test_going_through_the_examples_holds_one_image_at_a_time(flickr30k: Any, tmp_path: Path) -> None:
    flickr30k.save_to_disk(tmp_path / "saved")
    source: Source = open_source(tmp_path / "saved")
    assert iter(source.examples) is source.examples
