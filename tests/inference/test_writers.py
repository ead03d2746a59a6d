"""Rows of captions: text, JSON lines, CSV; odd names are safe in all."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.inference.caption import Caption
from showtell.inference.writers import FORMATS, choose_format, escape, header, rows
from showtell.retrieval.rerank import Neighbour

SECOND = Caption("two dogs", -1.5)
FIRST = Caption("a dog", -0.1234567, alternatives=[Caption("a dog", -0.1234567), SECOND], path="b.jpg")
BAD = Caption("", -math.inf, path="c.jpg", error="cannot read c.jpg: found an empty file")

names = st.binary(min_size=1, max_size=20).filter(lambda name: b"\0" not in name).map(os.fsdecode)


def test_text_is_path_tab_caption() -> None:
    assert header("text") == b""
    assert rows(FIRST, "text") == b"b.jpg\ta dog\n"
    assert rows(FIRST, "text", all_hypotheses=True) == b"b.jpg\ta dog\nb.jpg\ttwo dogs\n"
    assert rows(BAD, "text") == rows(BAD, "text", all_hypotheses=True) == b"c.jpg\t\n"


def test_json_has_score_or_error() -> None:
    assert json.loads(rows(FIRST, "jsonl")) == {"path": "b.jpg", "caption": "a dog", "score": -0.123457}
    assert json.loads(rows(FIRST, "jsonl", all_hypotheses=True))["alternatives"] == [
        {"caption": "a dog", "score": -0.123457},
        {"caption": "two dogs", "score": -1.5},
    ]
    assert json.loads(rows(FIRST, "jsonl", drawing="maps/b.png"))["attention"] == "maps/b.png"
    assert json.loads(rows(BAD, "jsonl", all_hypotheses=True)) == {"path": "c.jpg", "error": BAD.error}


def test_json_names_the_neighbours_on_request() -> None:
    neighbour = Neighbour("seen.jpg", 0.87654, 0.54321, ["a dog runs"])
    caption = replace(FIRST, neighbours=[neighbour])
    assert json.loads(rows(caption, "jsonl", neighbours=True))["neighbours"] == [
        {"key": "seen.jpg", "similarity": 0.8765, "fraction": 0.5432, "captions": ["a dog runs"]}
    ]
    assert "neighbours" not in json.loads(rows(caption, "jsonl"))
    assert json.loads(rows(FIRST, "jsonl", neighbours=True))["neighbours"] == []


def test_csv_has_a_header_and_a_rank_where_all_are_asked_for() -> None:
    assert header("csv") + rows(FIRST, "csv") == b"path,caption,score,error\nb.jpg,a dog,-0.123457,\n"
    assert rows(BAD, "csv") == b"c.jpg,,,cannot read c.jpg: found an empty file\n"
    assert header("csv", all_hypotheses=True) == b"path,rank,caption,score,error\n"
    assert (
        rows(FIRST, "csv", all_hypotheses=True) == b"b.jpg,1,a dog,-0.123457,\nb.jpg,2,two dogs,-1.500000,\n"
    )
    assert rows(BAD, "csv", all_hypotheses=True) == b"c.jpg,,,,cannot read c.jpg: found an empty file\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain é 日本", "plain é 日本"),
        ("a\tb\nc\\d\r", "a\\tb\\nc\\\\d\\r"),
        ("\x1b[31m", "\\x1b[31m"),
        (os.fsdecode(b"\xff\xfe"), "\\xff\\xfe"),
        ("\u2028\ud800", "\\u2028\\ud800"),
    ],
)
def test_escapes(text: str, expected: str) -> None:
    assert escape(text) == expected


@given(names)
def test_any_file_name_is_one_line_of_text_and_is_not_confused(name: str) -> None:
    row = rows(Caption("a dog", -1.0, path=name), "text").decode()
    assert row.count("\n") == row.count("\t") == 1
    assert len(row.splitlines()) == 1


@given(names)
def test_json_and_csv_give_back_any_file_name(name: str) -> None:
    caption = Caption("a dog", -1.0, path=name)
    assert json.loads(rows(caption, "jsonl"))["path"] == name
    text = rows(caption, "csv").decode("utf-8", "surrogateescape")
    assert next(csv.reader(io.StringIO(text, newline=""))) == [name, "a dog", "-1.000000", ""]


@pytest.mark.parametrize("form", FORMATS)
def test_lone_surrogates_that_are_no_bytes_do_not_stop_the_rest(form: str) -> None:
    assert b"a dog" in rows(Caption("a dog", -1.0, path="\ud800"), form)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "output", "expected"),
    [
        (None, None, "text"),
        (None, "a.CSV", "csv"),
        (None, "a.jsonl", "jsonl"),
        (None, "a.tsv", "text"),
        (None, "captions", "text"),
        ("csv", "a.xlsx", "csv"),
    ],
)
def test_the_format_is_the_named_one_or_that_of_the_suffix(
    name: str | None, output: str | None, expected: str
) -> None:
    assert choose_format(name, None if output is None else Path(output)) == expected
