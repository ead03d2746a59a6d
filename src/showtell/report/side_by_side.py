"""What several captioners and a person say of the same pictures, on one self-contained page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from showtell.report.pictures import thumbnail
from showtell.report.tables import TextTable, html_text_table
from showtell.report.template import asset, fill, render
from showtell.system.atomic import write_text
from showtell.system.console import progress


@dataclass(frozen=True)
class SystemCaption:
    """A caption.

    Attributes:
        by: Who said it.
        text: The caption.
        score: Its CIDEr-D, 0..10.
        is_human: A person did.
    """

    by: str
    text: str
    score: float
    is_human: bool = False


@dataclass(frozen=True)
class ImageWithCaptions:
    """A picture, and what was said about it, in the same order for every picture."""

    key: str
    picture: Path
    captions: Sequence[SystemCaption]


def write_side_by_side(
    out: Path,
    pictures: Sequence[ImageWithCaptions],
    *,
    title: str,
    headline: str = "",
    hint: str = "",
    tables: Sequence[TextTable] = (),
    signature: str = "",
    remarks: Sequence[str] = (),
) -> Path:
    """Write the page; pictures of 240 pixels stand inside it (about 20 kB each), nothing is fetched.

    Args:
        out: Where to.
        pictures: In the order they are shown.
        title: Plain text, as is all that follows.
        headline: One sentence under it.
        hint: Which pictures these are.
        tables: Shown above the pictures.
        signature: What the tables' scores depend on.
        remarks: Below them; what stands between backticks is shown as code.

    Raises:
        DataError: the page cannot be written.
    """
    cards = []
    with progress("page", len(pictures), unit="pictures") as advance:
        for shown in pictures:
            cards.append(_card(shown))
            advance(1, "")
    sections = [_section(f"table-{place}", one) for place, one in enumerate(tables)]
    main = fill(
        asset("side-by-side.html"),
        {
            "tables": "\n".join(sections),
            "signature": escape(signature),
            "remarks": "".join(f"<li>{_with_code(remark)}</li>" for remark in remarks),
            "hint": escape(hint),
            "pictures": "\n".join(cards),
        },
    )
    write_text(out, render(title, headline, main))
    return out


def _with_code(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _section(name: str, shown: TextTable) -> str:
    return fill(
        asset("text-table.html"),
        {
            "name": name,
            "title": escape(shown.title),
            "unit": escape(shown.unit),
            "table": html_text_table(shown.cells),
        },
    )


def _card(shown: ImageWithCaptions) -> str:
    image = thumbnail(shown.picture)
    picture = '<p class="none">The picture could not be read.</p>'
    if image is not None:
        picture = f'<img src="{image}" alt="{escape(shown.key)}" loading="lazy">'
    lines = "".join(
        f"<div{' class=person' if said.is_human else ''}><dt>{escape(said.by)} "
        f"<small>{100 * said.score:.0f}</small></dt><dd>{escape(said.text) or '(nothing)'}</dd></div>"
        for said in shown.captions
    )
    return (
        f'<li class="pair"><div class="seen">{picture}</div>'
        f'<div class="text"><dl class="said">{lines}</dl><p class="facts">{escape(shown.key)}</p></div></li>'
    )
