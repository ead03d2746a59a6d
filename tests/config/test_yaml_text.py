"""YAML of recipes: no aliases, each key once, bounded depth and numbers, in bounded time."""

from __future__ import annotations

import time

import pytest

from showtell.config.yaml_text import MAX_CHARACTERS, parse_yaml


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a: &x 1\nb: *x", r"the alias \*x: write the value out, line 2"),
        ("a: 1\nb: 2\na: 3", "the key 'a' twice, line 3"),
        ("a: [{b: 1, b: 1}]", "the key 'b' twice"),
        ("[" * 5_000, "more than 64 levels, line 1"),
        ("- " * 5_000, "more than 64 levels"),
        ("\n".join(" " * level + "a:" for level in range(200)), "more than 64 levels"),
        ("a: " + "9" * 5_000, "a whole number of 5,000 digits, line 1"),
        ("a: 0x" + "f" * 5_000, "a whole number of 5,002 digits"),
        ("a: " + "1:" * 5_000 + "1.5", "too large|the number inf"),
        ("a: .nan", "the number nan"),
        ("a: -.inf", "the number -inf"),
        ("a: [", "expected (the )?node content"),
        ("a: \0", "(special|control) characters are not allowed"),
        ("!!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("? [1]\n: 2", "unhashable key"),
        ("a" * (MAX_CHARACTERS + 1), "more than 65,536 characters"),
    ],
)
def test_odd_yaml_is_refused_in_words(text: str, found: str) -> None:
    with pytest.raises(ValueError, match=found) as error:
        parse_yaml(text)
    assert len(str(error.value)) < 400


@pytest.mark.thorough
@pytest.mark.parametrize(
    "text", ["a: [" + "1," * 32_000 + "]", "\n".join(f"k{key}: 1" for key in range(7_000))]
)
def test_the_longest_texts_take_seconds(text: str) -> None:
    started = time.process_time()
    parse_yaml(text)
    assert time.process_time() - started < 20


def test_ordinary_yaml_is_read() -> None:
    text = "a: {b: [1, 2.5, text, null, true]}\nc: 3e-4\nd:\n- e: 0x1f\n"
    assert parse_yaml(text) == {"a": {"b": [1, 2.5, "text", None, True]}, "c": "3e-4", "d": [{"e": 31}]}
