"""Filling the pages' templates: values enter in one pass and are never searched again, nothing is ever fetched."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html import escape
from importlib import resources
from typing import Any


def render(title: str, headline: str, main: str, *, script: str = "") -> str:
    """Return a whole page.

    Args:
        title: Plain text.
        headline: Plain text under it.
        main: The page's body, as HTML.
        script: The scripts behind it, as HTML.
    """
    values = {
        "title": escape(title),
        "headline": escape(headline),
        "style": asset("page.css"),
        "main": main,
        "script": script,
    }
    return fill(asset("frame.html"), values)


def fill(template: str, values: Mapping[str, str]) -> str:
    """Put values into the places ``{{name}}`` of a template, in one pass: a value is never searched again.

    Raises:
        KeyError: a place has no value.
    """
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)


def embed_json(value: Any) -> str:
    """Return JSON that may stand in a script element: no ``<`` and ``>``, hence no end tag and no comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def asset(name: str) -> str:
    """Return the text of a file that lies beside this module."""
    return resources.files("showtell.report").joinpath(name).read_text(encoding="utf-8")
