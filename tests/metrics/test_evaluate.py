"""Scores have the reference's digits; what does not fit is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.errors import ConfigError, ScoreError
from showtell.metrics import Scorer, Scores, evaluate

GOLDEN = Path(__file__).parent / "golden"
REFERENCES = {
    "1": ["a brown dog runs on the grass", "a dog is running in a field"],
    "2": ["two men sit on a bench", "a pair of men sitting on a wooden bench"],
    "3": ["a red bus drives down the street", "the bus is red"],
}
CANDIDATES = {"1": "a dog runs on the grass", "2": "a man sits on a bench", "3": "a bus on a street"}

words = st.sampled_from(["a", "dog", "runs", "on", "the", "red", "bus", "man"])
caption = st.lists(words, max_size=9).map(" ".join)
corpora = st.dictionaries(
    st.sampled_from("abcdefgh"), st.tuples(st.lists(caption, min_size=1, max_size=4), caption), min_size=1
)


def read_golden() -> tuple[
    dict[str, list[str]], dict[str, str], dict[str, float], dict[str, dict[str, float]]
]:
    golden = json.loads((GOLDEN / "scores.json").read_text())
    return golden["references"], golden["candidates"], golden["values"], golden["per_image"]


def test_scores_equal_the_reference_for_the_corpus_and_each_image() -> None:
    references, candidates, values, per_image = read_golden()
    scores = evaluate(references, candidates)
    assert scores.values == pytest.approx(values, abs=1e-12)
    assert list(scores.per_image) == list(references)
    for key, row in per_image.items():
        assert scores.per_image[key] == pytest.approx(row, abs=1e-12)


@pytest.mark.parametrize("corpus", ["flickr8k", pytest.param("coco_val2017", marks=pytest.mark.thorough)])
def test_scores_of_real_captions_equal_the_reference(corpus: str, shared_data: Path) -> None:
    captions = read_real(corpus, shared_data)
    scores = evaluate(
        {key: texts[1:] for key, texts in captions.items()},
        {key: texts[0] for key, texts in captions.items()},
    )
    wanted = json.loads((GOLDEN / "corpora.json").read_text())[corpus]
    assert scores.num_images == wanted["num_images"]
    assert scores.values == pytest.approx(wanted["values"], abs=1e-12)


def read_real(corpus: str, folder: Path) -> dict[str, list[str]]:
    import importlib.util

    spec = importlib.util.spec_from_file_location("scoring_make_golden", GOLDEN / "make_golden.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    captions: dict[str, list[str]] = module.read_corpora(folder)[corpus]
    return captions


@pytest.mark.thorough
@given(corpora, st.randoms())
def test_order_of_images_and_references_never_changes_a_score(
    corpus: dict[str, tuple[list[str], str]], random: object
) -> None:
    references = {key: texts for key, (texts, _) in corpus.items()}
    candidates = {key: text for key, (_, text) in corpus.items()}
    before = evaluate(references, candidates)
    order = sorted(references, reverse=True)
    after = evaluate({key: references[key][::-1] for key in order}, candidates)
    assert after.values == pytest.approx(before.values, abs=1e-12)
    for key in references:
        assert after.per_image[key] == pytest.approx(before.per_image[key], abs=1e-12)


@pytest.mark.thorough
@given(corpora)
def test_scores_stay_in_their_range(corpus: dict[str, tuple[list[str], str]]) -> None:
    scores = evaluate(
        {k: texts for k, (texts, _) in corpus.items()}, {k: text for k, (_, text) in corpus.items()}
    )
    for row in (scores.values, *scores.per_image.values()):
        for name, value in row.items():
            assert 0 <= value <= (10 if name == "CIDEr-D" else 1) + 1e-9


@pytest.mark.thorough
@given(
    st.dictionaries(
        st.sampled_from("abcdefgh"), st.lists(words, min_size=4, max_size=9).map(" ".join), min_size=1
    )
)
def test_a_candidate_equal_to_a_reference_has_the_best_bleu_and_rouge(captions: dict[str, str]) -> None:
    scores = evaluate({key: ["a cat", text] for key, text in captions.items()}, captions)
    for row in (scores.values, *scores.per_image.values()):
        for name in ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L"):
            assert row[name] == pytest.approx(1.0, abs=1e-8)


def test_a_perfect_copy_of_the_only_reference_has_cider_ten() -> None:
    only = {key: texts[:1] for key, texts in REFERENCES.items()}
    scores = evaluate(only, {key: texts[0] for key, texts in only.items()})
    assert scores.values["CIDEr-D"] == pytest.approx(10.0)


def test_case_and_punctuation_of_candidates_change_nothing() -> None:
    plain = evaluate(REFERENCES, CANDIDATES)
    loud = evaluate(REFERENCES, {key: f'"{text.upper()}" .' for key, text in CANDIDATES.items()})
    assert loud.values == plain.values


def test_an_empty_candidate_counts_and_scores_zero() -> None:
    scores = evaluate(REFERENCES, CANDIDATES | {"2": " . "})
    assert scores.per_image["2"] == pytest.approx(dict.fromkeys(scores.values, 0.0), abs=1e-9)
    assert scores.values["CIDEr-D"] == pytest.approx(
        sum(row["CIDEr-D"] for row in scores.per_image.values()) / 3, abs=1e-12
    )
    assert scores.empty_candidates == 1
    assert scores.notes == ["1 of 3 candidates are empty; they count, and score 0"]


def test_only_empty_candidates_score_zero() -> None:
    scores = evaluate(REFERENCES, dict.fromkeys(REFERENCES, ""))
    assert scores.values == pytest.approx(dict.fromkeys(scores.values, 0.0), abs=1e-9)


def test_empty_references_are_counted_as_the_reference_code_does() -> None:
    scores = evaluate({"1": ["", "."], "2": ["a dog"]}, {"1": "", "2": "a dog"})
    assert scores.per_image["1"]["ROUGE-L"] == pytest.approx(1.0)
    assert scores.per_image["1"]["CIDEr-D"] == 0.0


def test_one_image_has_cider_zero_and_a_note_says_so() -> None:
    scores = evaluate({"1": REFERENCES["1"]}, {"1": REFERENCES["1"][0]})
    assert scores.values["CIDEr-D"] == 0.0
    assert scores.notes == [
        "CIDEr-D of a single image is 0 by definition: every n-gram occurs in every image"
    ]
    assert evaluate(REFERENCES, CANDIDATES).notes == []


def test_line_breaks_in_captions_shift_nothing() -> None:
    plain = evaluate(REFERENCES, CANDIDATES)
    references = {
        key: [text.replace(" on ", "\u2028on\r\n") for text in texts] for key, texts in REFERENCES.items()
    }
    assert evaluate(references, {key: text + "\n" for key, text in CANDIDATES.items()}).values == plain.values


def test_an_evaluator_scores_many_candidate_sets_like_new_ones() -> None:
    scorer = Scorer(REFERENCES)
    for candidates in (CANDIDATES, {key: texts[1] for key, texts in REFERENCES.items()}, CANDIDATES):
        assert scorer.score(candidates) == evaluate(REFERENCES, candidates)


def test_words_no_reference_has_lower_cider_but_stay_apart() -> None:
    references = {"1": ["a dog runs fast"], "2": ["two cats sleep here"]}
    known = evaluate(references, {"1": "a dog runs fast", "2": "x"}).per_image["1"]["CIDEr-D"]
    one = evaluate(references, {"1": "a dog runs fast zz", "2": "x"}).per_image["1"]["CIDEr-D"]
    two = evaluate(references, {"1": "a dog runs fast zz qq", "2": "x"}).per_image["1"]["CIDEr-D"]
    same = evaluate(references, {"1": "a dog runs fast zz zz", "2": "x"}).per_image["1"]["CIDEr-D"]
    assert known > one > two > same > 0


def test_signature_says_what_the_score_depends_on() -> None:
    from showtell import __version__

    scores = evaluate(REFERENCES, CANDIDATES)
    assert scores.signature == (
        f"showtell:{__version__}|tok:ptb-3.4.1|refs:2|images:3|metrics:bleu4+rouge-l+cider-d|df:evaluated"
    )
    uneven = evaluate(REFERENCES | {"3": ["a bus"]}, CANDIDATES, metrics=["rouge"])
    assert uneven.signature == f"showtell:{__version__}|tok:ptb-3.4.1|refs:1-2|images:3|metrics:rouge-l"


def test_only_the_metrics_asked_for_are_computed() -> None:
    assert list(evaluate(REFERENCES, CANDIDATES, metrics=("cider",)).values) == ["CIDEr-D"]
    with pytest.raises(ConfigError, match=r"unknown metric 'cidr'.*Did you mean 'cider'"):
        evaluate(REFERENCES, CANDIDATES, metrics=("cidr",))


def test_table_shows_scores_times_a_hundred_and_the_signature() -> None:
    scores = Scores({"BLEU-4": 0.1919, "CIDEr-D": 0.47}, {}, "sig", 1, (5, 5), 0, [])
    assert scores.table() == "BLEU-4  CIDEr-D\n 19.19    47.00\nsig"


def test_unequal_keys_are_refused_and_all_are_named() -> None:
    references = {f"{place}": ["a dog"] for place in range(30)}
    candidates = {f"{place}": "a dog" for place in range(12, 32)}
    with pytest.raises(ScoreError) as caught:
        evaluate(references, candidates)
    text = str(caught.value)
    assert "12 of 30 images have no candidate (0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more)" in text
    assert "2 candidates are for images without references (30, 31)" in text


def test_an_image_without_references_is_refused() -> None:
    with pytest.raises(ScoreError, match=r"needs a list of references: found 1 without \(2\)"):
        evaluate({"1": ["a dog"], "2": []}, {"1": "a", "2": "a"})
    with pytest.raises(ScoreError, match="nothing to score: found no references"):
        evaluate({}, {})


def test_several_candidates_for_one_image_are_refused() -> None:
    with pytest.raises(ScoreError, match=r"a candidate must be one caption: found list for 1 images \(1\)"):
        evaluate(REFERENCES, {**CANDIDATES, "1": ["a", "b"]})  # type: ignore[dict-item]
