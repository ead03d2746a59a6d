"""Arrays of any length come out element by element, as the standard library would have read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.errors import DataError
from showtell.system import json_stream as json_arrays
from showtell.system.json_stream import read_arrays

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def read(file: Path, *names: str) -> tuple[bool, dict[str, list[Any]]]:
    found: dict[str, list[Any]] = {name: [] for name in names}

    def taker(name: str) -> Any:
        def take(number: int, value: Any) -> None:
            assert number == len(found[name])
            found[name].append(value)

        return take

    return read_arrays(file, {name: taker(name) for name in names}), found


@pytest.fixture
def tiny_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_arrays, "_WINDOW", 3)


@given(
    st.dictionaries(st.sampled_from(["images", "other", "annotations"]), values),
    st.integers(1, 9),
    st.sampled_from([None, 1]),
)
def test_whatever_the_window_elements_are_those_of_the_standard_library(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any], window: int, indent: int | None
) -> None:
    file = tmp_path_factory.mktemp("json") / "a.json"
    file.write_text(json.dumps(content, indent=indent, ensure_ascii=bool(indent)), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_arrays, "_WINDOW", window)
        whole, found = read(file, "images", "annotations")
    arrays = {name: content.get(name) for name in found}
    assert found == {name: value if isinstance(value, list) else [] for name, value in arrays.items()}
    assert whole == all(isinstance(value, list) for value in arrays.values())


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(b'\xef\xbb\xbf\r\n{\r\n"images": [\r\n1,\r\n 23\r\n]\r\n}\r\n')
    assert read(file, "images") == (True, {"images": [1, 23]})


@pytest.mark.usefixtures("tiny_window")
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "Expecting value at character 0"),
        ('{"images": [1, 2', "the end at character 16"),
        ('{"images": [1 2]}', "2 at character 14"),
        ('{"images": [1, {"a": 2]}', "Expecting ',' delimiter at character 22"),
        ('{"images": [1,]}', "Expecting value at character 14"),
        ("{images: []}", "i at character 1"),
        ('{"images": []} x', "x at character 15"),
        ('{"images" []}', "[ at character 10"),
        ('{"images": ' + "[" * 100_000, "maximum recursion depth"),
    ],
)
def test_what_is_not_json_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(text)
    with pytest.raises(DataError, match=r"a\.json is not JSON: found .*Download it again") as caught:
        read(file, "images")
    assert told in str(caught.value)


def test_another_encoding_or_no_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes('{"images": ["é"]}'.encode("latin-1"))
    with pytest.raises(DataError, match=r"a\.json: found byte 0xE9; expected UTF-8"):
        read(tmp_path / "a.json", "images")
    with pytest.raises(DataError, match=r"b\.json: found No such file or directory"):
        read(tmp_path / "b.json", "images")
