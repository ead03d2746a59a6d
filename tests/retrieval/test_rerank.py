"""Reranking by neighbours, against a plain computation of its formula."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.config.generation import DecodingOptions
from showtell.generation import Hypothesis
from showtell.retrieval.datastore import Datastore, Projection
from showtell.retrieval.rerank import RETRIEVED_PENALTY, SHARPNESS, Reranker
from showtell.retrieval.search import CaptionSearch
from showtell.tokenizer import Tokenizer

WORDS = ["a", "dog", "cat", "runs", "sits", "on", "grass", "snow"]
TOKENIZER = Tokenizer.fit([" ".join(WORDS)], min_count=1)
POOLED = np.random.default_rng(1).normal(size=(12, 6)).astype(np.float32)


def datastore(captions: Sequence[Sequence[str]]) -> Datastore:
    pooled = POOLED[: len(captions)]
    tokens = [[text.split() for text in several] for several in captions]
    return Datastore.of(
        Projection.fit(POOLED),
        pooled,
        [f"{number}.jpg" for number in range(len(captions))],
        [f"{number:064x}" for number in range(len(captions))],
        tokens,
    )


def beam(*texts: str, scores: Sequence[float] = ()) -> list[Hypothesis]:
    scores = scores or [-1.0 - 0.1 * rank for rank in range(len(texts))]
    return [
        Hypothesis(TOKENIZER.encode(text), score, score, [], False, None)
        for text, score in zip(texts, scores, strict=True)
    ]


def rerank(
    store: Datastore,
    pooled: Any,
    beams: Sequence[Sequence[Hypothesis]],
    options: DecodingOptions,
    tokenizer: Tokenizer = TOKENIZER,
) -> list[list[Hypothesis]]:
    """Rerank with a decoder to which every given caption is equally likely."""

    def score(rows: list[int], captions: list[list[int]]) -> list[Hypothesis | None]:
        return [Hypothesis(ids, -9.0, -50.0, [], False, None) for ids in captions]

    return Reranker(store, tokenizer)(pooled, beams, options, score)


def ngrams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[start : start + order]) for start in range(len(words) - order + 1))


def plain_similarity(text: str, captions: Sequence[Sequence[str]], weights: Sequence[float]) -> float:
    """The mean over orders of CIDEr's cosine, weighted over the images."""
    total = 0.0
    for order in range(1, 5):
        holding: Counter[tuple[str, ...]] = Counter()
        for several in captions:
            holding.update({ngram for one in several for ngram in ngrams(one.split(), order)})

        def weigh(
            words: Sequence[str], order: int = order, holding: Counter[tuple[str, ...]] = holding
        ) -> dict[tuple[str, ...], float]:
            counts = ngrams(words, order)
            return {
                ngram: n * (math.log(len(captions)) - math.log(max(1, holding[ngram])))
                for ngram, n in counts.items()
            }

        def cosine(one: dict[tuple[str, ...], float], other: dict[tuple[str, ...], float]) -> float:
            norm = math.hypot(*one.values(), 0.0) * math.hypot(*other.values(), 0.0)
            return sum(value * other.get(ngram, 0.0) for ngram, value in one.items()) / norm if norm else 0.0

        ours = weigh(text.split())
        for several, weight in zip(captions, weights, strict=True):
            total += weight * sum(cosine(ours, weigh(one.split())) for one in several) / len(several) / 4
    return total


SENTENCES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)


@pytest.mark.thorough
@given(
    captions=st.lists(st.lists(SENTENCES, min_size=1, max_size=3), min_size=1, max_size=8),
    texts=st.lists(SENTENCES, min_size=1, max_size=4, unique=True),
)
def test_the_new_score_is_the_formula(captions: list[list[str]], texts: list[str]) -> None:
    store = datastore(captions)
    options = DecodingOptions(retrieval="rerank", retrieval_weight=3.0, neighbours=20, retrieve_caption=False)
    found = rerank(store, POOLED[:1], [beam(*texts)], options)[0]
    order, cosines = store.nearest(POOLED[:1], 20)
    weights = [math.exp(SHARPNESS * float(cosine)) for cosine in cosines[0]]
    by_place = dict(zip(order[0].tolist(), [weight / sum(weights) for weight in weights], strict=True))
    weights = [by_place[place] for place in range(len(captions))]
    expected = {
        text: old.score + 3.0 * plain_similarity(text, captions, weights)
        for text, old in zip(texts, beam(*texts), strict=True)
    }
    assert {TOKENIZER.decode(each.ids): each.score for each in found} == pytest.approx(expected, abs=1e-5)
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)


def test_captions_of_the_neighbour_win_and_it_is_named_with_its_share() -> None:
    store = datastore([["a dog runs on grass", "a dog runs"], ["a cat sits on snow"], ["a cat sits"]])
    options = DecodingOptions(retrieval="rerank", retrieval_weight=10.0, retrieve_caption=False)
    best, other = rerank(store, POOLED[:1], [beam("a cat sits", "a dog runs on grass")], options)[0]
    assert TOKENIZER.decode(best.ids) == "a dog runs on grass"
    first = best.neighbours[0]
    assert (first.key, first.captions) == ("0.jpg", ["a dog runs on grass", "a dog runs"])
    assert first.similarity == pytest.approx(1.0, abs=0.01)
    assert sum(each.fraction for each in best.neighbours) == pytest.approx(1.0)
    assert other.neighbours == ()


def test_the_nearest_image_is_named_even_if_it_says_nothing_of_the_kind() -> None:
    store = datastore([["snow"], ["a dog runs"], ["a cat"]])
    options = DecodingOptions(retrieval="rerank", retrieve_caption=False)
    best = rerank(store, POOLED[:1], [beam("a dog runs")], options)[0][0]
    assert best.neighbours[-1].key == "0.jpg"
    assert best.neighbours[-1].fraction == 0.0


def test_without_weight_the_order_stays_and_words_that_no_caption_has_are_no_error() -> None:
    store = datastore([["a dog"], ["a cat"]])
    options = DecodingOptions(retrieval="rerank", retrieval_weight=0.0, retrieve_caption=False)
    hypotheses = [*beam("grass snow", "a dog", "a dog runs on grass"), *beam("", scores=[-9.0])]
    found = rerank(store, POOLED[:1], [hypotheses], options)[0]
    assert [each.ids for each in found] == [each.ids for each in hypotheses]


def test_images_do_not_influence_each_other() -> None:
    store = datastore([["a dog runs"], ["a cat sits"], ["snow on grass"], ["a cat on snow"]])
    options = DecodingOptions(retrieval="rerank", neighbours=2)
    beams = [beam("a dog runs", "a cat"), beam("a cat sits"), beam("snow", "grass", "a dog")]
    together = rerank(store, POOLED[:3], beams, options)
    for row in range(3):
        assert rerank(store, POOLED[row : row + 1], [beams[row]], options)[0] == together[row]


@pytest.mark.parametrize("kind", ["words", "characters", "bpe", "tags"])
def test_every_kind_of_vocabulary_can_be_reranked(kind: str) -> None:
    tokenizer = Tokenizer.fit(["a dog runs", "a cat sits, long hair"], min_count=1, kind=kind)  # type: ignore[arg-type]
    texts = ["a dog runs", "a cat sits, long hair"]
    tokens = [[tokenizer.split(one)] for one in texts]
    store = Datastore.of(Projection.fit(POOLED), POOLED[:2], ["0", "1"], ["0" * 64, "1" * 64], tokens)
    hypotheses = [Hypothesis(tokenizer.encode(one), -1.0, -1.0, [], False, None) for one in reversed(texts)]
    options = DecodingOptions(retrieval="rerank", retrieval_weight=100.0)
    best = rerank(store, POOLED[:1], [hypotheses], options, tokenizer)[0][0]
    assert tokenizer.decode(best.ids) == tokenizer.normalize(texts[0])
    assert best.neighbours[0].captions == [tokenizer.normalize(texts[0])]


def test_two_batches_at_once_make_one_reranker(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Slow(Reranker):
        def __init__(self, *arguments: Any) -> None:
            made.append(self)
            time.sleep(0.05)
            super().__init__(*arguments)

    monkeypatch.setattr("showtell.retrieval.rerank.Reranker", Slow)
    monkeypatch.setattr("showtell.retrieval.search.search", lambda *_, **__: [beam("a dog", "a cat")])
    captions = CaptionSearch(TOKENIZER, datastore([["a dog"], ["a cat"]]))
    features, options = (
        SimpleNamespace(pooled=POOLED[:1]),
        DecodingOptions(retrieval="rerank", retrieve_caption=False),
    )
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: captions(None, features, options), range(2)))
    assert both[0] == both[1]
    assert len(made) == 1


def test_the_caption_most_similar_to_those_of_all_neighbours_is_listed_where_it_wins() -> None:
    store = datastore(
        [["a dog runs on grass", "snow"], ["a dog runs on snow"], ["a dog runs", "a cat sits on snow"]]
    )
    generated = beam("a cat", "a dog")

    def found(weight: float, **options: Any) -> list[Hypothesis]:
        chosen = DecodingOptions(retrieval="rerank", retrieval_weight=weight, **options)
        return rerank(store, POOLED[:1], [generated], chosen)[0]

    every = [each for several in (store.captions[image] for image in range(3)) for each in several]
    hypotheses = beam(*map(" ".join, every), scores=[0.0] * len(every))
    options = DecodingOptions(retrieval="rerank", retrieval_weight=1.0, retrieve_caption=False)
    similar = rerank(store, POOLED[:1], [hypotheses], options)[0][0]
    alone = found(10.0, retrieve_caption=False)
    difference = generated[0].score - RETRIEVED_PENALTY + 10.0 * similar.score - alone[0].score
    assert difference > 0
    retrieved, *others = found(10.0)
    assert (retrieved.ids, retrieved.log_prob) == (similar.ids, -50.0)
    assert retrieved.score == pytest.approx(alone[0].score + difference)
    assert retrieved.neighbours
    assert [(each.ids, each.score) for each in others] == [(each.ids, each.score) for each in alone]
    assert found(1.0) == found(1.0, retrieve_caption=False)


def test_a_caption_that_was_generated_or_has_unknown_words_does_not_compete() -> None:
    store = datastore([["a dog runs", "an umbrella"]])
    options = DecodingOptions(retrieval="rerank")
    found = rerank(store, POOLED[:1], [beam("a dog runs", "a cat")], options)[0]
    assert [TOKENIZER.decode(each.ids) for each in found] == ["a dog runs", "a cat"]
