"""Templates: text is escaped, and JSON never leaves its script element."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest
from jinja2 import UndefinedError

from showtell.report.templates import render


def page(**changes: object) -> str:
    run = SimpleNamespace(
        scores={},
        signature="",
        extent="",
        split="",
        recipe="",
        score_charts=[],
        step_charts=[],
        reliability_charts=[],
        predictions=[],
    )
    values = {
        "title": "t",
        "headline": "h",
        "sorted_by": "CIDEr-D",
        "cards": [],
        "photos": [],
    }
    return render("run.html", **(values | {"run": run} | changes))


def test_title_and_headline_are_text() -> None:
    html = page(title="<b>", headline="a & b {{ x }}")
    assert "<title>&lt;b&gt;</title>" in html
    assert '<p class="headline">a &amp; b {{ x }}</p>' in html


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="title"):
        render("comparison.html")


def test_embedded_json_cannot_end_its_script_and_stays_the_same_value() -> None:
    card = {"text": "</script><!-- & \u2028 'é'", "number": 1.5, "attention": None}
    html = page(cards=[card])
    text = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)[0]
    assert "<" not in text
    assert json.loads(text)["images"] == [card]
    with pytest.raises(ValueError, match="JSON"):
        page(cards=[{"number": float("nan"), "attention": None}])


def test_footnotes_may_hold_code() -> None:
    results = SimpleNamespace(signature="", split="dev", has_seeds=False)
    values = {"title": "", "headline": "", "tables": [], "results": results}
    values |= {"images": {}, "num_images": 0, "seed": 0}
    html = render("leaderboard.html", footnotes=["`<unk>` & more"], **values)
    assert "<li><code>&lt;unk&gt;</code> &amp; more</li>" in html
