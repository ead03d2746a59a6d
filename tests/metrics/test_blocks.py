"""Scores are those of the plain definitions, whatever the block, the files' order, and the size of the set."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.metrics import oracle

from showtell.errors import ScoreError
from showtell.metrics import Scorer, Scores, blocks, caption_table, evaluate
from showtell.metrics import ptb_tokenizer as ptb
from showtell.metrics.ngrams import Captions
from showtell.metrics.rouge import rouge_l
from showtell.metrics.score_files import score_files

TEXT = "a dog dog's runs on the Red bus man . , 2 1/2 St. x. ... wanna can't tee-shirt <b> é"
WORDS = [*TEXT.split(" "), "\u00a0"]
caption = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)
corpora = st.dictionaries(
    st.text(max_size=3), st.tuples(st.lists(caption, min_size=1, max_size=4), caption), min_size=1
)


def made_up(
    num_images: int, seed: int = 0, *, odd: float = 0.1
) -> tuple[dict[str, list[str]], dict[str, str]]:
    random = Random(seed)
    kinds = [[f"w{one}{other}" for one in "aeiou" for other in "bcdfghklmnpr"], WORDS]

    def one() -> str:
        return " ".join(random.choice(kinds[random.random() < odd]) for _ in range(random.randint(0, 14)))

    return (
        {f"{key}": [one() for _ in range(random.randint(1, 5))] for key in range(num_images)},
        {f"{key}": one() for key in range(num_images)},
    )


def assert_same(scores: Scores, other: tuple[Mapping[str, float], Mapping[str, Mapping[str, float]]]) -> None:
    assert scores.values == pytest.approx(other[0], abs=1e-12)
    assert set(scores.per_image) == set(other[1])
    for key, row in other[1].items():
        assert scores.per_image[key] == pytest.approx(row, abs=1e-12)


def write(folder: Path, references: Mapping[str, Sequence[str]], candidates: Mapping[str, str]) -> list[Path]:
    """Write JSON lines: pictures and their captions stand anywhere."""
    random = Random(1)
    truth = [{"image": key, "caption": text} for key, texts in references.items() for text in texts]
    said = [{"key": key, "candidate": text} for key, text in candidates.items()]
    paths = [folder / "references.jsonl", folder / "candidates.jsonl"]
    for path, rows in zip(paths, (truth, said), strict=True):
        path.write_text("".join(json.dumps(row) + "\n" for row in random.sample(rows, len(rows))))
    return paths


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every part that is in memory at once small."""
    monkeypatch.setattr(blocks, "BLOCK_IMAGES", 7)
    monkeypatch.setattr(blocks, "KEYS_AT_ONCE", 100)
    monkeypatch.setattr(blocks, "_STRIDE", 8)
    monkeypatch.setattr(caption_table, "CAPTIONS_AT_ONCE", 9)


@pytest.mark.thorough
@given(corpora)
def test_scores_are_those_of_the_definitions(corpus: dict[str, tuple[list[str], str]]) -> None:
    references = {key: texts for key, (texts, _) in corpus.items()}
    candidates = {key: text for key, (_, text) in corpus.items()}
    assert_same(evaluate(references, candidates), oracle.scores(references, candidates))


@pytest.mark.parametrize(
    "block_images", [1, 10, *(pytest.param(one, marks=pytest.mark.thorough) for one in (2, 3, 1000))]
)
@pytest.mark.parametrize("few_words", [blocks.FEW_WORDS, 0])
def test_neither_blocks_nor_the_size_of_the_vocabulary_change_a_digit(
    block_images: int, few_words: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    references, candidates = made_up(23)
    monkeypatch.setattr(blocks, "BLOCK_IMAGES", block_images)
    monkeypatch.setattr(blocks, "FEW_WORDS", few_words)
    assert_same(evaluate(references, candidates), oracle.scores(references, candidates))


@pytest.mark.usefixtures("small")
def test_segment_stats_are_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    references, candidates = made_up(23)
    parts = Scorer(references).segment_stats(candidates)
    monkeypatch.setattr(blocks, "BLOCK_IMAGES", 100)
    for name, column in Scorer(references).segment_stats(candidates).items():
        np.testing.assert_allclose(parts[name], column, atol=1e-12)


@pytest.mark.thorough
@pytest.mark.usefixtures("small")
@given(corpora.filter(lambda corpus: len(corpus) > 1))
@settings(max_examples=20)
def test_files_score_like_what_is_in_them(
    tmp_path_factory: pytest.TempPathFactory, corpus: dict[str, tuple[list[str], str]]
) -> None:
    references = {key: texts for key, (texts, _) in corpus.items()}
    candidates = {key: text for key, (_, text) in corpus.items()}
    paths = write(tmp_path_factory.mktemp("files"), references, candidates)
    assert_same(score_files(*paths), oracle.scores(references, candidates))


@pytest.mark.thorough
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("form", ["lines", "coco"])
def test_large_files_in_any_order_score_like_small_ones(form: str, tmp_path: Path) -> None:
    references, candidates = made_up(100)
    paths = write(tmp_path, references, candidates)
    if form == "coco":
        rows = [json.loads(line) for line in paths[0].read_text().splitlines()]
        images = [{"id": key} for key in references]
        annotations = [{"image_id": row["image"], "caption": row["caption"]} for row in rows]
        paths[0].write_text(json.dumps({"info": {}, "images": images, "annotations": annotations}, indent=1))
        said = [{"image_id": key, "caption": text} for key, text in candidates.items()]
        paths[1].write_text(json.dumps(said))
    scores = score_files(*paths)
    assert_same(scores, oracle.scores(references, candidates))
    plain = evaluate(references, candidates)
    for name in ("signature", "num_images", "references", "empty_candidates", "notes"):
        assert getattr(scores, name) == getattr(plain, name)
    if form == "coco":
        assert list(scores.per_image) == list(references)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("seed", range(3))
def test_a_subset_of_files_scores_like_its_images_alone(seed: int, tmp_path: Path) -> None:
    references, candidates = made_up(60, seed)
    some = {key: text for key, text in candidates.items() if int(key) % 20 < 5}
    kept = {key: references[key] for key in some}
    scores = score_files(*write(tmp_path, references, some), subset=True)
    assert_same(scores, oracle.scores(kept, some))
    assert "|images:15-of-60|" in scores.signature
    assert scores.references == evaluate(kept, some).references


@pytest.mark.parametrize(
    "rows",
    [
        [{"key": "1", "caption": "a"}, {"key": "2", "captions": ["b", "c"]}],
        [{"key": "1", "caption": "a"}, {"key": "2", "caption": "b"}, {"key": "1", "caption": "a"}],
    ],
)
def test_several_candidates_in_a_file_are_refused(rows: list[dict[str, object]], tmp_path: Path) -> None:
    paths = write(tmp_path, {"1": ["a dog"], "2": ["a cat"]}, {})
    paths[1].write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ScoreError, match="several candidates for one image"):
        score_files(*paths)


@given(
    st.lists(
        st.tuples(st.integers(0, 130), st.lists(st.integers(0, 130), min_size=1, max_size=3)), min_size=1
    ),
    st.integers(0, 99),
)
@settings(max_examples=20)
def test_captions_of_any_length_have_their_longest_common_subsequences(
    lengths: list[tuple[int, list[int]]], seed: int
) -> None:
    draw = np.random.default_rng(seed)
    said = [draw.integers(1, 9, length).tolist() for length, _ in lengths]
    truth = [[draw.integers(1, 9, length).tolist() for length in others] for _, others in lengths]
    found = rouge_l(
        Captions.of(said),
        Captions.of([words for captions in truth for words in captions]),
        np.array([len(captions) for captions in truth]),
    )
    spelled = [[list(map(str, words)) for words in captions] for captions in (said, *truth)]
    wanted = [oracle.rouge(mine, others) for mine, others in zip(spelled[0], spelled[1:], strict=True)]
    np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_what_the_vocab_forgets_changes_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [text for captions in made_up(40)[0].values() for text in captions]
    monkeypatch.setattr(ptb, "MAX_CHUNKS", 5)
    vocab = ptb.TokenVocab()
    spelled = [vocab.detokenize_ids(vocab.tokens(texts[at : at + 3])) for at in range(0, len(texts), 3)]
    assert [tokens for part in spelled for tokens in part] == [oracle.tokens(text) for text in texts]


@given(st.text("abeiNOTS", min_size=2, max_size=6), st.sampled_from(["'s", "'S", "'s.", "'s,"]))
def test_a_plain_genitive_is_two_tokens_as_the_rules_say(word: str, ending: str) -> None:
    assert ptb.tokenize([word + ending]) == [oracle.tokens(word + ending)]


@pytest.mark.thorough
def test_scoring_files_keeps_a_few_numbers_of_an_image_in_memory_not_its_ngrams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_IMAGES", 50)
    monkeypatch.setattr(caption_table, "CAPTIONS_AT_ONCE", 150)
    monkeypatch.setattr(blocks, "KEYS_AT_ONCE", 5_000)
    monkeypatch.setattr(blocks, "_STRIDE", 64)
    peaks = []
    for num_images in (100, 300, 1200):  # the first also makes what is made once
        folder = tmp_path / str(num_images)
        folder.mkdir()
        paths = write(folder, *made_up(num_images, odd=0))
        gc.collect()
        tracemalloc.start()
        score_files(*paths)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[2] - peaks[1]) / 900 < 400  # bytes of an image; its n-grams take 6 kB
