"""Greedy, beam and sampling on decoders given as tables: rules, oracles, invariants."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from showtell.config.generation import DecodingOptions
from showtell.errors import CheckpointError
from showtell.generation import Hypothesis, SpecialTokens, search

SPECIALS = SpecialTokens(pad=0, bos=1, eos=2, unk=3)
A, B, C = 4, 5, 6
METHODS: list[dict[str, Any]] = [
    {"method": "greedy"},
    {"beam_size": 1},
    {"beam_size": 3},
    {"beam_size": 4, "beam_groups": 2},
    {"method": "sample", "samples": 3, "temperature": 0.7, "top_k": 4, "top_p": 0.95},
    {"method": "sample", "samples": 3, "without_replacement": True, "temperature": 1.5},
]


@dataclass(frozen=True)
class Pictures:
    """What stands for features here: only ``pooled`` is looked at; its first column names a picture."""

    pooled: Any

    def __getitem__(self, images: Any) -> Pictures:
        return Pictures(self.pooled[images])


@dataclass(frozen=True)
class Seen:
    """State of the table decoder: each hypothesis remembers all it has read."""

    pooled: Any
    read: Any  # [P, K, T]

    def reorder(self, parents: Any) -> Seen:
        rows = np.arange(len(parents))[:, None]
        assert parents.shape[0] == self.read.shape[0]
        return replace(self, read=self.read[rows, parents])

    def filter(self, pictures: Any) -> Seen:
        return replace(self, pooled=self.pooled[pictures], read=self.read[pictures])


class TableDecoder:
    """Logits that depend on the picture and on every word so far, by a fixed formula; looks at 5 regions."""

    def __init__(self, size: int = 9, *, dtype: Any = np.float64, sharpness: float = 3.0) -> None:
        self.size, self.dtype, self.sharpness = size, dtype, sharpness
        self.steps: list[tuple[int, int]] = []

    def init_state(self, features: Pictures, hypotheses: int) -> Seen:
        pooled = features.pooled
        empty = np.zeros((pooled.shape[0], hypotheses, 0), np.int64)
        return Seen(pooled, torch.from_numpy(empty) if torch.is_tensor(pooled) else empty)

    def step(self, tokens: Any, state: Seen) -> tuple[Any, Seen, Any]:
        assert tokens.shape == state.read.shape[:2]
        self.steps.append(tuple(tokens.shape))
        use_torch = torch.is_tensor(tokens)
        read = np.concatenate((np.asarray(state.read), np.asarray(tokens)[:, :, None]), axis=2)
        keys = np.asarray(state.pooled)[:, None, 0] * 7.0 + read @ (np.arange(read.shape[2]) * 1.3 + 2.1)
        logits = self.logits(keys, read)
        looks = np.exp(np.sin(keys[..., None] * np.arange(1, 6)))
        looks /= looks.sum(axis=-1, keepdims=True)
        made: list[Any] = [read, logits.astype(self.dtype), looks.astype(np.float32)]
        if use_torch:
            made = [torch.from_numpy(part) for part in made]
        return made[1], replace(state, read=made[0]), made[2]

    def logits(self, keys: Any, read: Any) -> Any:
        return self.sharpness * np.sin(keys[..., None] * (1.7 + np.arange(self.size)) + np.arange(self.size))


class FixedDecoder(TableDecoder):
    """Log-probabilities read from a table by the words so far; what the table lacks ends the sentence."""

    def __init__(self, table: dict[tuple[int, ...], dict[int, float]], size: int = 9) -> None:
        super().__init__(size)
        self.table = table

    def logits(self, keys: Any, read: Any) -> Any:
        out = np.full((*read.shape[:2], self.size), -np.inf)
        for place in np.ndindex(read.shape[:2]):
            said = tuple(int(word) for word in read[place][1:])
            for word, mass in self.table.get(said, {SPECIALS.eos: 1.0}).items():
                out[(*place, word)] = math.log(mass)
        return out


def pictures(*names: float) -> Pictures:
    return Pictures(np.array(names)[:, None])


def find(
    decoder: Any, features: Any, *, attention: bool = False, keys: list[int] | None = None, **options: Any
) -> list[list[Hypothesis]]:
    return search(decoder, features, DecodingOptions(**options), SPECIALS, attention=attention, keys=keys)


def teacher_forced(decoder: TableDecoder, picture: float, ids: list[int], *, end: bool) -> float:
    """Sum of log-probabilities of a sentence, one word after another."""
    state, features, total = None, pictures(picture), 0.0
    state = decoder.init_state(features, 1)
    read = [SPECIALS.bos, *ids]
    said = [*ids, SPECIALS.eos] if end else ids
    for token, target in zip(read, said, strict=False):
        logits, state, _ = decoder.step(np.array([[token]]), state)
        row = logits[0, 0].astype(np.float64)
        total += row[target] - np.log(np.exp(row - row.max()).sum()) - row.max()
    return float(total)


names = st.floats(0, 100, allow_nan=False)
settings_ = st.fixed_dictionaries(
    {
        "max_tokens": st.integers(1, 8),
        "length_penalty": st.sampled_from([0.0, 0.7, 1.0]),
        "no_repeat_ngram_size": st.integers(0, 3),
        "repetition_penalty": st.sampled_from([1.0, 1.7]),
    }
)


@given(names, settings_)
def test_a_beam_of_one_is_greedy_search(name: float, options: dict[str, Any]) -> None:
    features = pictures(name, name / 3 + 1)
    assert find(TableDecoder(), features, method="greedy", **options) == find(
        TableDecoder(), features, beam_size=1, **options
    )


def test_a_beam_of_one_is_greedy_search_where_all_is_equal() -> None:
    flat = TableDecoder(sharpness=0.0)
    assert find(flat, pictures(1.0), method="greedy") == find(flat, pictures(1.0), beam_size=1)


@pytest.mark.parametrize("method", METHODS, ids=str)
@given(name=names, options=settings_)
def test_scores_are_teacher_forced_log_probabilities(
    method: dict[str, Any], name: float, options: dict[str, Any]
) -> None:
    for found in find(TableDecoder(), pictures(name), **{**options, **method})[0]:
        expected = teacher_forced(TableDecoder(), name, found.ids, end=not found.truncated)
        assert found.log_prob == pytest.approx(expected, abs=1e-9)
        words = teacher_forced(TableDecoder(), name, found.ids, end=False)
        assert sum(found.token_log_probs) == pytest.approx(words, abs=1e-9)
        assert len(found.token_log_probs) == len(found.ids)
        length = max(1, len(found.ids) + (not found.truncated))
        repeated = [at for at, token in enumerate(found.ids) if token in found.ids[:at]]
        cost = (options["repetition_penalty"] - 1) * sum(found.token_log_probs[at] for at in repeated)
        assert found.score == pytest.approx((found.log_prob + cost) / length ** options["length_penalty"])


@pytest.mark.parametrize("method", METHODS, ids=str)
@given(name=names, options=settings_)
def test_captions_keep_the_rules(method: dict[str, Any], name: float, options: dict[str, Any]) -> None:
    listed = find(TableDecoder(), pictures(name), **{**options, **method})[0]
    assert listed
    assert [one.score for one in listed] == sorted((one.score for one in listed), reverse=True)
    if method.get("method") == "sample" and "without_replacement" not in method:
        assert len(listed) == method["samples"]
    else:
        most = method.get("beam_size", method.get("samples", 1))
        assert len({tuple(one.ids) for one in listed}) == len(listed) <= most
    for one in listed:
        assert set(one.ids) <= set(range(4, 9))
        assert len(one.ids) <= options["max_tokens"]
        size = options["no_repeat_ngram_size"]
        grams = [tuple(one.ids[at : at + size]) for at in range(len(one.ids) - size + 1)]
        assert size == 0 or len(set(grams)) == len(grams)


@pytest.mark.thorough
@pytest.mark.parametrize(("words", "limit"), [(2, 2), (1, 5), (2, 3)])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
@given(name=names, repetition_penalty=st.sampled_from([1.0, 1.5]))
def test_a_beam_as_wide_as_all_beginnings_finds_the_best_sentence(
    words: int, limit: int, length_penalty: float, name: float, repetition_penalty: float
) -> None:
    def penalized(ids: list[int]) -> float:
        """The log-probability of a sentence, that of its repeated words counted more."""
        if repetition_penalty == 1:
            return teacher_forced(TableDecoder(size), name, ids, end=True)
        prefixes = [
            teacher_forced(TableDecoder(size), name, ids[:at], end=False) for at in range(len(ids) + 1)
        ]
        repeated = [at for at, token in enumerate(ids) if token in ids[:at]]
        cost = (repetition_penalty - 1) * sum(prefixes[at + 1] - prefixes[at] for at in repeated)
        return teacher_forced(TableDecoder(size), name, ids, end=True) + cost

    size, beam_size = 4 + words, max(limit + 1, words**limit * (words + 1))
    sentences = [
        list(ids)
        for length in range(1, limit + 1)
        for ids in itertools.product(range(4, size), repeat=length)
    ]
    scored = {tuple(ids): penalized(ids) / (len(ids) + 1) ** length_penalty for ids in sentences}
    found = find(
        TableDecoder(size),
        pictures(name),
        beam_size=beam_size,
        max_tokens=limit,
        length_penalty=length_penalty,
        repetition_penalty=repetition_penalty,
    )[0]
    best = sorted(scored, key=lambda ids: -scored[ids])
    assert [tuple(one.ids) for one in found] == best[: len(found)]
    assert len(found) == min(beam_size, len(best))


def test_a_wider_beam_finds_what_greed_misses() -> None:
    table = {
        (): {A: 0.6, B: 0.4},
        (A,): {A: 0.4, B: 0.3, C: 0.3},
        (B,): {C: 1.0},
    }
    assert find(FixedDecoder(table), pictures(0.0), method="greedy")[0][0].ids == [A, A]
    best = find(FixedDecoder(table), pictures(0.0), beam_size=2)[0][0]
    assert best.ids == [B, C]
    assert best.log_prob == pytest.approx(math.log(0.4))


def test_the_length_rule_decides_between_short_and_long() -> None:
    table = {
        (): {A: 0.5, B: 0.5},
        (A,): {SPECIALS.eos: 0.5, C: 0.5},
        (B,): {B: 0.5, C: 0.5},
        (B, B): {A: 0.9, B: 0.1},
    }
    short = find(FixedDecoder(table), pictures(0.0), beam_size=4, length_penalty=0.0)[0][0]
    long = find(FixedDecoder(table), pictures(0.0), beam_size=4, length_penalty=1.0)[0][0]
    assert (len(short.ids), len(long.ids)) == (1, 3)


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_a_caption_without_end_is_returned_and_marked(method: dict[str, Any]) -> None:
    class Endless(TableDecoder):
        def logits(self, keys: Any, read: Any) -> Any:
            out = super().logits(keys, read)
            out[..., SPECIALS.eos] = -np.inf
            return out

    for one in find(Endless(), pictures(1.0, 2.0), max_tokens=4, **method)[1]:
        assert one.truncated
        assert len(one.ids) == 4


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_a_caption_is_empty_only_where_no_word_is_allowed(method: dict[str, Any]) -> None:
    found = find(FixedDecoder({}), pictures(0.0), **method)[0][0]
    assert (found.ids, found.log_prob, found.score, found.truncated) == ([], 0.0, 0.0, False)
    table = {(): {SPECIALS.eos: 0.9, SPECIALS.unk: 0.09, A: 0.01}}
    for found in find(FixedDecoder(table), pictures(0.0), max_tokens=1, **method)[0]:
        assert (found.ids, found.truncated) == ([A], False)
        assert found.log_prob == pytest.approx(math.log(0.01))


@pytest.mark.parametrize("method", METHODS, ids=str)
@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_whether_a_word_is_allowed_is_asked_image_by_image(
    method: dict[str, Any], make: Callable[[Any], Any]
) -> None:
    class Silent(TableDecoder):
        def logits(self, keys: Any, read: Any) -> Any:
            out = super().logits(keys, read)
            if read.shape[2] == 1:
                out[1, :, 4:] = -np.inf
            return out

    found = find(Silent(), Pictures(make(np.array([[1.0], [2.0]]))), max_tokens=3, **method)
    assert all(one.ids for one in found[0])
    assert [one.ids for one in found[1]] == [[]] * len(found[1])


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_the_end_waits_for_the_least_number_of_words(method: dict[str, Any]) -> None:
    class Eager(TableDecoder):
        def logits(self, keys: Any, read: Any) -> Any:
            out = super().logits(keys, read)
            out[..., SPECIALS.eos] = 50.0
            return out

    assert {len(one.ids) for one in find(Eager(), pictures(1.0), min_tokens=3, **method)[0]} == {3}


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_a_sentence_with_nothing_left_to_say_is_returned_truncated(method: dict[str, Any]) -> None:
    found = find(TableDecoder(6), pictures(1.0), min_tokens=9, no_repeat_ngram_size=1, **method)[0]
    assert {(tuple(sorted(one.ids)), one.truncated) for one in found} == {((A, B), True)}


def test_an_ended_sentence_is_preferred_to_one_cut_off() -> None:
    table = {(): {A: 0.7, B: 0.3}, (A,): {A: 1.0}, (A, A): {A: 1.0}, (A, A, A): {A: 1.0}}
    found = find(FixedDecoder(table), pictures(0.0), beam_size=2, max_tokens=3)[0]
    assert [(one.ids, one.truncated) for one in found] == [([B], False)]


def beam_by_hand(
    decoder: TableDecoder,
    picture: float,
    beam_size: int,
    *,
    max_tokens: int,
    min_tokens: int,
    penalty: float,
    repetition: float,
    num_groups: int = 1,
    diversity: float = 0.0,
) -> list[tuple[list[int], float]]:
    """Beam search by its definition, one hypothesis after another: captions and scores, best first."""

    def log_probs(ids: list[int]) -> Any:
        state = decoder.init_state(pictures(picture), 1)
        for token in [SPECIALS.bos, *ids]:
            logits, state, _ = decoder.step(np.array([[token]]), state)
        row = logits[0, 0]
        return row - np.log(np.exp(row - row.max()).sum()) - row.max()

    # Tokens, what they are selected by, and their score.
    alive: list[list[tuple[list[int], float, float]]] = [[([], 0.0, 0.0)] for _ in range(num_groups)]
    finished: list[dict[tuple[int, ...], float]] = [{} for _ in range(num_groups)]
    while any(alive):
        taken: list[int] = []
        for number in range(num_groups):
            candidates = []
            for ids, total, score in alive[number]:
                allowed = [*range(4, decoder.size)] if len(ids) < max_tokens else []
                allowed += [SPECIALS.eos] if len(ids) >= max(1, min_tokens) else []
                row = log_probs(ids)
                for token in allowed:
                    value = row[token] * (repetition if token in ids else 1)
                    lost = diversity * taken.count(token)
                    candidates.append((total + value - lost, ids, token, score + value))
            candidates.sort(key=lambda one: -one[0])
            for _, ids, token, score in candidates[:beam_size]:
                if token == SPECIALS.eos:
                    finished[number][tuple(ids)] = score / (len(ids) + 1) ** penalty
            running = [one for one in candidates if one[2] != SPECIALS.eos][:beam_size]
            if len(finished[number]) >= beam_size:
                running = []
            alive[number] = [([*ids, token], total, score) for total, ids, token, score in running]
            taken += [token for _, _, token, _ in running]
    kept: dict[tuple[int, ...], float] = {}
    for group in finished:
        kept.update(sorted(group.items(), key=lambda one: -one[1])[:beam_size])
    return [(list(ids), score) for ids, score in sorted(kept.items(), key=lambda one: -one[1])]


limits_ = st.fixed_dictionaries({"max_tokens": st.integers(1, 5), "min_tokens": st.integers(0, 1)})


@given(
    name=names,
    beam_size=st.integers(1, 6),
    limits=limits_,
    penalty=st.sampled_from([0.0, 0.7, 1.0]),
    repetition=st.sampled_from([1.0, 1.3, 5.0]),
)
def test_a_beam_finds_what_its_definition_finds(
    name: float, beam_size: int, limits: dict[str, int], penalty: float, repetition: float
) -> None:
    options = {**limits, "length_penalty": penalty, "repetition_penalty": repetition}
    found = find(TableDecoder(), pictures(name), beam_size=beam_size, **options)[0]
    penalties = {"penalty": penalty, "repetition": repetition}
    expected = beam_by_hand(TableDecoder(), name, beam_size, **penalties, **limits)
    assert [one.ids for one in found] == [ids for ids, _ in expected]
    assert [one.score for one in found] == pytest.approx([score for _, score in expected])


@given(
    name=names,
    size=st.integers(1, 3),
    num_groups=st.integers(2, 4),
    limits=limits_,
    penalty=st.sampled_from([0.0, 1.0]),
    repetition=st.sampled_from([1.0, 1.3]),
    diversity=st.sampled_from([0.0, 0.5, 20.0]),
)
def test_groups_find_what_their_definition_finds(
    name: float,
    size: int,
    num_groups: int,
    limits: dict[str, int],
    penalty: float,
    repetition: float,
    diversity: float,
) -> None:
    found = find(
        TableDecoder(),
        pictures(name),
        beam_size=size * num_groups,
        beam_groups=num_groups,
        diversity_penalty=diversity,
        length_penalty=penalty,
        repetition_penalty=repetition,
        **limits,
    )[0]
    penalties: dict[str, float] = {"penalty": penalty, "repetition": repetition, "diversity": diversity}
    expected = beam_by_hand(TableDecoder(), name, size, num_groups=num_groups, **limits, **penalties)  # type: ignore[arg-type]
    assert [one.ids for one in found] == [ids for ids, _ in expected]
    assert [one.score for one in found] == pytest.approx([score for _, score in expected])


@pytest.mark.thorough
@given(names, st.integers(1, 3), st.integers(2, 4))
def test_the_first_group_is_a_plain_beam_and_others_differ_from_it(
    name: float, size: int, num_groups: int
) -> None:
    features, options = pictures(name), {"beam_size": size * num_groups, "beam_groups": num_groups}
    plain = [one.ids for one in find(TableDecoder(), features, beam_size=size)[0]]
    diverse = [one.ids for one in find(TableDecoder(), features, **options, diversity_penalty=99.0)[0]]
    assert all(ids in diverse for ids in plain)
    same = find(TableDecoder(), features, **options, diversity_penalty=0.0)[0]
    assert [one.ids for one in same] == plain
    if size == 1:  # there are five tokens for at most four groups
        assert len({ids[0] for ids in diverse}) == len(diverse) == num_groups


@pytest.mark.parametrize("method", METHODS, ids=str)
@given(name=names, options=settings_, min_tokens=st.integers(0, 8))
def test_no_caption_is_cut_where_it_may_end(
    method: dict[str, Any], name: float, options: dict[str, Any], min_tokens: int
) -> None:
    """At the limit words would outrank the end, which is rare here."""

    class Reluctant(TableDecoder):
        def logits(self, keys: Any, read: Any) -> Any:
            out = super().logits(keys, read)
            out[..., SPECIALS.eos] -= 20
            return out

    options = {**options, "no_repeat_ngram_size": max(3, options["no_repeat_ngram_size"])}
    options["min_tokens"] = min(min_tokens, options["max_tokens"])
    listed = find(Reluctant(), pictures(name), **{**options, **method})[0]
    expected = method.get("beam_size", method.get("samples", 1))
    assert len(listed) == expected or "beam_groups" in method  # two groups may find the same
    for one in listed:
        assert not one.truncated
        assert max(1, options["min_tokens"]) <= len(one.ids) <= options["max_tokens"]


def test_the_beam_at_its_limit_prefers_what_can_end_there() -> None:
    table = {
        (): {A: 0.6, B: 0.4},
        (A,): {C: 0.999, SPECIALS.eos: 0.001},
        (B,): {C: 0.6, SPECIALS.eos: 0.4},
    }
    found = find(FixedDecoder(table), pictures(0.0), beam_size=2, max_tokens=1)[0]
    assert [one.ids for one in found] == [[B], [A]]
    assert found[0].log_prob == pytest.approx(math.log(0.16))
    greedy = find(FixedDecoder(table), pictures(0.0), method="greedy", max_tokens=1)[0][0]
    assert (greedy.ids, greedy.truncated) == ([A], False)
    assert greedy.log_prob == pytest.approx(math.log(0.0006))


@pytest.mark.parametrize(
    "method",
    [
        METHODS[0],
        METHODS[2],
        *(pytest.param(one, marks=pytest.mark.thorough) for one in (METHODS[1], *METHODS[3:])),
    ],
    ids=str,
)
@given(st.lists(names, min_size=2, max_size=5), settings_)
def test_a_caption_does_not_depend_on_its_batch(
    method: dict[str, Any], listed: list[float], options: dict[str, Any]
) -> None:
    together = find(TableDecoder(), pictures(*listed), **{**options, **method})
    backwards = find(TableDecoder(), pictures(*listed[::-1]), **{**options, **method})[::-1]
    alone = [find(TableDecoder(), pictures(name), **{**options, **method})[0] for name in listed]
    for one, two, three in zip(together, backwards, alone, strict=True):
        assert [found.ids for found in one] == [found.ids for found in two] == [found.ids for found in three]
        for left, right in zip(one, three, strict=True):
            assert left.score == pytest.approx(right.score, abs=1e-12)


@pytest.mark.parametrize("method", METHODS, ids=str)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_torch_and_numpy_find_the_same(method: dict[str, Any], dtype: Any) -> None:
    values = np.linspace(0.3, 40, 7)[:, None]
    options = {**method, "no_repeat_ngram_size": 2, "max_tokens": 9}
    on_numpy = find(TableDecoder(12, dtype=dtype), Pictures(values), attention=True, **options)
    on_torch = find(
        TableDecoder(12, dtype=dtype), Pictures(torch.from_numpy(values)), attention=True, **options
    )
    for one, two in zip(on_numpy, on_torch, strict=True):
        assert [found.ids for found in one] == [found.ids for found in two]
        for left, right in zip(one, two, strict=True):
            assert left.score == pytest.approx(right.score, abs=1e-5)
            np.testing.assert_allclose(left.attention, right.attention)


@pytest.mark.thorough
@pytest.mark.parametrize("method", METHODS, ids=str)
@given(name=names)
def test_attention_is_what_the_decoder_looked_at_before_each_word(
    method: dict[str, Any], name: float
) -> None:
    for found in find(TableDecoder(), pictures(name), attention=True, max_tokens=6, **method)[0]:
        decoder, features = TableDecoder(), pictures(name)
        state, looked = decoder.init_state(features, 1), []
        for token in [SPECIALS.bos, *found.ids][: len(found.ids)]:
            _, state, looks = decoder.step(np.array([[token]]), state)
            looked.append(looks[0, 0])
        if looked:
            assert found.attention is not None
            assert found.attention.dtype == np.float32
            np.testing.assert_allclose(found.attention, np.stack(looked), atol=1e-6)
            np.testing.assert_allclose(found.attention.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_attention_is_none_unless_asked_for(method: dict[str, Any]) -> None:
    assert find(TableDecoder(), pictures(1.0), **method)[0][0].attention is None


@pytest.mark.parametrize(("options", "width"), [({"method": "greedy"}, 1), ({"beam_size": 3}, 3)])
def test_a_batch_takes_one_step_per_word_and_the_first_with_one_hypothesis(
    options: dict[str, Any], width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("showtell.generation.hypothesis._SHRINK_BELOW", 0.0)
    decoder = TableDecoder()
    find(decoder, pictures(*range(30)), max_tokens=5, **options)
    assert len(decoder.steps) <= 6
    assert decoder.steps[0] == (30, 1)
    assert set(decoder.steps[1:]) == {(30, width)}


@pytest.mark.thorough
@pytest.mark.parametrize("method", METHODS, ids=str)
@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_pictures_that_are_done_leave_and_nothing_changes(
    method: dict[str, Any], make: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    features = Pictures(make(np.linspace(0, 60, 24)[:, None]))
    staying, leaving = TableDecoder(), TableDecoder()
    found = find(leaving, features, attention=True, max_tokens=15, **method)
    monkeypatch.setattr("showtell.generation.hypothesis._SHRINK_BELOW", 0.0)
    expected = find(staying, features, attention=True, max_tokens=15, **method)
    assert [[one.ids for one in listed] for listed in found] == [
        [one.ids for one in listed] for listed in expected
    ]
    for one, two in zip(itertools.chain(*found), itertools.chain(*expected), strict=True):
        assert one.score == pytest.approx(two.score, abs=1e-12)
        np.testing.assert_allclose(one.attention, two.attention)
    assert {pictures for pictures, _ in staying.steps} == {24}
    shrinking = [pictures for pictures, _ in leaving.steps]
    assert shrinking == sorted(shrinking, reverse=True)
    assert shrinking[-1] < 24


OUR_SEEDS = {
    "lstm": 18,
    "attention": 18,
    "stacked": 10,
    "adaptive": 0,
    "top-down": 3,
    "attention-on-attention": 0,
    "transformer": 1,
}
"""Of each decoder's weights: with these it says captions of several lengths."""


@pytest.mark.parametrize("method", METHODS, ids=str)
@pytest.mark.parametrize(
    "name",
    [
        name if name == "transformer" else pytest.param(name, marks=pytest.mark.thorough)
        for name in sorted(OUR_SEEDS)
    ],
)
def test_our_decoders_caption_a_picture_alike_alone_and_in_company(name: str, method: dict[str, Any]) -> None:
    from showtell.config import decoders as specs
    from showtell.decoders.registry import DECODERS, build_decoder
    from showtell.encoders.features import Features

    assert set(OUR_SEEDS) == set(DECODERS)
    sizes = {"embedding": 6, "hidden": 6}
    spec = {
        "lstm": specs.LstmSpec(**sizes),
        "attention": specs.AttentionSpec(**sizes, attention=6, region_dim=6),
        "stacked": specs.StackedSpec(**sizes, region_dim=6, heads=2),
        "adaptive": specs.AdaptiveSpec(**sizes, attention=6),
        "top-down": specs.TopDownSpec(**sizes, attention=6, region_dim=6),
        "attention-on-attention": specs.AttentionOnAttentionSpec(**sizes, region_dim=6, heads=2),
        "transformer": specs.TransformerSpec(hidden=6, heads=2, feed_forward=6, region_dim=6),
    }[name]
    with torch.random.fork_rng():
        torch.manual_seed(OUR_SEEDS[name])
        decoder = build_decoder(spec, vocabulary=12, encoder_width=5, pad_id=0).double().eval()
        for weight in decoder.parameters():
            torch.nn.init.normal_(weight)
        regions, pooled = (3 * torch.randn(*shape, dtype=torch.float64) for shape in ((10, 4, 5), (10, 5)))
    mask = torch.ones(10, 4, dtype=torch.bool)
    with torch.inference_mode():
        together = find(decoder, Features(regions, pooled, mask), max_tokens=9, **method)
        alone = [
            find(
                decoder,
                Features(*(part[at : at + 1] for part in (regions, pooled, mask))),
                max_tokens=9,
                **method,
            )
            for at in range(10)
        ]
    assert len({tuple(listed[0].ids) for listed in together}) > 2
    assert len({len(one.ids) for listed in together for one in listed}) > 1
    for one, (two,) in zip(together, alone, strict=True):
        assert [found.ids for found in one] == [found.ids for found in two]
        assert [found.score for found in one] == pytest.approx([found.score for found in two], abs=1e-5)


def test_a_search_stops_when_all_have_ended() -> None:
    decoder = FixedDecoder({(): {A: 1.0}, (A,): {SPECIALS.eos: 0.9, B: 0.1}})
    find(decoder, pictures(1.0, 2.0), method="greedy", max_tokens=50)
    assert len(decoder.steps) == 2


@pytest.mark.parametrize("method", METHODS, ids=str)
@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_logits_that_are_no_numbers_are_refused(method: dict[str, Any], make: Callable[[Any], Any]) -> None:
    class Broken(TableDecoder):
        def logits(self, keys: Any, read: Any) -> Any:
            out = super().logits(keys, read)
            out[1, :, 7] = np.nan
            return out

    with pytest.raises(CheckpointError, match="logits cannot be searched: found NaN or infinity"):
        find(Broken(), Pictures(make(np.array([[1.0], [2.0]]))), **method)


def test_no_pictures_have_no_captions() -> None:
    assert find(TableDecoder(), Pictures(np.zeros((0, 1)))) == []


def test_samples_follow_the_distribution() -> None:
    decoder = FixedDecoder({(): {A: 0.5, B: 0.3, C: 0.2}})
    counts = dict.fromkeys((A, B, C), 0)
    for seed in range(40):
        for one in find(decoder, pictures(0.0), method="sample", samples=50, seed=seed)[0]:
            counts[one.ids[0]] += 1
    # Three standard deviations of a share of 2,000 draws are 0.034.
    assert [counts[word] / 2000 for word in (A, B, C)] == pytest.approx([0.5, 0.3, 0.2], abs=0.034)


@pytest.mark.thorough
@pytest.mark.parametrize("seed", [42, 7])
@pytest.mark.parametrize("options", [{}, {"temperature": 0.5}, {"top_k": 2}, {"top_p": 0.75}], ids=str)
def test_the_images_of_a_set_are_sampled_independently(seed: int, options: dict[str, Any]) -> None:
    """One seed, 1,500 images with one distribution: a chi-square test of their words."""
    masses = {A: 0.5, B: 0.3, C: 0.2}
    decoder, features = FixedDecoder({(): masses}), pictures(*range(1500))
    found = find(decoder, features, method="sample", seed=seed, **options)
    drawn = np.array([one.ids[0] for (one,) in found])
    kept = {word: mass for word, mass in masses.items() if word in drawn}
    assert set(kept) == ({A, B} if {"top_k", "top_p"} & set(options) else {A, B, C})
    powers = {word: mass ** (1 / options.get("temperature", 1.0)) for word, mass in kept.items()}
    counts = np.array([(drawn == word).sum() for word in powers])
    expected = 1500 * np.array(list(powers.values())) / sum(powers.values())
    # Chance exceeds it once in 1,000 cases.
    assert ((counts - expected) ** 2 / expected).sum() < {2: 10.83, 3: 13.82}[len(kept)]


@pytest.mark.thorough
def test_the_samples_of_an_image_are_independent_of_each_other_and_of_the_next_image() -> None:
    masses = {A: 0.5, B: 0.3, C: 0.2}
    decoder, features = FixedDecoder({(): masses}), pictures(*range(1500))
    # Samples are ranked by their score, so only equal pairs can be counted.
    found = find(decoder, features, method="sample", samples=2)
    equal = np.array([one.ids == two.ids for one, two in found])
    # Of 1,500 pairs 0.38 are equal, with a standard deviation of 0.0125.
    assert equal.mean() == pytest.approx(0.5**2 + 0.3**2 + 0.2**2, abs=0.04)
    words = np.array([one.ids[0] for (one,) in find(decoder, features, method="sample")])
    assert (words[1:] == words[:-1]).mean() == pytest.approx(0.38, abs=0.04)


def test_a_set_has_as_many_distinct_words_as_independent_draws() -> None:
    size = 600
    masses = 1 / np.arange(1, size - 3)
    masses /= masses.sum()
    table = {(): {4 + at: mass for at, mass in enumerate(masses)}}
    found = find(FixedDecoder(table, size), pictures(*range(300)), method="sample")
    distinct = len({one.ids[0] for (one,) in found})
    generator = np.random.default_rng(0)
    draws = [len(set(generator.choice(size - 4, 300, p=masses))) for _ in range(200)]
    assert distinct == pytest.approx(np.mean(draws), abs=3 * np.std(draws))


def test_keys_decide_about_the_noise_and_features_do_not() -> None:
    """As for two back ends, whose features differ in their last bits."""
    table = {(): dict.fromkeys(range(4, 40), 1 / 36)}
    values = np.linspace(1, 60, 50)[:, None]
    keys = [3 * at for at in range(50)]

    def said(features: Any, keys: list[int] | None) -> list[list[int]]:
        return [one.ids for (one,) in find(FixedDecoder(table, 40), features, method="sample", keys=keys)]

    together = said(Pictures(values), keys)
    assert said(Pictures(torch.from_numpy(values * (1 + 1e-6))), keys) == together
    assert said(Pictures(values[::-1]), keys[::-1]) == together[::-1]
    assert said(Pictures(values), [5] * 50) == [said(Pictures(values[:1]), [5])[0]] * 50
    assert len({tuple(ids) for ids in together}) > 20
    assert said(Pictures(values), None) != together


@pytest.mark.parametrize(
    ("options", "possible"),
    [
        ({"top_k": 1}, {A}),
        ({"top_k": 2}, {A, B}),
        ({"top_p": 0.5}, {A}),
        ({"top_p": 0.51}, {A, B}),
        ({"top_p": 0.9}, {A, B, C}),
        ({"top_k": 2, "top_p": 0.6}, {A}),
        ({"temperature": 0.01}, {A}),
        ({"top_k": 1000}, {A, B, C}),
    ],
)
def test_sampling_keeps_to_the_likely(options: dict[str, Any], possible: set[int]) -> None:
    decoder = FixedDecoder({(): {A: 0.5, B: 0.3, C: 0.2}})
    found = find(decoder, pictures(0.0), method="sample", samples=60, **options)[0]
    assert {one.ids[0] for one in found} == possible


def test_sampling_depends_on_its_seed_alone() -> None:
    def said(seed: int, samples: int = 4) -> list[Hypothesis]:
        np.random.default_rng(1).random()
        return find(TableDecoder(), pictures(3.0), method="sample", samples=samples, seed=seed)[0]

    assert said(1) == said(1)
    assert said(1) != said(2)
    assert all(one in said(1) for one in said(1, samples=2))


@pytest.mark.thorough
def test_search_runs_where_torch_is_not_installed() -> None:
    script = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NoTorch())
import numpy as np
from showtell.config.generation import DecodingOptions
from showtell.generation import SpecialTokens, search

class State:
    def reorder(self, parents):
        return self

    def filter(self, images):
        return self

class Decoder:
    def init_state(self, features, hypotheses):
        return State()

    def step(self, tokens, state):
        return np.broadcast_to(np.arange(8.0), (*tokens.shape, 8)), state, None

class Features:
    pooled = np.zeros((2, 3))

for method in ("beam", "greedy", "sample"):
    found = search(Decoder(), Features(), DecodingOptions(method=method, max_tokens=2), SpecialTokens(0, 1, 2, 3))
    assert len(found) == 2
print(found[0][0].ids, "torch" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.stderr == ""
    assert run.stdout.strip().endswith("] False")
