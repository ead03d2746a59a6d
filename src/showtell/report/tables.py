"""Tables as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class TextTable:
    """A heading, what the numbers are, and cells of plain text; the first row are the columns' names."""

    title: str
    unit: str
    cells: list[list[str]]


def html_table(heads: Sequence[str], rows: Sequence[str]) -> str:
    """Return a table; heads are HTML already."""
    cells = "".join(f'<th scope="col">{head}</th>' for head in heads)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def html_text_table(cells: Sequence[Sequence[str]]) -> str:
    """Return cells of plain text as a table whose first row and first column are headings."""
    header, *rows = cells
    lines = [html_row([html_head(one[0]), *map(html_cell, one[1:])]) for one in rows]
    return html_table([escape(name) for name in header], lines)


def html_row(cells: Sequence[str], *, is_best: bool = False) -> str:
    """Return a row of cells that are HTML already."""
    return f"<tr{' class=best' if is_best else ''}>{''.join(cells)}</tr>"


def html_head(text: str) -> str:
    """Return a row's heading."""
    return f'<th scope="row">{escape(text)}</th>'


def html_cell(text: str, style: str = "") -> str:
    """Return a cell."""
    return f'<td class="{style}">{escape(text)}</td>' if style else f"<td>{escape(text)}</td>"
