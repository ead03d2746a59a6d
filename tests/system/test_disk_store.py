"""Records on disk equal those of a dict, in its order."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.errors import DataError
from showtell.system.disk_store import DiskList, sort_texts, text_list, to_bytes

texts = st.text(st.characters(exclude_categories=()), max_size=6)  # lone surrogates too


def pairs() -> DiskList[tuple[str, int]]:
    return DiskList(pack=list, unpack=tuple, key=lambda pair: pair[0])


@given(steps=st.lists(st.tuples(st.sampled_from(["add", "replace", "move"]), texts), max_size=30))
def test_records_equal_those_of_a_dict(steps: list[tuple[str, str]]) -> None:
    found, model = pairs(), dict[str, int]()
    for number, (step, key) in enumerate(steps):
        if step == "add":
            earlier = found.add((key, number))
            assert earlier == ((key, model[key]) if key in model else None)
            model.setdefault(key, number)
        elif key not in model:
            with pytest.raises(KeyError):
                found.replace((key, number))
        else:
            if step == "move":
                del model[key]
            model[key] = number
            found.replace((key, number), last=step == "move")
    assert list(found) == list(model.items())
    assert len(found) == len(model)
    assert [found[place] for place in range(-len(found), len(found))] == list(model.items()) * 2
    assert found[1:3] == list(model.items())[1:3]
    for _, key in steps:
        assert found.find(key) == ((key, model[key]) if key in model else None)


def test_records_without_keys_are_all_kept_and_not_found() -> None:
    found = DiskList(["a", "b", "a"], pack=str, unpack=str)
    assert list(found) == ["a", "b", "a"]
    assert found.find("a") is None
    with pytest.raises(IndexError):
        found[3]


@given(st.lists(texts, max_size=12), st.integers(1, 12))
def test_texts_sorted_on_disk_are_in_the_order_of_those_in_memory(given_texts: list[str], limit: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("showtell.system.disk_store.SORTED_IN_MEMORY", limit)
        assert list(sort_texts(given_texts, to_bytes)) == sorted(given_texts)


@given(st.lists(texts, max_size=12))
def test_bytes_sort_like_texts(given_texts: list[str]) -> None:
    assert sorted(given_texts, key=to_bytes) == sorted(given_texts)


def test_a_full_disk_is_reported() -> None:
    found = text_list()
    limit = found._database.execute("PRAGMA max_page_count = 8")  # a disk of 32 kB
    assert limit.fetchone() == (8,)
    numbers = (f"{number:100}" for number in range(10_000))
    with pytest.raises(DataError, match=r"temporary file: found database or disk is full\. Free some space"):
        any(found.add(number) for number in numbers)


def test_nothing_is_left_open() -> None:
    found = text_list(["a"])
    database = found._database
    del found
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        database.execute("SELECT 1")
