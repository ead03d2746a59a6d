"""The tokenizer: normal form, vocabulary, round trip, specials, files."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.errors import CheckpointError, ConfigError, DataError
from showtell.tokenizer import SPECIALS, Kind, Tokenizer, normalize

CAPTIONS = [
    "A man 's dog runs through the grass .",
    "Two dogs run in the snow , one brown and one black .",
    'A girl in a t-shirt holds a sign that says " hello " .',
    "The child is wearing the man's hat !",
    "Ein Mädchen läuft über die Straße.",
]
KINDS: list[Kind] = ["words", "bpe"]
WORDS = Tokenizer.fit(CAPTIONS, min_count=1)
PIECES = Tokenizer.fit(CAPTIONS, kind="bpe", min_count=1, max_size=300)
FITTED: dict[Kind, Tokenizer] = {"words": WORDS, "bpe": PIECES}

any_text = st.text(st.characters(exclude_categories=()), max_size=40)
known_text = st.lists(st.sampled_from(" ".join(CAPTIONS).split()), max_size=12).map(" ".join)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A man's T-shirt, don’t -- 'quoted'!", "a man's t-shirt don't quoted"),
        ("the man 's legs", "the man's legs"),
        ("slip 'n' slide, boys ' toys", "slip n slide boys toys"),
        ("'s", "s"),
        ("a - b -c d--e", "a b c d e"),
        ("  two\n lines\tand\u00a0more ", "two lines and more"),
        ("ﬁsh e\u0301te\u0301 ＦＵＬＬ", "fish été full"),
        ("soft\u00adhyphen \u200bzero", "softhyphen zero"),
        ("thumbs 👍🏽 1️⃣ up", "thumbs 1 up"),
        ("нет, не 犬です。", "нет не 犬です"),
        ("हिन्दी में", "हिन्दी में"),
        ("\ud800 lone", "lone"),
        ("\ud83d\ude00 pair", "pair"),
        ("<bos> <eos>", "bos eos"),
        ("", ""),
    ],
)
def test_normal_form(text: str, expected: str) -> None:
    assert normalize(text) == expected


@given(any_text)
def test_normalize_is_idempotent(text: str) -> None:
    assert normalize(normalize(text)) == normalize(text)


@pytest.mark.parametrize("kind", KINDS)
@given(known_text)
def test_decoding_gives_back_the_normal_form_of_known_words(kind: Kind, text: str) -> None:
    tokenizer = FITTED[kind]
    assert tokenizer.decode(tokenizer.encode(text)) == normalize(text)


@given(any_text)
def test_pieces_give_back_any_text(text: str) -> None:
    ids = PIECES.encode(text)
    assert PIECES.decode(ids) == normalize(text)
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


@given(any_text)
def test_encoding_any_text_never_gives_an_id_that_is_no_word(text: str) -> None:
    assert not {WORDS.pad_id, WORDS.bos_id, WORDS.eos_id} & set(WORDS.encode(text))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spelling", SPECIALS)
def test_spellings_of_specials_in_user_text_are_ordinary_text(kind: Kind, spelling: str) -> None:
    tokenizer = FITTED[kind]
    bare = spelling.strip("<>")
    assert tokenizer.encode(spelling) == tokenizer.encode(bare)
    fitted = Tokenizer.fit([f"{spelling} {spelling}"], kind=kind, min_count=1)
    assert fitted.decode(fitted.encode(spelling)) == bare


@pytest.mark.parametrize("kind", KINDS)
def test_specials_are_four_fixed_ids_and_are_never_text(kind: Kind) -> None:
    tokenizer = FITTED[kind]
    specials = [tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id]
    assert specials == [0, 1, 2, 3]
    dog = tokenizer.encode("dog")
    assert tokenizer.decode([1, *dog, 3, 2, 0]) == "dog"
    assert tokenizer.words([1, *dog, 3, 2, 0]) == ["dog"]
    assert tokenizer.decode([]) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_captions_does_not_change_the_vocabulary(kind: Kind) -> None:
    shuffled = [*CAPTIONS]
    random.Random(3).shuffle(shuffled)
    assert shuffled != CAPTIONS
    again = Tokenizer.fit(shuffled, kind=kind, min_count=1, max_size=None if kind == "words" else 300)
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


def test_half_a_character_is_no_text() -> None:
    half = PIECES.encode("日")[:-1]
    assert PIECES.decode(half) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_saving_and_loading_changes_nothing(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    FITTED[kind].save(path)
    loaded = Tokenizer.load(path)
    assert (loaded.kind, loaded.sha256, loaded.size) == (kind, FITTED[kind].sha256, FITTED[kind].size)
    for text in [*CAPTIONS, "<bos> \ud800 unseen 日本"]:
        assert loaded.encode(text) == FITTED[kind].encode(text)


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
    with pytest.raises(ConfigError, match="unknown tokenizer kind 'chars'"):
        Tokenizer.fit(["a dog"], kind="chars")  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_captions_keep_their_penn_treebank_tokens(kind: Kind, shared_data: Path) -> None:
    from showtell.metrics.ptb_tokenizer import tokenize

    lines = (shared_data / "data/flickr8k/Flickr8k.token.txt").read_text(encoding="utf-8").splitlines()
    captions = [line.split("\t", 1)[1] for line in lines]
    tokenizer = Tokenizer.fit(captions, kind=kind, min_count=1)
    decoded = [tokenizer.decode(tokenizer.encode(caption)) for caption in captions]
    pairs = zip(tokenize(captions), tokenize(decoded), strict=True)
    # 40 of 35,005: abbreviations with points, "#", "&", brackets.
    assert sum(before != after for before, after in pairs) <= 40
