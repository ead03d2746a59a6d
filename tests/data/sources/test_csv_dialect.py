"""Tables are read as a human reads them: what csv.writer wrote exactly, and unquoted ones line by line."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.data.sources.csv_dialect import CsvDialect

ROWS = "\"',;\t \r\nab.1é"
TEXTS = st.text(ROWS, max_size=12)
DELIMITERS = st.sampled_from(",;\t|")


def read(text: str, dialect: CsvDialect) -> list[list[str]]:
    """The rows below the header of a table."""
    lines = io.StringIO(text, newline="")
    header = next(lines)
    dialect = CsvDialect(
        dialect.delimiter, dialect.width, dialect.image, dialect.open_ended, header.endswith("\r")
    )
    return [fields for _, fields in dialect.rows(lines)]


def rows_of(*lines: str, width: int = 2) -> list[list[str]]:
    return read("\n".join(["image,caption", *lines, ""]), CsvDialect(width=width, open_ended=width == 2))


@given(
    st.lists(st.lists(TEXTS, min_size=2, max_size=2), max_size=6),
    st.integers(0, 2),
    DELIMITERS,
    st.sampled_from(["\r\n", "\n", "\r"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
)
def test_a_table_written_by_csv_is_read_back_exactly(
    texts: Sequence[Sequence[str]], image: int, delimiter: str, end: str, quoting: int
) -> None:
    # Before Python 3.13 csv.writer does not quote the other line ends.
    unquoted = {"\r\n": r"(?!)", "\n": r"\r+$", "\r": r"\n"}[end]
    pairs = [[re.sub(unquoted, "", text) for text in pair] for pair in texts]
    rows = [[*pair[:image], f"img/{number}.png", *pair[image:]] for number, pair in enumerate(pairs)]
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows([["x"] * 3, *rows])
    assert read(buffer.getvalue(), CsvDialect(delimiter, 3, image, open_ended=image < 2)) == rows


@given(
    st.lists(st.text(ROWS.replace("\r", "").replace("\n", ""), min_size=1, max_size=12), max_size=6),
    DELIMITERS,
    st.sampled_from(["\r\n", "\n", "\r"]),
)
def test_each_line_of_an_unquoted_table_is_a_row(captions: list[str], delimiter: str, end: str) -> None:
    lines = [
        f"image{delimiter}caption",
        *(f"img/{n}.png{delimiter}{text}" for n, text in enumerate(captions)),
    ]
    found = read(end.join([*lines, ""]), CsvDialect(delimiter, 2, 0, open_ended=True))
    assert [name for name, _ in found] == [f"img/{n}.png" for n in range(len(captions))]
    for (_, text), caption in zip(found, captions, strict=True):
        quoted = re.fullmatch(r'"((?:[^"]|"")*)"', caption)
        assert text == (quoted[1].replace('""', '"') if quoted else caption)


@pytest.mark.parametrize(
    "caption",
    [
        '"Fresh fish says a sign',
        '"Stop" says a sign',
        '"Stop", says a sign, "now"',
        'a pipe of 5"',
        '"Stop" and "Go"',
        '""',
        '"""',
    ],
)
@pytest.mark.parametrize("last", ['a pipe of 5"', 'a "red" one', '"quoted, whole"', "plain"])
def test_a_quotation_mark_that_is_not_closed_in_its_row_is_text(caption: str, last: str) -> None:
    found = rows_of("img/0.png,a", f"img/1.png,{caption}", "img/2.png,b", f"img/3.png,{last}", "img/4.png,c")
    whole = caption == '""'
    assert found[1] == ["img/1.png", "" if whole else caption]
    assert [name for name, _ in found] == [f"img/{number}.png" for number in range(5)]
    assert found[3] == ["img/3.png", last if last[0] != '"' else "quoted, whole"]


def test_names_without_a_suffix_end_an_open_field_too() -> None:
    assert rows_of('1001,"Fresh fish', "1002,a pipe", '1003,of 5"') == [
        ["1001", '"Fresh fish'],
        ["1002", "a pipe"],
        ["1003", 'of 5"'],
    ]


def test_a_closed_field_holds_line_breaks_and_delimiters() -> None:
    found = rows_of('img/0.png,"A dog,', "", 'and ""two"" cats."', "img/1.png,b")
    assert found == [["img/0.png", 'A dog,\n\nand "two" cats.'], ["img/1.png", "b"]]


@pytest.mark.parametrize("last", ["as in b.png", "b.png", "img/1.png"])
def test_a_line_of_a_closed_field_may_end_in_the_name_of_an_image(last: str) -> None:
    found = rows_of('img/0.png,"A dog', f'{last}"', "img/1.png,b")
    assert found == [["img/0.png", f"A dog\n{last}"], ["img/1.png", "b"]]


def test_a_field_of_several_lines_needs_a_row_of_the_right_width() -> None:
    assert rows_of('img/0.png,"Fresh fish', '12 eggs", he calls') == [
        ["img/0.png", '"Fresh fish'],
        ['12 eggs"', " he calls"],
    ]


def test_a_quoted_table_may_quote_rows_of_another() -> None:
    assert rows_of('"img/0.png","first', 'img/1.png,second"', '"img/2.png","b"') == [
        ["img/0.png", "first\nimg/1.png,second"],
        ["img/2.png", "b"],
    ]


def test_a_space_after_the_delimiter_of_the_header_is_no_text() -> None:
    dialect = CsvDialect(width=2, open_ended=True, skip_space=True)
    assert [fields for _, fields in dialect.rows(['a.png, "A dog, asleep"\n', 'b.png, "Fish" here\n'])] == [
        ["a.png", "A dog, asleep"],
        ["b.png", ' "Fish" here'],
    ]


def test_rows_have_the_number_of_their_first_line() -> None:
    lines = ['a.png,"open\n', "\n", 'b.png,"two\n', 'lines"\n', "c.png,x\n"]
    assert [number for number, _ in CsvDialect(width=2).rows(lines)] == [2, 4, 6]


def test_a_carriage_return_within_a_row_is_text_where_other_rows_end_with_line_feeds() -> None:
    lines = io.StringIO("image,caption\na.png,A dog\rruns\nb.png,A cat\rc.png,A cow\n", newline="")
    next(lines)
    assert [fields for _, fields in CsvDialect(width=2, open_ended=True).rows(lines)] == [
        ["a.png", "A dog\rruns"],
        ["b.png", "A cat"],
        ["c.png", "A cow"],
    ]


@pytest.mark.thorough
def test_an_open_field_does_not_read_the_rest_of_a_table_again_and_again() -> None:
    taken = 0

    def lines() -> list[str]:
        return [f'w{"x" * (number % 7)},"open {number}\n' for number in range(20_000)]

    for _, fields in CsvDialect(width=2, open_ended=True).rows(lines()):
        taken += len(fields) == 2
    assert taken == 20_000
