"""Pages as jinja2 templates of this folder: HTML and SVG escape text, Markdown (``*.md``) does so by a filter."""

import re
from collections.abc import Collection, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

NOTHING = "–"


def render(template: str, **values: Any) -> str:
    """Return a template of this folder filled with values."""
    return _environment().get_template(template).render(values)


def percent(value: float | None, missing: str = NOTHING) -> str:
    """Return a score times 100."""
    return missing if value is None else f"{100 * value:.2f}"


def markdown_table(
    head: Collection[str], rows: Iterable[Iterable[str]], *, align_numbers: bool = False
) -> str:
    """Return a Markdown table; ``align_numbers``: columns of numbers are aligned to the right."""
    # A cell must not end its column or line.
    safe = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    rule = [
        "---:" if align_numbers and all(map(_is_number, column[1:])) else "---"
        for column in zip(head, *safe, strict=True)
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *safe))


@cache
def _environment() -> Environment:
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=lambda name: name is None or not name.endswith(".md"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Keys keep their order, and a value that is not finite is an error: browsers cannot parse it.
    environment.policies["json.dumps_kwargs"] = {
        "ensure_ascii": False,
        "separators": (",", ":"),
        "allow_nan": False,
    }
    environment.globals["asset"] = lambda name: Markup((folder / name).read_text(encoding="utf-8"))
    environment.globals["markdown_table"] = markdown_table
    environment.filters |= {"code_spans": _code_spans, "markdown": _escape_markdown, "percent": percent}
    return environment


def _code_spans(text: str) -> Markup:
    """Return text whose parts between backticks are shown as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _escape_markdown(text: str) -> str:
    """Return text in one line that Markdown and HTML leave as it is."""
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(sign, entity)
    return " ".join(re.sub(r"([\\`*_\[\]|])", r"\\\1", text).split())


def _is_number(cell: str) -> bool:
    return cell[:1] in "0123456789+-" or cell == NOTHING
