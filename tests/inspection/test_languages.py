"""Captions in another language than most are found, short and odd ones of the same language are not."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from showtell.data.prepared import PreparedSet
from showtell.errors import MissingExtraError
from showtell.inspection.languages import find_other_languages

ENGLISH = [
    ["A dog runs on the beach .", "dog"],
    ["Two men play football in the park .", "a cyclist"],
    ["surfer riding wave", "A MAN WITH A HAT"],
    ["A skateboarder at dusk .", "Group of dirty men play football ."],
]


def test_sentences_of_other_languages_are_found(caption_set: Callable[..., PreparedSet]) -> None:
    foreign = ["Ein Hund rennt über den Strand .", "Un perro corre por la playa .", "一只狗在海滩上跑"]
    prepared = caption_set(train=[*ENGLISH, [*foreign, "A dog runs on the sand ."]])
    found = list(find_other_languages(prepared))
    assert [(one.row, one.caption) for one in found] == [(4, text) for text in foreign]
    assert found[0].reason == "'de' rather than 'en'"


@pytest.mark.thorough
def test_a_set_of_one_language_has_no_findings(caption_set: Callable[..., PreparedSet]) -> None:
    assert not list(find_other_languages(caption_set(train=ENGLISH)))


def test_without_the_extra_the_error_says_how_to_install_it(
    caption_set: Callable[..., PreparedSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    with pytest.raises(MissingExtraError, match=r"\.\[inspect\]"):
        list(find_other_languages(caption_set(train=ENGLISH)))
