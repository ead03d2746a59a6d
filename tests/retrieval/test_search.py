"""A captioner's search: constraints change no caption that meets them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.generation.test_search import TableDecoder, pictures

from showtell.config.generation import DecodingOptions
from showtell.generation import Constraint, Hypothesis
from showtell.generation.control import Beginning, Forbidden, NoBadEnding, Required
from showtell.retrieval.search import CaptionSearch
from showtell.tokenizer import Tokenizer

WORDS = Tokenizer.fit(["red green blue white"], min_count=1)
IDS = WORDS.encode("red green blue white")
WHOLE = np.zeros(WORDS.size, bool)
END = WORDS.eos_id
MAX = 4


def find(
    names: Sequence[float], constraints: Sequence[Constraint] = (), **options: Any
) -> list[list[Hypothesis]]:
    chosen = DecodingOptions(**{"max_tokens": MAX, "length_penalty": 0.0, **options})
    return CaptionSearch(WORDS, None)(
        TableDecoder(WORDS.size), pictures(*names), chosen, constraints=constraints
    )


@pytest.mark.thorough
@pytest.mark.parametrize("options", [{"beam_size": 3}, {"method": "greedy"}])
@given(name=st.floats(0, 100, allow_nan=False), forbidden=st.sampled_from(IDS), bad=st.sampled_from(IDS))
def test_a_caption_that_meets_them_is_not_changed(
    options: dict[str, Any], name: float, forbidden: int, bad: int
) -> None:
    ((plain, *_),) = find([name], **options)
    if forbidden in plain.ids or plain.ids[-1] == bad:
        return
    constraints: list[Constraint] = [
        Forbidden(((forbidden,),), WHOLE, MAX),
        NoBadEnding(np.array([bad]), END, MAX),
    ]
    if "beam_size" in options:
        constraints += [Required((tuple(plain.ids[-1:]),), WHOLE, END), Beginning(tuple(plain.ids[:1]))]
    ((found, *others),) = find([name], constraints, **options)
    assert found == plain
    assert all(forbidden not in each.ids for each in others)


def test_images_that_meet_them_are_not_changed_by_those_that_do_not() -> None:
    names = np.linspace(0, 50, 12).tolist()
    plain = find(names, beam_size=3)
    word = plain[0][0].ids[0]
    found = find(names, forbidden=WORDS.decode([word]), beam_size=3)
    changed = [mine[0] != other[0] for mine, other in zip(found, plain, strict=True)]
    assert changed == [word in hypotheses[0].ids for hypotheses in plain]
    assert 0 < sum(changed) < len(changed)
    alone = find(names[:1], forbidden=WORDS.decode([word]), beam_size=3)
    assert found[0] == alone[0]


def test_options_and_ones_own_hold_together() -> None:
    def not_green_at_first(log_probs: Any, ids: Any) -> Any:
        if ids.shape[2] == 0:
            log_probs[..., IDS[1]] = -np.inf
        return log_probs

    for best, *_ in find(np.linspace(0, 50, 12).tolist(), [not_green_at_first], required="blue", beam_size=2):
        assert IDS[2] in best.ids
        assert best.ids[0] != IDS[1]


@pytest.mark.thorough
@pytest.mark.parametrize("options", [{"beam_size": 2}, {"method": "greedy"}, {"method": "sample", "seed": 3}])
@given(name=st.floats(0, 100, allow_nan=False), penalty=st.floats(1.0, 10.0))
def test_a_repetition_penalty_changes_only_captions_that_repeat_a_token(
    options: dict[str, Any], name: float, penalty: float
) -> None:
    ((plain, *_),) = find([name], **options)
    ((found, *_),) = find([name], **options, repetition_penalty=penalty)
    if len(set(plain.ids)) == len(plain.ids):
        assert found == plain


def test_a_strong_repetition_penalty_leaves_fewer_repetitions() -> None:
    def repeating(**options: Any) -> int:
        found = find(np.linspace(0, 50, 40).tolist(), beam_size=3, **options)
        return sum(len(set(best.ids)) < len(best.ids) for best, *_ in found)

    assert repeating(repetition_penalty=10.0) < repeating(repetition_penalty=1.5) < repeating() < 40
