"""Beginnings, required and forbidden words, bad endings: always kept, and nothing else changes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.generation.test_search import TableDecoder, pictures, teacher_forced

from showtell.config.generation import DecodingOptions
from showtell.errors import ConfigError
from showtell.generation import Constraint, Hypothesis, SpecialTokens, build_constraints, search
from showtell.generation.control import Beginning, Forbidden, NoBadEnding, Required
from showtell.tokenizer import Tokenizer

SIZE = 8  # four specials and four words
SPECIALS = SpecialTokens(pad=0, bos=1, eos=2, unk=3)
WORDS = range(4, SIZE)
MAX = 4
WHOLE = np.zeros(SIZE, bool)  # no token continues a word

phrase = st.lists(st.sampled_from(WORDS), min_size=1, max_size=2).map(tuple)
names = st.floats(0, 100, allow_nan=False)


def contains(ids: Sequence[int], wanted: Sequence[int]) -> bool:
    return any(tuple(ids[at : at + len(wanted)]) == tuple(wanted) for at in range(len(ids)))


def find(name: float, constraints: Sequence[Constraint], **options: Any) -> list[Hypothesis]:
    chosen = DecodingOptions(**{"max_tokens": MAX, "length_penalty": 0.0, **options})
    return search(TableDecoder(SIZE), pictures(name), chosen, SPECIALS, constraints=constraints)[0]


def all_captions(name: float) -> list[tuple[float, list[int]]]:
    """Return the log-probability of each caption of one to four words."""
    captions = [list(ids) for length in range(1, MAX + 1) for ids in itertools.product(WORDS, repeat=length)]
    return [(teacher_forced(TableDecoder(SIZE), name, ids, end=True), ids) for ids in captions]


@pytest.mark.thorough
@settings(max_examples=15, deadline=None)
@given(names, st.data())
def test_a_beam_wide_enough_finds_the_best_caption_that_is_allowed(name: float, data: st.DataObject) -> None:
    required, forbidden, beginning = (
        data.draw(st.lists(phrase, min_size=1, max_size=2)),
        data.draw(st.lists(phrase, max_size=2)),
        data.draw(st.lists(st.sampled_from(WORDS), max_size=1)),
    )
    bad = data.draw(st.sampled_from(WORDS))

    def allowed(ids: list[int]) -> bool:
        return (
            all(contains(ids, each) for each in required)
            and not any(contains(ids, each) for each in forbidden)
            and ids[: len(beginning)] == beginning
            and ids[-1] != bad
        )

    expected = max((each for each in all_captions(name) if allowed(each[1])), default=None)
    constraints: list[Constraint] = [
        Required(tuple(required), WHOLE, SPECIALS.eos),
        Forbidden(tuple(forbidden), WHOLE, MAX),
        NoBadEnding(np.array([bad]), SPECIALS.eos, MAX),
        Beginning(tuple(beginning)),
    ]
    found = [each for each in find(name, constraints, beam_size=64) if not each.truncated]
    if expected is None:
        assert not found
        return
    assert found[0].ids == expected[1]
    assert found[0].log_prob == pytest.approx(expected[0])
    assert all(allowed(each.ids) for each in found)


@settings(deadline=None)
@given(names, st.integers(1, 5), st.lists(phrase, min_size=1, max_size=2))
def test_required_words_always_occur_however_narrow_the_beam(
    name: float, beam_size: int, required: list[tuple[int, ...]]
) -> None:
    for each in find(name, [Required(tuple(required), WHOLE, SPECIALS.eos)], beam_size=beam_size):
        assert not each.truncated
        assert all(contains(each.ids, wanted) for wanted in required)


@pytest.mark.parametrize("method", ["greedy", "sample", "beam"])
def test_torch_and_numpy_agree(method: str) -> None:
    options = DecodingOptions(method=method, samples=3, max_tokens=MAX)
    features = pictures(1.0, 20.0, 33.0)
    constraints: list[Constraint] = [
        Beginning((5,)),
        Forbidden(((4,), (5, 6)), WHOLE, MAX),
        NoBadEnding(np.array([7]), SPECIALS.eos, MAX),
    ]
    if method == "beam":
        constraints.append(Required(((6,),), WHOLE, SPECIALS.eos))
    found = [
        search(TableDecoder(SIZE), each, options, SPECIALS, keys=[1, 2, 3], constraints=constraints)
        for each in (features, type(features)(torch.from_numpy(features.pooled)))
    ]
    ids = [[[each.ids for each in hypotheses] for hypotheses in results] for results in found]
    assert ids[0] == ids[1]
    for each in itertools.chain(*ids[0]):
        assert each[0] == 5
        assert 4 not in each
        assert not contains(each, (5, 6))
        assert each[-1] != 7


@pytest.mark.parametrize("method", ["greedy", "sample", "beam"])
@pytest.mark.parametrize("max_tokens", [1, 2, 3])
def test_a_caption_of_the_maximum_length_has_no_bad_ending_either(method: str, max_tokens: int) -> None:
    bad = np.array([4, 6])
    options: dict[str, Any] = {"method": method, "samples": 4, "max_tokens": max_tokens}
    for name in range(20):
        for each in find(float(name), [NoBadEnding(bad, SPECIALS.eos, max_tokens)], **options):
            assert not each.truncated
            assert each.ids[-1] not in bad


def test_a_constraint_of_ones_own() -> None:
    def no_word_twice_in_a_row(log_probs: Any, ids: Any) -> Any:
        if ids.shape[2]:
            np.put_along_axis(log_probs, ids[:, :, -1:], -np.inf, axis=2)
        return log_probs

    captions = [find(float(name), [no_word_twice_in_a_row])[0].ids for name in range(20)]
    assert all(a != b for ids in captions for a, b in itertools.pairwise(ids))
    plain = [find(float(name), [])[0].ids for name in range(20)]
    assert any(a == b for ids in plain for a, b in itertools.pairwise(ids))


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    return Tokenizer.fit(["a cat sits on a mat", "cattle graze on the grass"], min_count=1)


def constraints_of(tokenizer: Tokenizer, **options: Any) -> tuple[Constraint, ...]:
    return build_constraints(DecodingOptions(**options), tokenizer)


def test_options_name_words_as_the_vocabulary_spells_them(words: Tokenizer) -> None:
    assert constraints_of(words) == ()
    beginning, required = constraints_of(words, beginning="A Cat", required=["on a mat", "grass"])
    assert beginning == Beginning(tuple(words.encode("a cat")))
    assert isinstance(required, Required)
    assert required.phrases == (tuple(words.encode("on a mat")), tuple(words.encode("grass")))
    forbidden, endings = constraints_of(words, forbidden="zebra, the grass", bad_endings=False)
    assert isinstance(forbidden, Forbidden)
    assert forbidden.phrases == (tuple(words.encode("the grass")),)
    assert isinstance(endings, NoBadEnding)
    assert set(endings.tokens) == {*words.encode("a on the")}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"required": "zebra"},
            "'required' cannot be used: found 'zebra'; expected words of the captioner's",
        ),
        ({"beginning": "a zebra"}, "'beginning' cannot be used: found 'zebra'"),
        (
            {"required": "cat", "forbidden": "cat"},
            "words that are required, or in the beginning, and forbidden",
        ),
        (
            {"beginning": "a cat", "forbidden": "a cat"},
            "words that are required, or in the beginning, and forbid",
        ),
        (
            {"required": "on a mat, the grass", "max_tokens": 4},
            "more tokens in the beginning and the required",
        ),
        ({"beginning": "a cat on", "max_tokens": 3, "bad_endings": False}, "a bad ending after the 3 tokens"),
        ({"required": "on a, the", "max_tokens": 3, "bad_endings": False}, "a bad ending after the 3 tokens"),
        ({"beginning": "a cat a cat", "no_repeat_ngram_size": 2}, "words that repeat 2 tokens"),
    ],
)
def test_contradictions_are_refused_with_the_reason(
    words: Tokenizer, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        constraints_of(words, **options)


def test_only_beam_search_requires_words() -> None:
    with pytest.raises(ValueError, match="only beam search can require words"):
        DecodingOptions(method="greedy", required="cat")


def test_a_word_of_pieces_is_forbidden_and_required_as_a_whole() -> None:
    # Tokens: 4 "_cat", 5 "tle" (continues a word), 6 "_a", 7 "s" (continues a word)
    joins = np.array([False, False, False, False, False, True, False, True])
    for name in range(30):
        for each in find(float(name), [Forbidden(((4,),), joins, MAX)], beam_size=4):
            whole = [
                index
                for index, token in enumerate(each.ids)
                if token == 4 and (index + 1 == len(each.ids) or not joins[each.ids[index + 1]])
            ]
            assert not each.truncated
            assert not whole
        for each in find(float(name), [Required(((4,),), joins, SPECIALS.eos)], beam_size=4):
            assert each.truncated or any(
                token == 4 and (index + 1 == len(each.ids) or not joins[each.ids[index + 1]])
                for index, token in enumerate(each.ids)
            )
