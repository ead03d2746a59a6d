"""The tokenizer: vocabularies of each kind, round trip, specials, files."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import models

from showtell.config.tokenizer import TokenizerKind
from showtell.errors import CheckpointError, ConfigError, DataError, MissingExtraError
from showtell.text.caption_form import CaptionForm
from showtell.tokenizer import SPECIALS, Tokenizer

CAPTIONS = [
    "A man 's dog runs through the grass .",
    "Two dogs run in the snow , one brown and one black .",
    'A girl in a t-shirt holds a sign that says " hello " .',
    "The child is wearing the man's hat !",
    "Ein Mädchen läuft über die Straße.",
    "一个男人在草地上奔跑。",
    "犬 が T恤 の 上 を 走っている",
    "สุนัขวิ่งบนสนามหญ้า 50% of $5 2.3 m",
    "1girl, long_hair, saber_(fate)",
]
KINDS: list[TokenizerKind] = ["words", "bpe", "icu", "characters", "tags"]
FITTED = {
    kind: Tokenizer.fit(CAPTIONS, kind=kind, min_count=1, max_size=400 if kind == "bpe" else None)
    for kind in KINDS
}
WORDS, PIECES, SEGMENTS, CHARACTERS, TAGS = FITTED.values()

any_text = st.text(st.characters(exclude_categories=()), max_size=40)
odd_text = st.text("aB1 '’-.,:%$&<>|_/()🏽☆°½的ガ、。นี១\u0301\u200b\n", max_size=12)
known_text = st.lists(st.sampled_from(" ".join(CAPTIONS).split()), max_size=12).map(" ".join)


@pytest.mark.parametrize("kind", ["words", "bpe", "icu", "characters"])
@given(known_text)
def test_decoding_gives_back_the_normal_form_of_known_words(kind: TokenizerKind, text: str) -> None:
    tokenizer = FITTED[kind]
    ids = tokenizer.encode(text)
    assume(tokenizer.unk_id not in ids)  # "'s" alone is "s"
    assert tokenizer.decode(ids) == tokenizer.normalize(text)


@pytest.mark.parametrize("kind", KINDS)
@given(st.one_of(any_text, odd_text))
def test_normalizing_any_text_is_idempotent(kind: TokenizerKind, text: str) -> None:
    tokenizer = FITTED[kind]
    assert tokenizer.normalize(tokenizer.normalize(text)) == tokenizer.normalize(text)


@pytest.mark.parametrize("kind", ["words", "icu", "characters", "tags"])
@given(st.one_of(any_text, odd_text))
def test_a_vocabulary_of_a_text_gives_it_back(kind: TokenizerKind, text: str) -> None:
    normalized = FITTED[kind].normalize(text)
    if normalized:
        fitted = Tokenizer.fit([text], kind=kind, min_count=1)
        ids = fitted.encode(text)
        assert fitted.decode(ids) == normalized
        assert all(len(SPECIALS) <= index < fitted.size for index in ids)


@given(st.one_of(any_text, odd_text))
def test_pieces_give_back_any_text(text: str) -> None:
    ids = PIECES.encode(text)
    assert PIECES.decode(ids) == PIECES.normalize(text)
    assert all(index >= len(SPECIALS) for index in ids)


@given(
    st.lists(
        st.one_of(st.sampled_from(["dog", "snow", "the", "unk", "pad"]), st.text("xyzé日", min_size=1)),
        max_size=8,
    )
)
def test_unknown_words_and_nothing_else_become_the_unknown_id(words: list[str]) -> None:
    known = {"dog", "snow", "the"}
    assert [index == WORDS.unk_id for index in WORDS.encode(" ".join(words))] == [
        one not in known for one in words
    ]


@pytest.mark.parametrize("kind", KINDS)
@given(st.one_of(any_text, odd_text))
def test_encoding_any_text_never_gives_an_id_that_is_no_word(kind: TokenizerKind, text: str) -> None:
    tokenizer = FITTED[kind]
    ids = tokenizer.encode(text)
    assert not {tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id} & set(ids)
    groups = tokenizer.word_groups(ids)
    assert sorted({place for group in groups for place in group}) == [
        place for group in groups for place in group
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spelling", SPECIALS)
def test_spellings_of_specials_in_user_text_are_ordinary_text(kind: TokenizerKind, spelling: str) -> None:
    tokenizer = FITTED[kind]
    bare = spelling.strip("<>")
    assert tokenizer.encode(spelling) == tokenizer.encode(bare)
    fitted = Tokenizer.fit([f"{spelling}, {spelling}"], kind=kind, min_count=1)
    assert fitted.decode(fitted.encode(spelling)) == bare


@pytest.mark.parametrize("kind", KINDS)
def test_specials_are_four_fixed_ids_and_are_never_text(kind: TokenizerKind) -> None:
    tokenizer = FITTED[kind]
    specials = [tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id]
    assert specials == [0, 1, 2, 3]
    dog = Tokenizer.fit(["dog"], kind=kind, min_count=1).encode("dog")
    assert dog
    assert 3 not in dog
    fitted = Tokenizer.fit(["dog"], kind=kind, min_count=1)
    assert fitted.decode([1, *dog, 3, 2, 0]) == "dog"
    assert fitted.words([1, *dog, 3, 2, 0]) == ["dog"]
    assert tokenizer.decode([]) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_captions_does_not_change_the_vocabulary(kind: TokenizerKind) -> None:
    shuffled = [*CAPTIONS]
    random.Random(3).shuffle(shuffled)
    assert shuffled != CAPTIONS
    again = Tokenizer.fit(shuffled, kind=kind, min_count=1, max_size=400 if kind == "bpe" else None)
    assert again.sha256 == FITTED[kind].sha256


def test_words_are_ordered_by_count_and_ties_by_spelling() -> None:
    tokenizer = Tokenizer.fit(["b c a c", "rare"], min_count=1)
    assert tokenizer.size == len(SPECIALS) + 4
    assert tokenizer.words(range(tokenizer.size)) == ["c", "a", "b", "rare"]


def test_rare_words_are_left_out() -> None:
    tokenizer = Tokenizer.fit(["dog dog cat"], min_count=2)
    assert tokenizer.encode("dog cat") == [4, tokenizer.unk_id]
    assert Tokenizer.fit(["dog dog cat"], min_count=1, max_size=5).size == 5


def test_a_possessive_is_a_word_of_its_own_and_is_joined_in_the_text() -> None:
    ids = WORDS.encode("the dog's hat")
    assert WORDS.words(ids) == ["the", "dog", "'s", "hat"]
    assert WORDS.decode(ids) == "the dog's hat"


def test_word_groups_cover_the_pieces_of_each_word() -> None:
    ids = [PIECES.bos_id, *PIECES.encode("the xylophone runs"), PIECES.eos_id]
    groups = PIECES.word_groups(ids)
    assert [position for group in groups for position in group] == list(range(1, len(ids) - 1))
    assert len(groups) == 3
    assert PIECES.words(ids) == ["the", "xylophone", "runs"]


def test_text_without_spaces_is_segmented_and_joined_without_spaces() -> None:
    assert SEGMENTS.words(SEGMENTS.encode("一个男人在草地上奔跑")) == [
        "一个",
        "男人",
        "在",
        "草地",
        "上",
        "奔跑",
    ]
    ids = SEGMENTS.encode("สุนัขวิ่งบนสนามหญ้า 50% of the man's T恤")
    assert SEGMENTS.words(ids) == [
        "สุนัข",
        "วิ่ง",
        "บน",
        "สนาม",
        "หญ้า",
        "50",
        "%",
        "of",
        "the",
        "man",
        "'s",
        "t",
        "恤",
    ]
    assert SEGMENTS.decode(ids) == "สุนัขวิ่งบนสนามหญ้า50% of the man's t恤"


def test_characters_are_those_that_a_reader_sees() -> None:
    ids = CHARACTERS.encode("วิ่ง the dog 上")
    assert CHARACTERS.decode(ids) == "วิ่งthe dog上"
    assert CHARACTERS.words(ids) == ["วิ่", "ง", "the", "dog", "上"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1girl, long hair,blue_eyes , ", ["1girl", "long hair", "blue eyes"]),
        ("1girl long_hair saber_(fate) ^_^", ["1girl", "long hair", "saber (fate)", "^_^"]),
        (r"Saber \(Fate\), >_<, :d", ["saber (fate)", ">_<", ":d"]),
        ("长发，1girl、solo\nsmile", ["长发", "1girl", "solo", "smile"]),
        ("long hair", ["long hair"]),
    ],
)
def test_tags_keep_their_order_and_brackets(text: str, expected: list[str]) -> None:
    tokenizer = Tokenizer.fit([text], kind="tags", min_count=1)
    ids = tokenizer.encode(text)
    assert tokenizer.words(ids) == expected
    assert tokenizer.decode(ids) == ", ".join(expected) == tokenizer.normalize(text)


def test_the_language_has_its_own_lower_case(tmp_path: Path) -> None:
    plain, turkish = (Tokenizer.fit(["Işık İz"], language=language, min_count=1) for language in (None, "tr"))
    assert plain.normalize("Işık İz I\u0307z") == "işık iz iz"
    assert turkish.normalize("Işık İz I\u0307z") == "ışık iz iz"
    turkish.save(tmp_path / "tokenizer.json")
    assert Tokenizer.load(tmp_path / "tokenizer.json").normalize("IŞIK") == "ışık"


def test_decoding_needs_no_segmenter(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = SEGMENTS.encode("一个男人")
    monkeypatch.setitem(sys.modules, "icu4py.breakers", None)
    assert SEGMENTS.decode(ids) == "一个男人"
    assert SEGMENTS.words(ids) == ["一个", "男人"]
    with pytest.raises(MissingExtraError, match=r"the tokenizer kind icu is not available: .*\[languages\]"):
        SEGMENTS.encode("一个男人")


def test_half_a_character_is_no_text() -> None:
    half = PIECES.encode("日")[:-1]
    assert PIECES.decode(half) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_saving_and_loading_changes_nothing(kind: TokenizerKind, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    FITTED[kind].save(path)
    loaded = Tokenizer.load(path)
    assert (loaded.kind, loaded.sha256, loaded.size) == (kind, FITTED[kind].sha256, FITTED[kind].size)
    for text in [*CAPTIONS, "<bos> \ud800 unseen 日本"]:
        assert loaded.encode(text) == FITTED[kind].encode(text)
        assert loaded.decode(loaded.encode(text)) == FITTED[kind].decode(loaded.encode(text))


@pytest.mark.parametrize("kind", ["words", "bpe"])
def test_a_captioner_with_the_earlier_normal_form_keeps_it(kind: TokenizerKind, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    FITTED[kind].save(path)
    content = json.loads(path.read_text(encoding="utf-8"))
    earlier = json.loads(CaptionForm(kind, earlier=True).pipeline(models.WordLevel()).to_str())
    content.update({part: earlier[part] for part in ("normalizer", "pre_tokenizer")})
    path.write_text(json.dumps(content), encoding="utf-8")
    loaded = Tokenizer.load(path)
    assert loaded.normalize("½ of 50% | the man 's Ｔ-shirt") == "1 2 of 50 the man's t-shirt"
    assert loaded.decode(FITTED[kind].encode("the man's hat")) == "the man's hat"


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    WORDS.save(path)
    whole = path.read_bytes().rstrip()
    for end in range(0, len(whole), 97):
        path.write_bytes(whole[:end])
        with pytest.raises(CheckpointError, match=r"cannot read the tokenizer .*tokenizer\.json"):
            Tokenizer.load(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        Tokenizer.load(tmp_path / "tokenizer.json")


def _model_of_another_kind(content: dict[str, object]) -> None:
    content["model"] = {"type": "Unigram", "unk_id": None, "vocab": [["a", 0.0]], "byte_fallback": False}


def _other_first_tokens(content: dict[str, object]) -> None:
    content["model"]["vocab"] = {"a": 0, "b": 1, "c": 2, "<unk>": 3}  # type: ignore[index]


def _gap(content: dict[str, object]) -> None:
    content["model"]["vocab"]["zebra"] = 10_000  # type: ignore[index]


def _no_normalizer(content: dict[str, object]) -> None:
    content["normalizer"] = None


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_model_of_another_kind, "model Unigram.*expected WordLevel or BPE"),
        (_other_first_tokens, "first tokens"),
        (_gap, "ids with gaps or duplicates"),
        (_no_normalizer, "another normalizer"),
    ],
)
def test_a_foreign_tokenizer_is_refused(damage: object, words: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    WORDS.save(path)
    content = json.loads(path.read_text(encoding="utf-8"))
    damage(content)  # type: ignore[operator]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(CheckpointError, match=f"is not a showtell tokenizer: found {words}"):
        Tokenizer.load(path)


def test_fitting_refuses_what_cannot_be() -> None:
    with pytest.raises(DataError, match="3 distinct words, none of them 5 times"):
        Tokenizer.fit(["a dog runs"])
    with pytest.raises(ConfigError, match="max_size is out of range: found 200; expected 260 or more"):
        Tokenizer.fit(["a dog"], kind="bpe", max_size=200)
    with pytest.raises(ConfigError, match="min_count is out of range"):
        Tokenizer.fit(["a dog"], min_count=0)
    with pytest.raises(ConfigError, match="unknown tokenizer language 'de'"):
        Tokenizer.fit(["a dog"], language="de")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="unknown tokenizer kind 'chars'"):
        Tokenizer.fit(["a dog"], kind="chars")  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["words", "bpe"])
def test_captions_keep_their_penn_treebank_tokens(kind: TokenizerKind, shared_data: Path) -> None:
    from showtell.metrics.ptb_tokenizer import tokenize

    lines = (shared_data / "data/flickr8k/Flickr8k.token.txt").read_text(encoding="utf-8").splitlines()
    captions = [line.split("\t", 1)[1] for line in lines]
    tokenizer = Tokenizer.fit(captions, kind=kind, min_count=1)
    decoded = [tokenizer.decode(tokenizer.encode(caption)) for caption in captions]
    pairs = zip(tokenize(captions), tokenize(decoded), strict=True)
    # 24 of 35,005: abbreviations with points, brackets.
    assert sum(before != after for before, after in pairs) <= 24
