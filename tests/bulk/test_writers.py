"""Rows of captions: text, JSON lines, CSV; odd names are safe in all."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.bulk.writers import FORMATS, Format, choose_format, escape, row_writer, to_row
from showtell.inference.caption import UNSURE, Caption
from showtell.retrieval.rerank import Neighbour

SECOND = Caption("two dogs", -1.5)
FIRST = Caption("a dog", -0.1234567, alternatives=[Caption("a dog", -0.1234567), SECOND], path="b.jpg")
SURE = replace(FIRST, words=["a", "dog"], confidence=0.12349, word_confidences=[0.98765, 0.5])
BAD = Caption("", -math.inf, path="c.jpg", error="cannot read c.jpg: found an empty file")

names = st.binary(min_size=1, max_size=20).filter(lambda name: b"\0" not in name).map(os.fsdecode)


def rows(*captions: Caption, form: Format, all_hypotheses: bool = False, **of_row: Any) -> bytes:
    """Return the bytes of an output of these captions."""
    file = io.BytesIO()
    with row_writer(form, file, all_hypotheses=all_hypotheses) as write:
        for caption in captions:
            write(to_row(caption, all_hypotheses=all_hypotheses, **of_row))
    return file.getvalue()


def test_text_is_path_tab_caption() -> None:
    assert rows(FIRST, form="text") == b"b.jpg\ta dog\n"
    assert rows(FIRST, form="text", all_hypotheses=True) == b"b.jpg\ta dog\nb.jpg\ttwo dogs\n"
    assert rows(BAD, form="text") == rows(BAD, form="text", all_hypotheses=True) == b"c.jpg\t\n"


def test_json_has_score_or_error() -> None:
    assert json.loads(rows(FIRST, form="jsonl")) == {"path": "b.jpg", "caption": "a dog", "score": -0.123457}
    assert json.loads(rows(FIRST, form="jsonl", all_hypotheses=True))["alternatives"] == [
        {"caption": "a dog", "score": -0.123457},
        {"caption": "two dogs", "score": -1.5},
    ]
    assert json.loads(rows(FIRST, form="jsonl", drawing="maps/b.png"))["attention"] == "maps/b.png"
    assert json.loads(rows(BAD, form="jsonl", all_hypotheses=True)) == {"path": "c.jpg", "error": BAD.error}


def test_json_names_the_neighbours_on_request() -> None:
    neighbour = Neighbour("seen.jpg", 0.87654, 0.54321, ["a dog runs"])
    caption = replace(FIRST, neighbours=[neighbour])
    assert json.loads(rows(caption, form="jsonl", neighbours=True))["neighbours"] == [
        {"key": "seen.jpg", "similarity": 0.8765, "fraction": 0.5432, "captions": ["a dog runs"]}
    ]
    assert "neighbours" not in json.loads(rows(caption, form="jsonl"))
    assert json.loads(rows(FIRST, form="jsonl", neighbours=True))["neighbours"] == []


def test_csv_has_a_header_and_a_rank_where_all_are_requested() -> None:
    assert rows(FIRST, BAD, form="csv") == (
        b"path,caption,score,error,confidence\nb.jpg,a dog,-0.123457,,\n"
        b"c.jpg,,,cannot read c.jpg: found an empty file,\n"
    )
    assert rows(FIRST, BAD, form="csv", all_hypotheses=True) == (
        b"path,rank,caption,score,error,confidence\nb.jpg,1,a dog,-0.123457,,\nb.jpg,2,two dogs,-1.500000,,\n"
        b"c.jpg,,,,cannot read c.jpg: found an empty file,\n"
    )


def test_a_calibrated_captioner_gives_the_confidence_of_captions_and_words() -> None:
    row = json.loads(rows(SURE, form="jsonl"))
    assert (row["confidence"], row["words"], row["word_confidences"]) == (0.1235, ["a", "dog"], [0.9877, 0.5])
    assert rows(SURE, form="csv").splitlines()[1] == b"b.jpg,a dog,-0.123457,,0.123500"
    assert rows(SURE, form="csv", all_hypotheses=True).splitlines()[2] == b"b.jpg,2,two dogs,-1.500000,,"
    table = pq.read_table(io.BytesIO(rows(SURE, form="parquet"))).to_pylist()
    assert (table[0]["confidence"], table[0]["word_confidences"], table[0]["unsure"]) == (
        0.1235,
        [0.9877, 0.5],
        None,
    )


def test_an_unsure_captioner_says_so_in_place_of_a_caption() -> None:
    unsure = replace(SURE, text=UNSURE, unsure=True)
    row = json.loads(rows(unsure, form="jsonl", prefix="photo: "))
    assert (row["caption"], row["unsure"], row["confidence"]) == ("(unsure)", True, 0.1235)
    assert rows(unsure, form="text", all_hypotheses=True) == b"b.jpg\t(unsure)\n"
    assert rows(unsure, form="csv", all_hypotheses=True).splitlines()[1:] == [
        b"b.jpg,1,(unsure),-0.123457,,0.123500"
    ]
    assert json.loads(rows(unsure, form="coco")) == []


@pytest.mark.parametrize("name", ["=1+1.jpg", "+1.jpg", "-a.jpg", "@A1.jpg", "\t=1.jpg"])
def test_no_cell_of_csv_is_a_formula(name: str) -> None:
    caption = Caption("=SUM(A1)", -1.0, path=name)
    bad = Caption("", -math.inf, path=name, error="=1 cannot be read")
    text = rows(caption, bad, form="csv").decode()
    cells = list(csv.reader(io.StringIO(text, newline="")))[1:]
    assert cells == [
        [f"'{name}", "'=SUM(A1)", "-1.000000", "", ""],
        [f"'{name}", "", "", "'=1 cannot be read", ""],
    ]


def test_csv_shows_control_characters_and_marks_of_direction_as_escapes() -> None:
    caption = Caption("a \x1b[31mdog", -1.0, path="\r=a\u202egpj.exe")
    assert rows(caption, form="csv").splitlines()[1] == b"\\r=a\\u202egpj.exe,a \\x1b[31mdog,-1.000000,,"


def test_coco_results_have_numbers_as_in_coco_and_no_image_without_a_caption() -> None:
    names = ["val2017/000000000139.jpg", "COCO_val2014_000000000042.jpg", "photo.1.jpg", "2017.jpg", "a.b#1"]
    captions = [Caption("a dog", -1.0, path=name) for name in names]
    results = json.loads(rows(*captions, BAD, form="coco"))
    assert [result["image_id"] for result in results] == [139, 42, "photo.1", "2017", "a.b#1"]
    assert {result["caption"] for result in results} == {"a dog"}
    assert json.loads(rows(BAD, form="coco")) == []


def test_parquet_has_the_columns_of_json_lines() -> None:
    odd = Caption("a dog", -1.0, path=os.fsdecode(b"\xff.jpg"))
    table = pq.read_table(io.BytesIO(rows(FIRST, BAD, odd, form="parquet", all_hypotheses=True)))
    first, bad, last = table.to_pylist()
    assert (first["path"], first["caption"], first["score"], first["error"]) == (
        "b.jpg",
        "a dog",
        -0.123457,
        None,
    )
    assert first["alternatives"][1] == {"caption": "two dogs", "score": -1.5}
    assert (bad["caption"], bad["error"]) == (None, BAD.error)
    assert last["path"] == "\\xff.jpg"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain é 日本", "plain é 日本"),
        ("a\tb\nc\\d\r", "a\\tb\\nc\\\\d\\r"),
        ("\x1b[31m", "\\x1b[31m"),
        (os.fsdecode(b"\xff\xfe"), "\\xff\\xfe"),
        ("\u2028\ud800", "\\u2028\\ud800"),
        ("a\u202egpj.exe\u200b\x9b", "a\\u202egpj.exe\\u200b\\x9b"),
    ],
)
def test_escapes(text: str, expected: str) -> None:
    assert escape(text) == expected


@given(names)
def test_any_file_name_is_one_line_of_text_and_is_not_confused(name: str) -> None:
    row = rows(Caption("a dog", -1.0, path=name), form="text").decode()
    assert row.count("\n") == row.count("\t") == 1
    assert len(row.splitlines()) == 1


@given(names)
def test_json_and_csv_give_back_any_file_name(name: str) -> None:
    caption = Caption("a dog", -1.0, path=name)
    assert json.loads(rows(caption, form="jsonl"))["path"] == name
    if any(ord(character) < 0x110 and not character.isprintable() for character in name) or name[0] in "=+-@":
        return  # shown escaped in CSV
    text = rows(caption, form="csv").decode("utf-8", "surrogateescape")
    assert list(csv.reader(io.StringIO(text, newline="")))[1] == [name, "a dog", "-1.000000", "", ""]


@pytest.mark.parametrize("form", FORMATS)
def test_lone_surrogates_that_are_no_bytes_do_not_stop_the_rest(form: Format) -> None:
    assert b"a dog" in rows(Caption("a dog", -1.0, path="\ud800"), form=form)


@pytest.mark.parametrize(
    ("name", "output", "expected"),
    [
        (None, None, "text"),
        (None, "a.CSV", "csv"),
        (None, "a.jsonl", "jsonl"),
        (None, "a.tsv", "text"),
        (None, "captions", "text"),
        (None, "a.json", "coco"),
        (None, "a.parquet", "parquet"),
        ("csv", "a.xlsx", "csv"),
    ],
)
def test_the_format_is_the_named_one_or_that_of_the_suffix(
    name: str | None, output: str | None, expected: str
) -> None:
    assert choose_format(name, None if output is None else Path(output)) == expected
