"""A section of photographs with their captions, for those that belong to no prepared set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from showtell.report.pictures import thumbnail


@dataclass(frozen=True)
class ExamplePhoto:
    """A photograph that was captioned.

    Attributes:
        path: Where it lies.
        caption: What was said of it.
        credit: What it is, whose and under which licence.
    """

    path: Path
    caption: str
    credit: str


def photographs_section(photographs: Sequence[ExamplePhoto]) -> str:
    """Return photographs, captions and credits as HTML; nothing where there are none."""
    if not photographs:
        return ""
    items = "".join(
        f'<li class="card"><div class="view"><div class="frame">{_image(one.path)}</div></div>\n'
        f'<div class="text"><p class="words">{escape(one.caption)}</p>'
        f'<p class="facts">{escape(one.credit)}</p></div></li>\n'
        for one in photographs
    )
    return (
        '<section aria-labelledby="photographs">\n<h2 id="photographs">Real photographs</h2>\n'
        f'<ol class="grid">\n{items}</ol>\n</section>'
    )


def _image(path: Path) -> str:
    data = thumbnail(path)
    return "picture not found" if data is None else f'<img src="{data}" alt="">'
