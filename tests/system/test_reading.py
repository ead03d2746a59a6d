"""What is read may have been written by anyone: bounded time and memory, and an error that says what is wrong."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.errors import DataError
from showtell.system.atomic import read_manifest, sha256_file, write_summed_json
from showtell.system.json_stream import read_array, read_head
from showtell.system.reading import (
    MAX_LEVELS,
    foreign_values,
    parse_json,
    read_bytes,
    read_json,
    read_json_lines,
    read_json_object,
    read_text,
    text_lines,
)

READERS: list[Callable[[Path], object]] = [
    sha256_file,
    read_text,
    lambda path: next(text_lines(path)),
    read_json,
    read_json_object,
    read_json_lines,
    read_head,
    lambda path: next(read_array(path, "")),
]


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def link_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("reader", range(len(READERS)))
@pytest.mark.parametrize(
    ("make", "found"),
    [
        (make_pipe, "a named pipe"),
        (make_socket, "a socket"),
        (link_device, "a device"),
        (Path.mkdir, "directory"),
    ],
)
def test_only_files_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], found: str, reader: int
) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    make(Path("place"))
    with pytest.raises((OSError, DataError), match=found):
        READERS[reader](Path("place"))


def test_a_manifest_that_is_a_pipe_is_named(tmp_path: Path) -> None:
    make_pipe(tmp_path / "manifest.json")
    with pytest.raises(DataError, match=r"manifest\.json: found .*a named pipe, not a file"):
        read_manifest(tmp_path, "prepared set", 1)


def test_a_file_larger_than_its_bound_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(OSError, match="more than 1 MiB"):
        read_bytes(path, 2**20)


STRICT = [
    ('{"a": 1, "a": 2}', "the key 'a' twice"),
    ("[NaN]", "the number NaN"),
    ("-Infinity", "the number -Infinity"),
    ("1e999", "the number inf"),
    ("9" * 21, "a whole number of 21 digits"),
    (r'["\ud800"]', "a text that is not valid Unicode"),
]
BROKEN = [
    ("[" * 200_000, "more than 64 levels"),
    ('{"a":' * 200_000, "more than 64 levels"),
    ("[" * (MAX_LEVELS + 1) + "]" * (MAX_LEVELS + 1), "more than 64 levels"),
    ("-" + "9" * 5_000, "a whole number of 5,001 digits"),
    ("{'a': 1}", "line 1 column 2"),
    ("", "line 1 column 1"),
]


@pytest.mark.parametrize(("text", "found"), STRICT + BROKEN)
def test_odd_json_is_refused_in_words(text: str, found: str) -> None:
    with pytest.raises(ValueError, match=found) as error:
        parse_json(text)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize(("text", "found"), BROKEN)
def test_rows_of_tables_may_be_odd_but_not_broken(text: str, found: str) -> None:
    with pytest.raises(ValueError, match=found):
        parse_json(text, lenient=True)


@pytest.mark.parametrize("text", [text for text, _ in STRICT])
def test_rows_of_tables_may_be_odd(text: str) -> None:
    parse_json(text, lenient=True)


def test_ordinary_json_is_read() -> None:
    assert parse_json('{"a": [1, -2.5e3, "é", null, true, {"b": []}]}') == {
        "a": [1, -2500.0, "é", None, True, {"b": []}]
    }
    assert parse_json("[" * MAX_LEVELS + "]" * MAX_LEVELS)


@pytest.mark.thorough
def test_values_have_a_sum_and_those_of_earlier_versions_have_none(tmp_path: Path) -> None:
    path, values = tmp_path / "values.json", {"beam_size": 3, "penalty": 0.5, "name": "é", "list": [1, None]}
    write_summed_json(path, values)
    assert read_json(path) == values
    content = path.read_bytes()
    path.write_text(json.dumps(values), encoding="utf-8")
    assert read_json(path) == values
    unnoticed = []
    for place in range(len(content)):
        for bit in range(8):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            path.write_bytes(changed)
            try:
                found = read_json(path)
            except ValueError:
                continue
            if {name: found.get(name) for name in values} != values:
                unnoticed.append((place, bit))
    assert unnoticed == []


def test_an_object_is_expected(tmp_path: Path) -> None:
    (tmp_path / "file.json").write_text("[1]")
    with pytest.raises(DataError, match=r"file\.json: found a JSON value of type list, not an object"):
        read_json_object(tmp_path / "file.json")
    (tmp_path / "rows.jsonl").write_text('{}\n"text"\n')
    with pytest.raises(DataError, match=r"rows\.jsonl: found line 2: a JSON value of type str"):
        read_json_lines(tmp_path / "rows.jsonl")


def test_values_of_unexpected_kinds_are_one_error_about_their_file(tmp_path: Path) -> None:
    expected = re.escape("cannot use rows: found KeyError: 'a'. Make it again")
    with pytest.raises(DataError, match=expected), foreign_values(Path("rows"), mend="Make it again"):
        raise KeyError("a")


@given(st.binary(max_size=30) | st.text("a\r\n\u2028\ufeffé", max_size=30).map(lambda text: text.encode()))
def test_lines_one_by_one_are_those_of_the_whole_text(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lines.txt"
        path.write_bytes(content)
        try:
            whole = read_text(path)
        except DataError as error:
            with pytest.raises(DataError, match=re.escape(str(error))):
                list(text_lines(path))
            return
        assert "".join(text_lines(path)) == whole
        lines = whole.split("\n")
        found = [line.removesuffix("\n") for line in text_lines(path)]
        assert found == (lines if lines[-1] else lines[:-1])
        assert list(text_lines(path, newline="")) == list(io.StringIO(whole, newline=""))


def test_lines_of_a_file_that_is_not_there_are_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*gone\.txt: found No such file or directory"):
        next(text_lines(tmp_path / "gone.txt"))
