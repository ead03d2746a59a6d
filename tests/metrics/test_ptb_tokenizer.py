"""Tokens are the reference's, caption by caption, whatever the caption holds."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.metrics import tokenize

GOLDEN = Path(__file__).parent / "golden"


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"scoring_{name}", GOLDEN / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def reference() -> Any:
    """Ask pycocoevalcap, by the Python in SHOWTELL_COCOEVAL or our own."""
    python = os.environ.get("SHOWTELL_COCOEVAL")
    if not python and importlib.util.find_spec("pycocoevalcap"):
        python = sys.executable
    if not python:
        pytest.skip("no pycocoevalcap (set SHOWTELL_COCOEVAL to a Python that has it)")
    if not shutil.which("java"):
        pytest.skip("no java")

    def ask(question: dict[str, Any]) -> Any:
        answer = subprocess.run(
            [python, str(GOLDEN / "reference.py")],
            input=json.dumps(question),
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=True,
        )
        return json.loads(answer.stdout)

    return ask


def read_golden() -> list[list[str]]:
    """Return pairs of a string and the reference's tokens, joined."""
    return [json.loads(line) for line in (GOLDEN / "tokens.jsonl").read_text(encoding="utf-8").splitlines()]


def tokenize_joined(captions: list[str]) -> list[str]:
    return [" ".join(tokens) for tokens in tokenize(captions)]


@pytest.mark.thorough
def test_nasty_strings_have_the_reference_tokens() -> None:
    rows = read_golden()
    assert len(rows) >= 3000
    answers = tokenize_joined([caption for caption, _ in rows])
    wrong = [(row, answer) for row, answer in zip(rows, answers, strict=True) if row[1] != answer]
    assert not wrong


@pytest.mark.parametrize(
    ("caption", "tokens"),
    [
        ("A man's dog isn't here; it can't be.", "a man 's dog is n't here it ca n't be"),
        ("( a dog ) [ a cat ]", "-lrb- a dog -rrb- -lsb- a cat -rsb-"),
        ("Stop !!! Really ?! Yes .. No ...", "stop !!! really ?! yes no"),
        ("tee-shirt/hat 24/7 w/ a", "tee-shirt/hat 24/7 w / a"),
        ("cannot gonna gimme y'all 'tis '90s o'clock", "can not gon na gim me y' all 't is '90s o'clock"),
        ("St. U.S. p.m. etc. Mr. the letter A.", "st. u.s. p.m. etc. mr. the letter a"),
        ("£5 €5 #1 50% 3.5 1,000 ½ 5¢", "# 5 $ 5 # 1 50 % 3.5 1,000 1/2 5 cents"),
        ("2 1/2 dogs", "2\u00a01/2 dogs"),
        ("so\u00adft dog\u200bs 😀 ☃ <unk>", "soft dog s ☃ <unk>"),
        ("Man.In a park", "man.in a park"),
        ("", ""),
        (" . ", ""),
    ],
)
def test_oddities_are_kept(caption: str, tokens: str) -> None:
    assert tokenize_joined([caption]) == [tokens]


@pytest.mark.parametrize("mark", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\u2028", "\u2029"])
def test_line_breaks_inside_a_caption_are_spaces_and_shift_nothing(mark: str) -> None:
    captions = [f"a dog{mark}runs", "a cat", f"{mark}", "a bird"]
    assert tokenize_joined(captions) == ["a dog runs", "a cat", "", "a bird"]


@given(st.lists(st.text(max_size=25), max_size=5))
def test_a_caption_has_the_same_tokens_alone_and_among_others(captions: list[str]) -> None:
    together = tokenize(captions)
    assert together == [tokenize([caption])[0] for caption in captions]
    assert all(
        token and token == token.strip() and " " not in token for tokens in together for token in tokens
    )


CHUNKS = (
    "a dog Dog's st. A. x. 'n it's no. 5 1/2 ... . , The - U.S. wanna \"x\" dog. <a> b> (a. \u00a0 can not"
)


@given(st.lists(st.sampled_from(CHUNKS.split(" "))))
def test_remembered_chunks_change_nothing(chunks: list[str]) -> None:
    from showtell.metrics.ptb_tokenizer import _lex

    caption = " ".join(chunks)
    assert tokenize([caption])[0] == _lex(caption)


def test_a_caption_without_an_end_is_tokenised_in_reasonable_time() -> None:
    tokens = tokenize(["a" * 5000 + "," * 1000 + "b.c" * 1000])
    assert sum(map(len, tokens[0])) >= 6000


@pytest.mark.java
def test_fresh_nasty_strings_have_the_reference_tokens(reference: Any) -> None:
    strings = load_script("nasty").nasty_strings(20000, seed=int(os.environ.get("SHOWTELL_SEED", "3")))
    wanted = reference({"captions": strings})["tokens"]
    wrong = [
        (string, want, got)
        for string, want, got in zip(strings, wanted, tokenize_joined(strings), strict=True)
        if want != got
    ]
    assert not wrong


@pytest.mark.java
def test_golden_tokens_are_still_the_reference_answers(reference: Any) -> None:
    rows = read_golden()
    assert reference({"captions": [row[0] for row in rows]})["tokens"] == [row[1] for row in rows]


@pytest.mark.thorough
@pytest.mark.parametrize("corpus", ["flickr8k", "coco_val2017"])
def test_real_captions_have_the_reference_tokens(corpus: str, shared_data: Path) -> None:
    golden = load_script("make_golden")
    captions = golden.read_corpora(shared_data)[corpus]
    flat = [text for texts in captions.values() for text in texts]
    wanted = json.loads((GOLDEN / "corpora.json").read_text())[corpus]
    assert len(flat) == wanted["captions"]
    assert golden.hash_tokens(tokenize_joined(flat)) == wanted["tokens_sha256"]
