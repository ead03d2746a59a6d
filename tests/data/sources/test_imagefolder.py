"""Hugging Face's imagefolder: metadata beside pictures, in one folder or in one for each split."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from showtell.data.prepared import prepare
from showtell.data.sources.base import Problem, Source
from showtell.data.sources.registry import open_source
from showtell.errors import DataError

WritePictures = Callable[[Path, Iterable[str]], None]


def contents(source: Source) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(example.key, example.split, example.captions) for example in source.examples]


def write_metadata(folder: Path, kind: str, rows: list[dict[str, str]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), folder / "metadata.parquet")
        return
    lines = [json.dumps(row) for row in rows]
    if kind == "csv":
        lines = [",".join(rows[0]), *(",".join(f'"{value}"' for value in row.values()) for row in rows)]
    (folder / f"metadata.{kind}").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())


@pytest.fixture(params=["jsonl", "csv", "parquet"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("format", [None, "imagefolder"])
@pytest.mark.parametrize("names", [("train", "validation", "test"), ("Training", "dev", "eval")])
@pytest.mark.parametrize("deeper", [".", "data"])
def test_splits_are_those_of_the_folders(
    tmp_path: Path,
    write_jpegs: WritePictures,
    kind: str,
    format: str | None,
    names: tuple[str, ...],
    deeper: str,
) -> None:
    for name in names:
        # The same names in each folder: the pictures differ all the same.
        write_jpegs(tmp_path, [f"{deeper}/{name}/{number}.jpg" for number in range(2)])
        rows = [{"file_name": f"{number}.jpg", "text": f"Dog {number}, {name}."} for number in range(2)]
        write_metadata(tmp_path / deeper / name, kind, rows)
    source = open_source(tmp_path, format)
    assert source.name == "imagefolder"
    assert source.problems == []
    prefix = "" if deeper == "." else f"{deeper}/"
    assert sorted(contents(source)) == sorted(
        (f"{prefix}{name}/{number}.jpg", name, (f"Dog {number}, {name}.",))
        for name in names
        for number in range(2)
    )
    prepared = prepare(tmp_path, tmp_path.parent / "set", overwrite=True)
    assert [len(prepared.split_rows(split)) for split in ("train", "dev", "test")] == [2, 2, 2]


def test_a_flat_folder_has_no_split(tmp_path: Path, write_jpegs: WritePictures, kind: str) -> None:
    write_jpegs(tmp_path, ["a.jpg", "deep/b.jpg"])
    write_metadata(
        tmp_path,
        kind,
        [{"file_name": "a.jpg", "text": "A dog."}, {"file_name": "deep/b.jpg", "text": "A cat."}],
    )
    source = open_source(tmp_path)
    assert source.name == "imagefolder"
    assert contents(source) == [("a.jpg", "", ("A dog.",)), ("deep/b.jpg", "", ("A cat.",))]
    assert source.examples[1].image == tmp_path / "deep" / "b.jpg"
    assert (source.problems, source.notes) == ([], [])


def test_one_metadata_file_may_speak_of_the_folders_of_splits(
    tmp_path: Path, write_jpegs: WritePictures, kind: str
) -> None:
    names = ["train/a.jpg", "validation/b.jpg"]
    write_jpegs(tmp_path, names)
    write_metadata(tmp_path, kind, [{"file_name": name, "text": "A dog."} for name in names])
    assert contents(open_source(tmp_path)) == [
        ("train/a.jpg", "train", ("A dog.",)),
        ("validation/b.jpg", "validation", ("A dog.",)),
    ]


def test_the_folder_of_one_split_makes_none(tmp_path: Path, write_jpegs: WritePictures) -> None:
    names = [f"train/{number}.jpg" for number in range(10)]
    write_jpegs(tmp_path, names)
    rows = [{"file_name": name.removeprefix("train/"), "text": "A dog."} for name in names]
    write_metadata(tmp_path / "train", "jsonl", rows)
    prepared = prepare(tmp_path, tmp_path / "set")
    assert [len(prepared.split_rows(split)) for split in ("train", "dev")] == [9, 1]
    assert prepared.manifest["notes"] == ["all images are in train/, which is not used as a split"]


def test_a_rows_own_split_counts_before_its_folders(tmp_path: Path, write_jpegs: WritePictures) -> None:
    write_jpegs(tmp_path, ["test/a.jpg", "test/b.jpg"])
    rows = [
        {"file_name": "a.jpg", "text": "A dog.", "split": "train"},
        {"file_name": "b.jpg", "text": "A cat.", "split": ""},
    ]
    write_metadata(tmp_path / "test", "csv", rows)
    assert [example.split for example in open_source(tmp_path).examples] == ["train", "test"]


@pytest.mark.parametrize("column", ["caption", "sentence", "description", "alt_text"])
def test_the_caption_column_has_many_names(tmp_path: Path, kind: str, column: str) -> None:
    write_metadata(tmp_path, kind, [{"file_name": "a.jpg", column: "A dog."}])
    assert contents(open_source(tmp_path)) == [("a.jpg", "", ("A dog.",))]


def test_captions_may_stand_in_numbered_columns(tmp_path: Path, kind: str) -> None:
    rows = [{"file_name": "a.jpg", "caption_0": "A dog, so.", "caption_1": "A cat."}]
    write_metadata(tmp_path, kind, rows)
    assert contents(open_source(tmp_path)) == [("a.jpg", "", ("A dog, so.", "A cat."))]


def test_warts_are_reported(tmp_path: Path, write_jpegs: WritePictures) -> None:
    write_jpegs(tmp_path, ["train/a.jpg", "train/unmentioned.jpg", "test/b.jpg"])
    (tmp_path / "train" / "metadata.jsonl").write_text(
        '{"file_name": "a.jpg", "text": "Two\\nlines."}\n{"file_name": "a.jpg", "text": " "}\n'
        '{"file_name": "gone.jpg", "text": "Gone."}\nnot JSON\n'
    )
    write_metadata(tmp_path / "test", "csv", [{"file_name": "b.jpg", "text": "A cat."}])
    assert open_source(tmp_path).problems[-1] == Problem(
        "no-captions", "train/unmentioned.jpg", "in no metadata file"
    )
    prepared = prepare(tmp_path, tmp_path / "set", max_problem_fraction=1.0)
    assert {key: prepared.captions(row) for row, key in enumerate(prepared.keys)} == {
        "train/a.jpg": ["Two lines."],
        "test/b.jpg": ["A cat."],
    }
    assert prepared.manifest["problems"] == {
        "missing-image": 1,
        "no-captions": 1,
        "empty-caption": 1,
        "unreadable-line": 1,
    }
    [line] = [one for one in open_source(tmp_path).problems if one.kind == "unreadable-line"]
    assert line.key == "train/metadata.jsonl:4"


def test_rows_of_parquet_that_make_no_sense_are_reported(tmp_path: Path) -> None:
    rows = [{"file_name": "a.jpg", "text": "A dog."}, {"file_name": "b.jpg", "text": None}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "metadata.parquet")
    source = open_source(tmp_path)
    assert contents(source) == [("a.jpg", "", ("A dog.",))]
    assert source.problems == [
        Problem("unreadable-line", "metadata.parquet:2", "text is neither text nor a list of texts")
    ]
    (tmp_path / "metadata.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match=r"cannot read .*metadata\.parquet: found .*Download it again"):
        open_source(tmp_path)


def test_metadata_twice_in_a_folder_is_refused(tmp_path: Path) -> None:
    for kind in ("csv", "jsonl"):
        write_metadata(tmp_path, kind, [{"file_name": "a.jpg", "text": "A dog."}])
    with pytest.raises(
        DataError, match=r"has several metadata files: found metadata\.jsonl, metadata\.csv\. Keep one"
    ):
        open_source(tmp_path)


def test_of_two_metadata_files_the_nearer_one_describes_an_image(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        for name in ("1.jpg", "2.jpg"):
            (tmp_path / split / name).touch()
    (tmp_path / "train" / "metadata.csv").write_text("file_name,text\n1.jpg,Near.\n1.jpg,Nearer.\n")
    names = [f"{split}/{number}.jpg" for split in ("train", "test") for number in (1, 2)]
    (tmp_path / "metadata.csv").write_text("file_name,text\n" + "".join(f"{name},Far.\n" for name in names))
    source = open_source(tmp_path)
    assert {example.key: example.captions for example in source.examples} == {
        "train/1.jpg": ("Near.", "Nearer."),
        **dict.fromkeys(names[1:], ("Far.",)),
    }
    assert source.problems == []
    assert source.notes == [
        "1 rows of metadata.csv were left out: a metadata file nearer to the image describes it"
    ]
