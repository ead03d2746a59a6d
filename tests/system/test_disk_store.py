"""Records on disk are what a dict would hold, in its order."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.errors import DataError
from showtell.system import disk_store as spilled
from showtell.system.disk_store import DiskList, external_sort, text_list, to_bytes

texts = st.text(st.characters(exclude_categories=()), max_size=6)  # lone surrogates too


@dataclass(frozen=True)
class Clumsy:
    """A name whose hash says little."""

    text: str

    def __hash__(self) -> int:
        return len(self.text) % 2


def pairs(kind: Any = str) -> DiskList[tuple[str, int]]:
    return DiskList(pack=list, unpack=tuple, name=lambda pair: kind(pair[0]))


@pytest.mark.parametrize("kind", [str, Clumsy])
@given(steps=st.lists(st.tuples(st.sampled_from(["add", "replace", "move"]), texts), max_size=30))
def test_they_come_as_from_a_dict_whatever_their_hashes(kind: Any, steps: list[tuple[str, str]]) -> None:
    found, model = pairs(kind), dict[str, int]()
    for number, (step, name) in enumerate(steps):
        if step == "add":
            earlier = found.add((name, number))
            assert earlier == ((name, model[name]) if name in model else None)
            model.setdefault(name, number)
        elif name not in model:
            with pytest.raises(KeyError):
                found.replace((name, number))
        else:
            if step == "move":
                del model[name]
            model[name] = number
            found.replace((name, number), last=step == "move")
    assert list(found) == list(model.items())
    assert len(found) == len(model)
    assert [found[place] for place in range(-len(found), len(found))] == list(model.items()) * 2
    assert found[1:3] == list(model.items())[1:3]
    for _, name in steps:
        assert found.find(kind(name)) == ((name, model[name]) if name in model else None)


def test_records_without_names_are_all_kept_and_not_looked_up() -> None:
    found = DiskList(["a", "b", "a"], pack=str, unpack=str)
    assert list(found) == ["a", "b", "a"]
    with pytest.raises(ValueError, match="no names"):
        found.find("a")
    with pytest.raises(IndexError):
        found[3]


@given(st.lists(texts, max_size=12), st.integers(1, 5))
def test_texts_are_sorted_as_python_sorts_them(given_texts: list[str], few: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spilled, "FEW", few)
        assert list(external_sort(given_texts, to_bytes)) == sorted(given_texts)
        lengths = list(external_sort(given_texts, lambda text: bytes([len(text)])))
    assert lengths == sorted(given_texts, key=len)


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
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
