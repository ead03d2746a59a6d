"""Tokenizers of scores for other languages, the choice by script, and the note where none fits."""

from __future__ import annotations

import importlib.metadata
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.errors import ConfigError, MissingExtraError
from showtell.metrics import Scorer, evaluate
from showtell.metrics.score_tokenizers import (
    SCORE_TOKENIZERS,
    fitting_tokenizer,
    load_tokenizer,
    resolve_tokenizer,
)

CHINESE = {
    "1": ["一个男人在街上骑自行车。", "男人骑着自行车。"],
    "2": ["两只狗在草地上奔跑。", "狗在草地上跑。"],
}
CANDIDATES = {"1": "一个男人在路上骑自行车", "2": "两只狗在草地上跑"}
EXPECTED = {
    "intl": ("50% of $5: It's Işık!", ["50", "%", "of", "$", "5", "it", "s", "işik"]),
    "zh": ("两只Dogs 在跑，跑。", ["两", "只", "dogs", "在", "跑", "跑"]),
    "ja": ("犬が走っている。", ["犬", "が", "走っ", "て", "いる"]),
    "char": ("Ab 跑。", ["a", "b", "跑"]),
    "none": ("Kept  as, it is .", ["Kept", "as,", "it", "is", "."]),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_tokens_are_lower_case_without_punctuation_unless_they_are_given(name: str) -> None:
    tokenize, _ = load_tokenizer(name)
    assert tokenize is not None
    text, tokens = EXPECTED[name]
    assert tokenize(text) == tokens


def test_the_signature_names_the_tokenizer_and_its_version() -> None:
    version = importlib.metadata.version("sacrebleu")
    for name in SCORE_TOKENIZERS:
        scores = evaluate(CHINESE, CANDIDATES, tokenizer=name)
        assert scores.tokenizer == name
        signed = scores.signature.split("|")[1]
        assert signed == {"ptb": "tok:ptb-3.4.1", "none": "tok:none"}.get(
            name, f"tok:{name}-sacrebleu-{version}"
        )


def test_chinese_captions_have_scores_with_their_tokenizer() -> None:
    scores = evaluate(CHINESE, CANDIDATES, tokenizer="zh")
    assert scores.values["BLEU-4"] > 0.3
    assert scores.values["CIDEr-D"] > 1
    assert scores.notes == []
    spaced = {key: [" ".join(text.rstrip("。")) for text in texts] for key, texts in CHINESE.items()}
    candidates = {key: " ".join(text) for key, text in CANDIDATES.items()}
    assert evaluate(spaced, candidates, tokenizer="none").values == scores.values


@pytest.mark.parametrize("name", ["ptb", "intl", "none"])
def test_text_without_spaces_is_noted(name: str) -> None:
    (note,) = evaluate(CHINESE, CANDIDATES, tokenizer=name).notes
    assert note.endswith("choose --tokenizer zh")


def test_text_with_spaces_is_not_noted() -> None:
    references = {"1": ["a dog runs"], "2": ["一个 男人 骑 自行车"], "3": ["собака бежит"]}
    assert evaluate(references, {key: texts[0] for key, texts in references.items()}).notes == []


@pytest.mark.parametrize(
    ("captions", "expected"),
    [
        (["一个男人穿着T恤"], "zh"),
        (["一个 男人"], "zh"),
        (["犬が走っている", "男の人がバスに乗る"], "ja"),
        (["สุนัขวิ่ง"], "char"),
        (["ឆ្កែរត់"], "char"),
        (["a dog", "a man with a 福 sign"], "ptb"),
        (["남자가 달린다"], "ptb"),
        (["собака бежит"], "ptb"),
        (["1 2 3"], "ptb"),
        ([], "ptb"),
    ],
)
def test_the_script_of_most_letters_chooses(captions: list[str], expected: str) -> None:
    assert fitting_tokenizer(captions) == resolve_tokenizer("auto", captions) == expected
    assert resolve_tokenizer("intl", captions) == "intl"


@pytest.mark.thorough
@pytest.mark.parametrize("name", SCORE_TOKENIZERS)
@given(text=st.text(st.characters(exclude_categories=()), max_size=30))
def test_any_text_is_tokenized(name: str, text: str) -> None:
    scorer = Scorer({"1": [text, "a"], "2": ["b"]}, tokenizer=name)
    assert scorer.score({"1": text, "2": "b"}).num_images == 2


def test_what_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"unknown tokenizer '13a'. Known: char, intl, ja, none, ptb, zh"):
        evaluate(CHINESE, CANDIDATES, tokenizer="13a")
    with pytest.raises(ConfigError, match="METEOR cannot be computed with the tokenizer zh"):
        Scorer(CHINESE, tokenizer="zh", meteor=object())  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "sacrebleu.tokenizers.tokenizer_zh", None)
    with pytest.raises(MissingExtraError, match=r"the tokenizer zh is not available: .*\[languages\]"):
        evaluate(CHINESE, CANDIDATES, tokenizer="zh")
    monkeypatch.setitem(sys.modules, "ipadic", None)
    with pytest.raises(MissingExtraError, match="the tokenizer ja is not available"):
        evaluate(CHINESE, CANDIDATES, tokenizer="ja")
