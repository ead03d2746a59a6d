"""Templates: a value is never searched again, and JSON never leaves its script element."""

from __future__ import annotations

import json

import pytest

from showtell.report.template import embed_json, fill, render


def test_filling_never_looks_into_values() -> None:
    assert fill("{{a}}-{{b}}", {"a": "{{b}}", "b": "2"}) == "{{b}}-2"
    with pytest.raises(KeyError, match="missing"):
        fill("{{missing}}", {})


def test_embedded_json_cannot_end_its_script_and_stays_the_same_value() -> None:
    value = {"text": "</script><!-- & \u2028", "number": 1.5}
    text = embed_json(value)
    assert "<" not in text
    assert ">" not in text
    assert json.loads(text) == value


def test_title_and_headline_are_text() -> None:
    page = render("<b>", "a & b", "<p>main</p>")
    assert "<title>&lt;b&gt;</title>" in page
    assert '<p class="headline">a &amp; b</p>' in page
    assert "<p>main</p>" in page
