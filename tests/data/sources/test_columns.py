"""Captions in cells: lists that are written as text are lists, and everything else is text; columns by name."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.data.sources.columns import Columns, caption_texts, find_column, parse_list
from showtell.errors import ConfigError

CAPTIONS = st.lists(st.text("ab'\"[],\\\n ü犬😀", min_size=1, max_size=12), min_size=1, max_size=5)


@given(CAPTIONS)
def test_a_list_in_the_form_of_json_or_python_is_a_list(captions: list[str]) -> None:
    forms = [str(captions), json.dumps(captions), json.dumps(captions, ensure_ascii=False), f" {captions}\n"]
    assert [parse_list(form) for form in forms] == [captions] * 4
    if len(captions) > 1:
        assert parse_list(str(tuple(captions))) == captions


@given(CAPTIONS)
def test_an_array_of_numpy_is_a_list(captions: list[str]) -> None:
    # NumPy ends fixed-width texts at trailing NULs alone, and breaks lines between texts.
    for array in (np.array(captions, dtype=object), np.array(captions)):
        assert [parse_list(form) for form in (str(array), repr(array))] == [captions] * 2


@given(CAPTIONS)
def test_a_set_is_a_list_in_the_written_order(captions: list[str]) -> None:
    assert parse_list("{" + str(captions)[1:-1] + "}") == captions


@pytest.mark.parametrize("gap", [np.nan, None])
def test_a_text_that_is_missing_in_a_list_is_refused(gap: float | None) -> None:
    values = ["A dog.", gap, "It's a cat."]
    for text in (str(values), str(np.array(values, dtype=object)), repr(np.array(values, dtype=object))):
        with pytest.raises(ValueError, match="caption is neither text nor a list of texts"):
            caption_texts({"caption": text}, ["caption"])


def test_a_list_that_numpy_shortened_is_refused() -> None:
    array = np.array([f"A dog, number {number}." for number in range(2_000)])
    for text in (str(array), repr(array), str(array.astype(object))):
        with pytest.raises(
            ValueError, match=r"caption is a list that was shortened: it has '\.\.\.' in place"
        ):
            caption_texts({"caption": text}, ["caption"])


@pytest.mark.parametrize(
    "text",
    [
        *("{a dog}", "{}", "{'a', b}", "{'a'", "[nan]", "[...]", "[None, nan]", "['a' nun]"),
        *("[left] a dog", "[Stop]", "[3]", "(a dog)", "('a dog')", "['a dog", "a dog]", "[a dog, a cat]"),
        *(
            "{'a': 1}",
            "()",
            "[",
            "",
            "[1, 2]",
            "['a'] and ['b']",
            "[" * 10_000 + "]" * 10_000,
            "('" * 9_999 + "')",
        ),
        *("['a' + 'b']", "[open('x')]", "[f'x']"),
    ],
)
def test_other_text_is_text(text: str) -> None:
    assert parse_list(text) is None
    assert caption_texts({"caption": text}, ["caption"]) == (text,)


def test_a_long_cell_takes_little_time() -> None:
    start = time.process_time()
    assert parse_list("array([" + "]," * 400_000 + ")") is None
    assert parse_list("array([" + "a" * 2_000_000 + "])") is None
    assert time.process_time() - start < 2


def test_an_empty_list_has_no_captions() -> None:
    assert caption_texts({"captions": "[]"}, ["captions"]) == ()


def test_sentences_in_karpathys_format_may_be_text_too() -> None:
    sentences = [{"raw": "A dog.", "tokens": ["a", "dog"]}]
    assert caption_texts({"sentences": str(sentences)}, ["sentences"]) == ("A dog.",)


@pytest.mark.parametrize("value", [None, 7, ["a", None], "['a', None]", "[['a', 'b']]", [["a"]]])
def test_what_is_no_text_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="caption is neither text nor a list of texts"):
        caption_texts({"caption": value}, ["caption"])


def test_empty_cells_of_several_columns_are_passed_over() -> None:
    assert caption_texts({"a": "A dog.", "b": "", "c": None}, ["a", "b", "c"]) == ("A dog.",)
    with pytest.raises(ValueError, match="no caption in a, b"):
        caption_texts({"a": "", "b": None}, ["a", "b"])


@pytest.mark.parametrize(
    ("columns", "captions"),
    [
        (["image", "text", "caption"], ["caption"]),
        (["image", "Caption_0", "caption1"], ["Caption_0", "caption1"]),
        (["image", "annotations_captions", "annotations_ids"], ["annotations_captions"]),
        (["image", "short_caption", "long_caption"], []),
        (["image", "title"], []),
    ],
)
def test_captions_are_in_columns_of_known_names(columns: list[str], captions: list[str]) -> None:
    assert Columns().find_captions(columns) == captions


def test_the_user_chooses_columns() -> None:
    chosen = Columns(image="Photo", caption="title ")
    assert chosen.find_image(["image", "photo"]) == "photo"
    assert chosen.find_captions(["caption", " Title"]) == [" Title"]
    assert Columns(caption="title").find_captions(["caption"]) == []
    assert find_column(["image"], ["file"]) is None


def test_a_column_that_is_not_there_is_misuse_with_a_near_name() -> None:
    with pytest.raises(
        ConfigError,
        match=r"no column for --caption-column titel: found id, title\. Did you mean 'title'\?",
    ):
        Columns(caption="titel").check(["id", "title"], "a.csv")


def test_separators_in_names_of_columns_do_not_matter() -> None:
    columns = ["Image-Name ", " Caption 1", "caption_2"]
    assert Columns().find_image(columns) == "Image-Name "
    assert Columns().find_captions(columns) == [" Caption 1", "caption_2"]
    assert Columns(image="image name").find_image(columns) == "Image-Name "
    # The exact name is before one that differs in separators, and a known name before an id.
    assert Columns(caption="alt_text").find_captions(["alt text", "alt_text"]) == ["alt_text"]
    assert Columns().find_image(["id", "file name"]) == "file name"
    assert Columns().find_image(["ID", "Caption"]) == "ID"


@pytest.mark.parametrize("columns", [["caption", "caption.1", "Caption 2"], ["text", "text_1"]])
def test_numbered_columns_beside_a_known_one_have_captions_too(columns: list[str]) -> None:
    assert Columns().find_captions(["image", *columns]) == columns
    assert Columns(caption=columns[0]).find_captions(columns) == columns[:1]
    assert Columns().find_captions(["caption", "text_1"]) == ["caption"]
