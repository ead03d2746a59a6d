"""Decoding options: bounds, typos, which method is meant."""

from __future__ import annotations

from typing import Any

import pytest

from showtell.config.generation import DecodingOptions, build_options, override
from showtell.errors import ConfigError


def test_defaults_are_a_beam_of_three() -> None:
    options = build_options()
    assert (options.method, options.beam_size, options.length_penalty) == ("beam", 3, 1.0)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"beam": 3}, r"unknown key 'beam'\. Did you mean 'beam_size'\?"),
        ({"beams": 3}, r"unknown key 'beams'\. It is called beam_size now"),
        ({"zebra": 1}, r"unknown key 'zebra'\. Known: bad_endings, beam_groups, beam_size, beginning"),
        ({"beam_size": 0}, r"'beam_size': Input should be greater than or equal to 1 \(found 0\)"),
        ({"beam_size": "three"}, r"'beam_size': .*valid integer.*\(found 'three'\)"),
        ({"method": "beam_size"}, r"'method': Input should be 'beam', 'greedy' or 'sample'"),
        ({"temperature": 0}, r"'temperature': Input should be greater than 0"),
        ({"top_p": 1.5}, r"'top_p': Input should be less than or equal to 1"),
        (
            {"min_tokens": 9, "max_tokens": 5},
            r"'min_tokens': more than max_tokens, 5 \(found 9\)",
        ),
        (
            {"beam_size": 6, "beam_groups": 4},
            r"'beam_groups': beam_size, 6, is no multiple of it \(found 4\)",
        ),
        ({"forbidden": ["a", 1]}, r"'forbidden': Input should be a valid string \(found \['a', 1\]\)"),
        ({"required": [["a"]]}, r"'required': Input should be a valid string"),
        ({"beam_size": 0, "top_q": 1}, r"'beam_size'.* \| unknown key 'top_q'"),
    ],
)
def test_all_problems_are_in_one_message(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build_options(**values)


@pytest.mark.parametrize(
    ("values", "method"),
    [
        ({}, "greedy"),
        ({"beam_size": 5}, "beam"),
        ({"temperature": 0.5}, "sample"),
        ({"samples": 2, "top_p": 0.9}, "sample"),
        ({"max_tokens": 5}, "greedy"),
        ({"beam_groups": 3}, "beam"),
        ({"method": "beam", "seed": 3}, "beam"),
    ],
)
def test_an_option_of_one_method_implies_it(values: dict[str, Any], method: str) -> None:
    options = override(DecodingOptions(method="greedy", max_tokens=12), **values)
    assert options.method == method
    assert options.max_tokens == values.get("max_tokens", 12)


def test_options_of_two_methods_are_refused() -> None:
    words = r"conflicting decoding options: found beam_size \(method beam\); seed, top_k \(method sample\)"
    with pytest.raises(ConfigError, match=words):
        override(DecodingOptions(), beam_size=3, top_k=5, seed=1)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"method": "greedy", "temperature": 0.5, "seed": 1}, "seed, temperature, with method 'greedy'"),
        ({"method": "sample", "beam_size": 5}, "beam_size, with method 'sample'"),
        ({"method": "beam", "samples": "4"}, "samples, with method 'beam'"),
    ],
)
def test_options_of_another_method_than_the_requested_one_are_refused(
    values: dict[str, Any], found: str
) -> None:
    with pytest.raises(ConfigError, match=rf"found {found}\. Omit them, or the method"):
        override(DecodingOptions(), **values)


def test_every_option_with_its_usual_value_is_no_conflict() -> None:
    usual = {
        "beam_size": "3",
        "beam_groups": "1",
        "samples": "1",
        "temperature": "1.0",
        "top_k": "0",
        "top_p": "1",
    }
    assert override(DecodingOptions(), method="sample", **usual) == DecodingOptions(method="sample")


@pytest.mark.parametrize(
    "values", [{"neighbours": 60}, {"retrieval": "off", "retrieval_weight": 8.0}, {"retrieve_caption": False}]
)
def test_options_of_retrieval_are_refused_where_it_is_off(values: dict[str, Any]) -> None:
    name = list(values)[-1]
    with pytest.raises(ConfigError, match=rf"found {name}, with retrieval 'off'\. Omit"):
        override(DecodingOptions(), **values)
    on = override(DecodingOptions(retrieval="rerank"), **{name: values[name]})
    assert getattr(on, name) == values[name]


def test_a_diversity_penalty_needs_groups() -> None:
    with pytest.raises(
        ConfigError, match=r"found diversity_penalty of one group\. Omit it; or add beam_groups"
    ):
        override(DecodingOptions(), diversity_penalty=1.0)
    assert override(DecodingOptions(beam_groups=3), diversity_penalty=1.0).diversity_penalty == 1


def test_options_cannot_be_changed() -> None:
    with pytest.raises(Exception, match="frozen"):
        DecodingOptions().beam_size = 5  # type: ignore[misc]
