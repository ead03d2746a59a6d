"""Arrays of any length are read element by element, as the standard library reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.errors import DataError
from showtell.system import json_stream
from showtell.system.json_stream import first_element, id_text, outline, read_array, read_entries

numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.thorough
@given(
    st.dictionaries(st.sampled_from(["images", "other", "annotations"]), values),
    st.integers(1, 9),
    st.sampled_from([None, 1]),
)
def test_elements_equal_those_of_the_standard_library_for_any_buffer_size(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any], size: int, indent: int | None
) -> None:
    file = tmp_path_factory.mktemp("json") / "a.json"
    file.write_text(json.dumps(content, indent=indent, ensure_ascii=bool(indent)), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_BUFFER", size)
        for name in ("images", "annotations"):
            expected = content.get(name)
            found = list(read_array(file, name))
            assert found == (expected if isinstance(expected, list) else [])
            assert str(found) == str(expected if isinstance(expected, list) else [])  # 1 is not 1.0
        assert list(read_entries(file)) == [
            (name, element)
            for name, value in content.items()
            for element in (value if isinstance(value, list) else [value])
        ]


def test_the_entries_of_a_list_have_no_name(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(b'\xef\xbb\xbf[{"a": [1, {}]}, [2], "b"]')
    assert list(read_entries(file)) == [("", {"a": [1, {}]}), ("", [2]), ("", "b")]
    file.write_text('{"a": [1], "b"')
    with pytest.raises(DataError, match="is not JSON in UTF-8"):
        list(read_entries(file))


def test_an_outline_has_the_first_elements_of_the_beginning(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text('{"info": {"year": 7}, "empty": [], "images": [{"id": 1}, {"id": 2}], "cut": [{"id"')
    assert outline(file) == {"info": {"year": 7}, "images": {"id": 1}}
    file.write_text(json.dumps({"images": [{"id": 1}] * 20_000, "annotations": [{"caption": "A"}]}))
    assert outline(file) == {"images": {"id": 1}}
    assert first_element(file, "annotations") == {"caption": "A"}
    assert first_element(file, "captions") is None
    for content in ("", "no JSON", "7"):
        file.write_text(content)
        assert outline(file) == {}


@pytest.mark.parametrize(
    ("value", "text"), [(7, "7"), ("7", "7"), (7.0, "7"), (7.5, None), (True, None), (None, None), ([], None)]
)
def test_ids_are_compared_as_text(value: Any, text: str | None) -> None:
    assert id_text(value) == text


def test_byte_order_mark_and_windows_line_ends_are_ignored(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(b'\xef\xbb\xbf\r\n{\r\n"images": [\r\n1,\r\n 23\r\n]\r\n}\r\n')
    assert list(read_array(file, "images")) == [1, 23]


@pytest.mark.thorough
@pytest.mark.parametrize("order", ["le", "be"])
def test_utf_16_with_a_byte_order_mark_is_read(tmp_path: Path, order: str) -> None:
    content = {"images": [{"name": "犬😀"}] * 20_000, "annotations": [{"caption": "ü"}]}
    file = tmp_path / "a.json"
    file.write_bytes(("\ufeff" + json.dumps(content, ensure_ascii=False)).encode(f"utf-16-{order}"))
    assert outline(file) == {"images": {"name": "犬😀"}}
    assert first_element(file, "annotations") == {"caption": "ü"}
    assert list(read_array(file, "images")) == content["images"]
    assert dict(read_entries(file))["annotations"] == {"caption": "ü"}
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(DataError, match=r"a\.json is not JSON in UTF-8"):
        list(read_array(file, "images"))
    file.write_bytes('\ufeff[1, "'.encode("utf-16-le") + b"\x00\xdc" + '"]'.encode("utf-16-le"))
    with pytest.raises(DataError, match=r"a\.json is not JSON in UTF-8: found .*illegal encoding"):
        list(read_array(file, ""))


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"images": [1, 2',
        '{"images": [1 2]}',
        '{"images": [1, {"a": 2]}',
        '{"images": [1,]}',
        "{images: []}",
        '{"images": []} x',
        '{"images" []}',
    ],
)
def test_a_file_that_is_not_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=r"a\.json is not JSON in UTF-8: found .*Download the file again"):
        list(read_array(tmp_path / "a.json", "images"))


def test_whole_numbers_of_any_size_are_read(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    rows = [{"id": 1, "score": 0.5}, {"id": 2**64 - 1, "score": 0.5}, {"id": -(2**70)}, {"id": 7.0}]
    file.write_text(json.dumps({"images": rows}))
    assert list(read_array(file, "images")) == rows
    assert [element for _, element in read_entries(file)] == rows
    assert [id_text(row["id"]) for row in read_array(file, "images")] == [
        "1",
        str(2**64 - 1),
        str(-(2**70)),
        "7",
    ]
    file.write_text(json.dumps({"images": rows[1:]}))
    assert outline(file) == {"images": rows[1]} == {"images": first_element(file, "images")}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_json_has_not_is_named(tmp_path: Path, number: str) -> None:
    (tmp_path / "a.json").write_text(f'{{"images": [{{"id": 7, "score": {number}}}]}}')
    with pytest.raises(DataError, match=rf'found .*"id": 7, "score": {number}.*Replace {number} by null'):
        list(read_array(tmp_path / "a.json", "images"))


def test_an_element_of_many_levels_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text('{"images": [1, ' + "[" * 64 + "]" * 64 + "]}")
    assert len(list(read_entries(file))) == 2
    file.write_text('{"images": [1, ' + "[" * 65 + "]" * 65 + "]}")
    with pytest.raises(DataError, match="found an element of more than 64 levels in 'images'"):
        list(read_entries(file))
    assert outline(file) == {"images": 1}


def test_another_encoding_or_a_missing_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes('{"images": ["é"]}'.encode("latin-1"))
    with pytest.raises(DataError, match=r"a\.json is not JSON in UTF-8: found .*UTF8"):
        list(read_array(tmp_path / "a.json", "images"))
    with pytest.raises(DataError, match=r"b\.json: found No such file or directory"):
        list(read_array(tmp_path / "b.json", "images"))
