"""The normal form of captions, and what it drops."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from showtell.metrics import tokenize
from showtell.text.normal_form import dropped_tokens, normalize

WORDS_AND_SIGNS = """
a Dog man's don't T-shirt 2.3 50% % $5 m² 20 °C 20° + & = | || < > # * @ ~ ^ ★ → ♥ c++ -5 10-15 3:30 1,000 c_d
and/or x . , ; ! ? : -- " 😀 été ℃ №
"""
any_text = st.text(st.characters(exclude_categories=()), max_size=40)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A man's T-shirt, don’t -- 'quoted'!", "a man's t-shirt don't quoted"),
        ("the man 's legs", "the man's legs"),
        ("slip 'n' slide, boys ' toys", "slip n slide boys toys"),
        ("'s", "s"),
        ("a - b -c d--e", "a b c d e"),
        ("  two\n lines\tand\u00a0more ", "two lines and more"),
        ("ﬁsh e\u0301te\u0301 ＦＵＬＬ １２％", "fish été full 12%"),
        ("soft\u00adhyphen \u200bzero", "softhyphen zero"),
        ("thumbs👍🏽 1️⃣ up", "thumbs 👍🏽 1 up"),
        ("нет, не 犬です。", "нет не 犬です"),
        ("हिन्दी में", "हिन्दी में"),
        ("\ud800 lone", "lone"),
        ("\ud83d\ude00 pair", "😀 pair"),
        ("<bos> <eos>", "bos eos"),
        ("", ""),
        ("2.3 m, 50 % of 1,000 at 3:30.", "2.3 m 50% of 1,000 at 3:30"),
        ("$ 5 or €5, 3/4 & ½, m² + 10²", "$5 or €5 3/4 & ½ m² + 10²"),
        ("-5 °C, 20°C, 5 - 3, 10-15 ℃", "-5 °c 20 °c 5 3 10-15 ℃"),
        ("O | || = a=b <3 -> ★", "o | || = a = b < 3 > ★"),
        ("c++ AT&T #1 @home and/or a_b *", "c++ at&t #1 @home and/or a_b *"),
        ("有3，4只：ｶﾞ", "有3 4只 ガ"),
        ("İstanbul I\u0307z IŞIK", "istanbul iz işik"),
    ],
)
def test_normal_form(text: str, expected: str) -> None:
    assert normalize(text) == expected


spacing_accents = st.sampled_from("`´¨¯¸˘˙˚˛˜˝ͺ΄΅᾽᾿῀῁῍῎῏῝῞῟῭΅\u1fef\u1ffd῾￣゛゜ﹰﱞ")
accents_beside_marks = st.lists(st.one_of(spacing_accents, st.sampled_from("'-’ a5s\u0301")), max_size=6).map(
    "".join
)


@given(st.one_of(any_text, accents_beside_marks))
@example("\u1fef")
@example("a\u1ffd's")
def test_normalize_is_idempotent(text: str) -> None:
    assert normalize(normalize(text)) == normalize(text)


@given(
    st.lists(
        st.sampled_from(WORDS_AND_SIGNS.split()),
        max_size=8,
    ).map(" ".join)
)
@example("3/4 of 1/2 , ½ and 2½")
def test_the_scores_see_the_same_tokens_in_the_normal_form(text: str) -> None:
    assert tokenize([normalize(text)]) == tokenize([text])


@pytest.mark.parametrize(
    ("text", "original", "normal"),
    [
        ("wears Mr. Potato head", "wears mr. potato head", "wears mr potato head"),
        ("in Washington D.C.", "in washington d.c.", "in washington d c"),
        ("a statefarm.com hat", "a statefarm.com hat", "a statefarm com hat"),
        ("a slip 'n' slide", "a slip 'n' slide", "a slip n slide"),
        ("An ant 's-eye-view", "an ant 's eye-view", "an ant s-eye-view"),
        ("one ( in red ) runs", "one -lrb- in red -rrb- runs", "one in red runs"),
    ],
)
def test_words_with_punctuation_of_their_own_and_parentheses_are_other_tokens_in_the_normal_form(
    text: str, original: str, normal: str
) -> None:
    assert tokenize([text, normalize(text)]) == [original.split(), normal.split()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('A dog , " red " ( big ) -- runs ... !', []),
        ("O | || 😀 50% €", []),
        ("O -", ["-"]),
        ("- O", ["-"]),
        ("? yes", ["?"]),
        ("-- !", ["--", "!"]),
        ("O - E ( 2 )", ["-", "(", ")"]),
        ("one - two ?", []),
        ("dots • § ‡ ok", ["•", "§", "‡"]),
        ("broken \ufffd text", ["\ufffd"]),
        ("", []),
    ],
)
def test_what_the_normal_form_drops_is_listed(text: str, expected: list[str]) -> None:
    assert dropped_tokens(text) == expected
