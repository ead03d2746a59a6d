"""Sampling without replacement: the draws are those of its definition, as often as sequential draws have them."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.generation.test_search import SPECIALS, A, B, C, FixedDecoder, TableDecoder, find, pictures

from showtell.config.generation import DecodingOptions
from showtell.generation import search
from showtell.generation.control import Forbidden
from showtell.generation.noise import gumbel_noise_after

KEY, SIZE = 77, 7
DRAWS: dict[str, Any] = {"method": "sample", "without_replacement": True}
MASSES = {(A,): 0.35, (B,): 0.2, (A, A): 0.15, (B, C): 0.12, (A, B): 0.1, (C,): 0.08}


def perturbed_by_hand(
    name: float, seed: int, max_tokens: int, temperature: float
) -> dict[tuple[int, ...], float]:
    """The perturbed log-probability of every caption, by the recursion that defines it."""
    decoder, leaves = TableDecoder(SIZE), dict[tuple[int, ...], float]()

    def visit(ids: list[int], log_prob: float, maximum: float) -> None:
        state = decoder.init_state(pictures(name), 1)
        for token in [SPECIALS.bos, *ids]:
            logits, state, _ = decoder.step(np.array([[token]]), state)
        allowed = [*range(4, SIZE)] if len(ids) < max_tokens else []
        allowed += [SPECIALS.eos] if ids else []
        values = {token: logits[0, 0, token] / temperature for token in allowed}
        total = math.log(sum(map(math.exp, values.values())))
        noise = gumbel_noise_after(seed, [KEY], np.array([[ids]], np.int64), SIZE)[0, 0]
        gumbels = {token: log_prob + value - total + float(noise[token]) for token, value in values.items()}
        highest = max(gumbels.values())
        for token, value in values.items():
            below = -math.log(math.exp(-maximum) - math.exp(-highest) + math.exp(-gumbels[token]))
            if token == SPECIALS.eos:
                leaves[tuple(ids)] = below
            else:
                visit([*ids, token], log_prob + value - total, below)

    visit([], 0.0, 0.0)
    return leaves


@pytest.mark.thorough
@settings(max_examples=20, deadline=None)
@given(
    st.floats(0, 100, allow_nan=False),
    st.integers(0, 1000),
    st.integers(2, 6),
    st.sampled_from([0.7, 1.0, 3.0]),
)
def test_the_draws_are_the_captions_with_the_highest_perturbed_log_probabilities(
    name: float, seed: int, samples: int, temperature: float
) -> None:
    expected = perturbed_by_hand(name, seed, 3, temperature)
    options: dict[str, Any] = {**DRAWS, "samples": samples, "max_tokens": 3, "temperature": temperature}
    found = find(TableDecoder(SIZE), pictures(name), keys=[KEY], seed=seed, **options)[0]
    assert {tuple(one.ids) for one in found} == set(sorted(expected, key=expected.__getitem__)[-samples:])


def table_of(masses: dict[tuple[int, ...], float]) -> dict[tuple[int, ...], dict[int, float]]:
    """Return next-token probabilities with which captions have these probabilities."""
    table: dict[tuple[int, ...], dict[int, float]] = {}
    for ids, mass in masses.items():
        for place, token in enumerate((*ids, SPECIALS.eos)):
            following = table.setdefault(ids[:place], {})
            following[token] = following.get(token, 0.0) + mass
    return table


def inclusion(masses: dict[tuple[int, ...], float], count: int) -> dict[tuple[int, ...], float]:
    """Return the probability of each caption to be among so many that are drawn one after the other."""
    included = dict.fromkeys(masses, 0.0)
    for drawn in itertools.permutations(masses, count):
        probability, left = 1.0, 1.0
        for ids in drawn:
            probability *= masses[ids] / left
            left -= masses[ids]
        for ids in drawn:
            included[ids] += probability
    return included


@pytest.mark.parametrize("count", [2, 3, pytest.param(5, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("temperature", [1.0, pytest.param(2.0, marks=pytest.mark.thorough)])
def test_captions_are_drawn_as_often_as_by_sequential_draws(count: int, temperature: float) -> None:
    table, names = table_of(MASSES), range(1500)
    found = find(FixedDecoder(table), pictures(*names), **DRAWS, samples=count, temperature=temperature)
    masses = dict.fromkeys(MASSES, 1.0)
    for ids in MASSES:
        for place, token in enumerate((*ids, SPECIALS.eos)):
            powers = {each: mass ** (1 / temperature) for each, mass in table[ids[:place]].items()}
            masses[ids] *= powers[token] / sum(powers.values())
    for ids, expected in inclusion(masses, count).items():
        frequency = sum(any(tuple(one.ids) == ids for one in listed) for listed in found) / len(names)
        # Four standard deviations, as there are six captions in six cases.
        assert frequency == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / len(names)))


def test_all_captions_are_drawn_where_there_are_no_more() -> None:
    found = find(FixedDecoder(table_of(MASSES)), pictures(1.0), **DRAWS, samples=9)[0]
    assert {tuple(one.ids) for one in found} == MASSES.keys()
    for one in found:
        assert one.log_prob == pytest.approx(math.log(MASSES[tuple(one.ids)]))


@pytest.mark.thorough
@given(st.floats(0, 100, allow_nan=False), st.integers(2, 5), st.sampled_from([0, 3]))
def test_more_samples_keep_those_of_fewer(name: float, samples: int, top_k: int) -> None:
    def draw(count: int) -> set[tuple[int, ...]]:
        options: dict[str, Any] = {**DRAWS, "samples": count, "top_k": top_k, "max_tokens": 5}
        return {tuple(one.ids) for one in find(TableDecoder(), pictures(name), keys=[KEY], **options)[0]}

    assert draw(samples) < draw(samples + 1)


@given(st.floats(0, 100, allow_nan=False))
def test_constraints_hold_and_a_dead_end_is_truncated(name: float) -> None:
    options = DecodingOptions(**DRAWS, samples=4, max_tokens=4, no_repeat_ngram_size=1)
    forbidden = Forbidden(((4,),), np.zeros(6, bool), 4)
    (found,) = search(TableDecoder(6), pictures(name), options, SPECIALS, constraints=[forbidden])
    assert [(one.ids, one.truncated) for one in found] == [([5], False)]
    stuck = options.model_copy(update={"min_tokens": 3})
    (found,) = search(TableDecoder(6), pictures(name), stuck, SPECIALS, constraints=[forbidden])
    assert [(one.ids, one.truncated) for one in found] == [([5], True)]
