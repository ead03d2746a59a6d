"""Rows of tables: encodings, headers, short and long rows, lists in cells, and images grouped over rows."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from showtell.data.sources.base import Problem, Source
from showtell.data.sources.registry import open_source
from showtell.errors import ConfigError, DataError


def contents(source: Source) -> list[tuple[str, tuple[str, ...]]]:
    return [(example.key, example.captions) for example in source.examples]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_table_has_any_line_ends_and_encoding(tmp_path: Path, encoding: str, end: str) -> None:
    lines = [" Image \tCAPTION", "a.jpg\tGrüße", 'b.jpg\tHe says "no"', 'c.jpg\t"A ""big"" dog"', ""]
    (tmp_path / "set.txt").write_bytes(end.join(lines).encode(encoding))
    source = open_source(tmp_path / "set.txt", "csv")
    assert contents(source) == [
        ("a.jpg", ("Grüße",)),
        ("b.jpg", ('He says "no"',)),
        ("c.jpg", ('A "big" dog',)),
    ]
    assert source.problems == []


def test_utf16_without_a_mark_is_refused_by_its_header(tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_bytes("image,caption\na.jpg,A dog.".encode("utf-16-le"))
    with pytest.raises(DataError, match="found the first line"):
        open_source(tmp_path / "set.csv")


def test_the_last_of_several_captions_may_be_missing(tmp_path: Path) -> None:
    rows = [
        "image,caption_0,caption_1,caption_2",
        "a.jpg,One.,Two.",
        "b.jpg,One.,,Three.",
        "c.jpg",
        "d.jpg,,,",
    ]
    (tmp_path / "set.csv").write_text("\n".join(rows))
    source = open_source(tmp_path / "set.csv")
    assert contents(source) == [("a.jpg", ("One.", "Two.")), ("b.jpg", ("One.", "Three."))]
    assert source.problems == [
        Problem("unreadable-line", "set.csv:4", "1 fields, 4 columns: some are missing"),
        Problem("unreadable-line", "set.csv:5", "no caption in caption_0, caption_1, caption_2"),
    ]


def test_a_row_without_its_split_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text("image,caption,split\na.jpg,A dog.,train\nb.jpg,train\n")
    source = open_source(tmp_path / "set.csv")
    assert contents(source) == [("a.jpg", ("A dog.",))]
    assert [problem.key for problem in source.problems] == ["set.csv:3"]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_lists_of_captions_and_images_are_read_in_each_kind_of_table(tmp_path: Path, kind: str) -> None:
    file = tmp_path / ("metadata.parquet" if kind == "parquet" else f"set.{kind}")
    image, captions = "['a/0.png', 'a/1.png']", "['A dog.'\n 'A cat.']"
    if kind == "csv":
        file.write_text(f'image,captions\n"{image}","{captions}"\n')
    elif kind == "jsonl":
        file.write_text('{"image": ["a/0.png", "a/1.png"], "captions": "[\'A dog.\' \'A cat.\']"}\n')
    else:
        pq.write_table(pa.table({"file_name": [["a/0.png", "a/1.png"]], "captions": [captions]}), file)
    source = open_source(tmp_path if kind == "parquet" else file)
    assert contents(source) == [("a/0.png", ("A dog.", "A cat."))]
    assert source.notes == ["1 rows name several images; the first of each was read"]


def test_in_an_imagefolder_file_name_is_the_image(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "metadata.jsonl").write_text(
        '{"file_name": "a.jpg", "image": "w", "text": "A dog.", "title": "B."}\n'
    )
    assert contents(open_source(tmp_path)) == [("a.jpg", ("A dog.",))]
    assert contents(open_source(tmp_path, caption_column="title")) == [("a.jpg", ("B.",))]
    pq.write_table(pa.table({"file_name": ["a.jpg"], "title": ["B."]}), tmp_path / "metadata.parquet")
    (tmp_path / "metadata.jsonl").unlink()
    with pytest.raises(
        ConfigError, match=r"--caption-column titel: found file_name, title\. Did you mean 'title'"
    ):
        open_source(tmp_path, caption_column="titel")


@pytest.mark.parametrize("header", ["image,caption,caption", "image,image,caption"])
def test_two_columns_of_one_name_are_an_error(tmp_path: Path, header: str) -> None:
    (tmp_path / "a.csv").write_text(f"{header}\n1.jpg,One.,Two.\n")
    with pytest.raises(
        DataError, match=r"has several columns '.*': expected a name per column\. Call columns"
    ):
        open_source(tmp_path / "a.csv")


@pytest.mark.parametrize("delimiter", ["^", "~", "#", "，"])
def test_other_signs_separate_columns_too(tmp_path: Path, delimiter: str) -> None:
    table = tmp_path / "set.csv"
    table.write_text(f'image{delimiter}caption\na.jpg{delimiter}A dog, "big".\n')
    assert [(example.key, example.captions) for example in open_source(table).examples] == [
        ("a.jpg", ('A dog, "big".',))
    ]


@pytest.mark.parametrize("preamble", ["sep=;\n", "\ufeffsep=;\r\n", "\n\n"])
def test_lines_before_the_header_are_passed_over(tmp_path: Path, preamble: str) -> None:
    (tmp_path / "set.csv").write_text(f"{preamble}image;caption\na.jpg;A dog.\nno caption\n")
    (tmp_path / "a.jpg").touch()
    for path in (tmp_path, tmp_path / "set.csv"):
        source = open_source(path)
        assert [(example.key, example.captions) for example in source.examples] == [("a.jpg", ("A dog.",))]
        assert [problem.key for problem in source.problems] == [f"set.csv:{preamble.count(chr(10)) + 3}"]


@pytest.mark.parametrize("column", ["set", "set_name", "partition"])
def test_other_names_of_the_column_of_splits_are_known(tmp_path: Path, column: str) -> None:
    table = tmp_path / "set.csv"
    table.write_text(f"image,comment,{column}\na.jpg,A dog.,train\nb.jpg,A cat.,val\n")
    assert [example.split for example in open_source(table).examples] == ["train", "val"]
