"""What n-grams earn and lose adds up to the scores, for any corpus."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.metrics.test_evaluate import CANDIDATES, REFERENCES, corpora

from showtell.errors import ScoreError
from showtell.metrics import Scorer, explain
from showtell.metrics.explain import Explanation


def explained() -> dict[str, Explanation]:
    return {one.id: one for one in Scorer(REFERENCES).explain(CANDIDATES, ["3", "1", "2"])}


@pytest.mark.thorough
@given(corpora, st.integers(1, 4))
def test_the_parts_add_up_to_the_scores(corpus: dict[str, tuple[list[str], str]], block: int) -> None:
    references = {key: texts for key, (texts, _) in corpus.items()}
    candidates = {key: text for key, (_, text) in corpus.items()}
    scorer = Scorer(references)
    scores = scorer.score(candidates)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explain, "BLOCK_IMAGES", block)
        parts = scorer.explain(candidates, list(corpus))
    correct, total = [0] * 4, [0] * 4
    for one in parts:
        own, cider, bleu = scores.per_image[one.id], one.cider, one.bleu
        assert cider.score == pytest.approx(own["CIDEr-D"], abs=1e-9)
        assert math.fsum(part.earned for part in one.ngrams) == pytest.approx(cider.score, abs=1e-9)
        losses = (cider.wrong, cider.missing, cider.uneven, cider.length, cider.unweighted)
        assert min(losses) > -1e-9
        assert cider.score + math.fsum(losses) == pytest.approx(10, abs=1e-9)
        lost = math.fsum(part.lost for part in one.ngrams)
        assert lost == pytest.approx(cider.wrong + cider.missing + cider.uneven, abs=1e-9)
        for order in range(1, 5):
            same = [part for part in one.ngrams if part.order == order]
            assert sum(part.correct for part in same) == bleu.correct[order - 1]
            assert sum(part.count for part in same) == bleu.total[order - 1]
            correct[order - 1] += bleu.correct[order - 1]
            total[order - 1] += bleu.total[order - 1]
            if bleu.log_brevity is not None:
                log = sum(bleu.log_precision[:order]) / order + bleu.log_brevity
                assert math.exp(log) == pytest.approx(own[f"BLEU-{order}"], abs=1e-9)
        assert (bleu.log_brevity is None) == (not one.candidate)
        assert bleu.score == own["BLEU-4"]
        assert bleu.corpus == pytest.approx(scores.values["BLEU-4"], abs=1e-12)
    mean = math.fsum(one.cider.score for one in parts) / len(parts)
    assert mean == pytest.approx(scores.values["CIDEr-D"], abs=1e-9)
    if scores.values["BLEU-1"] and total[0] and correct[0]:
        assert scores.values["BLEU-1"] <= correct[0] / total[0] + 1e-9


def test_an_image_is_explained_by_the_ngrams_that_it_shares_lacks_and_gets_wrong() -> None:
    one = explained()["2"]
    fates = {part.text: part.fate for part in one.ngrams}
    assert fates["a bench"] == "shared"
    assert fates["sits"] == fates["man sits on"] == "wrong"
    assert fates["wooden bench"] == "missing"
    bench = next(part for part in one.ngrams if part.text == "bench")
    assert (bench.order, bench.count, bench.references, bench.images, bench.correct) == (1, 1, 2, 1, 1)
    assert bench.earned > 0
    everywhere = next(part for part in one.ngrams if part.text == "a")
    assert (everywhere.count, everywhere.correct, everywhere.images) == (2, 2, 3)
    assert everywhere.earned == everywhere.lost == 0  # it is in all images


def test_the_corpus_without_an_image_is_scored_without_it() -> None:
    scorer = Scorer(REFERENCES)
    rest = {key: texts for key, texts in REFERENCES.items() if key != "1"}
    others = Scorer(rest).score({key: CANDIDATES[key] for key in rest})
    (one,) = scorer.explain(CANDIDATES, ["1"])
    assert one.bleu.corpus_without == pytest.approx(others.values["BLEU-4"], abs=1e-12)
    assert one.bleu.corpus == pytest.approx(scorer.score(CANDIDATES).values["BLEU-4"], abs=1e-12)


def test_a_perfect_caption_of_one_reference_loses_nothing() -> None:
    references = {key: texts[:1] for key, texts in REFERENCES.items()}
    candidates = {key: texts[0] for key, texts in references.items()}
    for one in Scorer(references).explain(candidates, list(references)):
        assert one.cider.score == pytest.approx(10)
        assert one.bleu.score == pytest.approx(1)


def test_an_id_that_is_not_scored_is_refused_with_one_that_is() -> None:
    scorer = Scorer({"photo-1": ["a dog"], "photo-2": ["a bus"]})
    with pytest.raises(
        ScoreError, match=r"'photo-9' cannot be explained.*2 images.*Did you mean 'photo-[12]'"
    ):
        scorer.explain({"photo-1": "a dog", "photo-2": "a"}, ["photo-1", "photo-9"])
    some = scorer.match({"photo-1": "a dog"}, subset=True)
    with pytest.raises(ScoreError, match=r"'photo-2' cannot be explained.*1 images"):
        scorer.explain(some, ["photo-2"])
