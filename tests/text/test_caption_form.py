"""The text side of tokenizers: what is saved says what is done."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import models

from showtell.text.caption_form import KNOWN_FORMS, CaptionForm
from showtell.text.normal_form import fold

WORDS = CaptionForm("words")
any_text = st.text(st.characters(exclude_categories=()), max_size=40)
odd_text = st.text("aB1 '’-.,:%$&<>|_/()🏽☆°½的ガ、。នី១\u0301\u200b\n", max_size=12)


@pytest.mark.parametrize("model", KNOWN_FORMS)
def test_no_two_forms_have_the_same_stored_parts(model: str) -> None:
    forms = KNOWN_FORMS[model]
    stored = {json.dumps(json.loads(form.pipeline(models.WordLevel()).to_str())) for form in forms}
    assert len(stored) == len(forms)


@given(st.one_of(any_text, odd_text))
def test_words_are_those_of_the_saved_pipeline(text: str) -> None:
    library = WORDS.pipeline(models.WordLevel())
    assert library.normalizer is not None
    assert WORDS.normalize(text) == library.normalizer.normalize_str(fold(text))
    assert library.pre_tokenizer is not None
    pieces = [piece for piece, _ in library.pre_tokenizer.pre_tokenize_str(WORDS.normalize(text))]
    assert WORDS.split(WORDS.normalize(text)) == pieces


@pytest.mark.parametrize("form", [form for forms in KNOWN_FORMS.values() for form in forms], ids=str)
@given(st.one_of(any_text, odd_text, st.text("'-’ a5¨´˚΅\u0301\u1fef\u1ffdﹰ", max_size=6)))
@example("¨'a")
@example("\u0301-5")
@example("\u1ffd")
def test_every_form_is_idempotent(form: CaptionForm, text: str) -> None:
    assert form.normalize(form.normalize(text)) == form.normalize(text)


def test_units_are_tokens_of_their_own_and_are_joined_again() -> None:
    for kind in ("words", "icu"):
        form = CaptionForm(kind)
        tokens = form.split(form.normalize("50 % of $ 5, the man 's 3/4"))
        assert tokens == ["50", "%", "of", "$", "5", "the", "man", "'s", "3/4"]
        assert form.join(tokens) == "50% of $5 the man's 3/4"
