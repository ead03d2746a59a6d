"""A few SVG helpers for the drawings in docs/images: each is written twice, for light and for dark pages."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path

IMAGES = Path(__file__).resolve().parent.parent / "images"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
THEMES = {
    "light": {
        "text": "#1f2328",
        "muted": "#59636e",
        "line": "#8c959f",
        "box": "#f3f5f7",
        "blue": "#0a5fb4",
        "teal": "#1b7f79",
        "orange": "#b35900",
        "grid": "#d8dee4",
    },
    "dark": {
        "text": "#f0f3f6",
        "muted": "#a9b4bf",
        "line": "#7d8894",
        "box": "#1e252d",
        "blue": "#58a6ff",
        "teal": "#3fb9ae",
        "orange": "#f0883e",
        "grid": "#343c46",
    },
}
Colors = dict[str, str]


def text(
    x: float, y: float, words: str, fill: str, *, size: float = 14, anchor: str = "start", weight: int = 400
) -> str:
    """Return one line of text; `y` is its baseline."""
    return (
        f'<text x="{x:g}" y="{y:g}" fill="{fill}" font-size="{size:g}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{escape(words)}</text>'
    )


def box(x: float, y: float, width: float, height: float, fill: str, stroke: str | None = None) -> str:
    """Return a rounded rectangle."""
    edge = f' stroke="{stroke}" stroke-width="1.2"' if stroke else ""
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" fill="{fill}"{edge}/>'


def arrow(x1: float, y1: float, x2: float, y2: float, color: str) -> str:
    """Return a straight arrow."""
    return (
        f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{color}" stroke-width="1.6" '
        'marker-end="url(#head)"/>'
    )


def document(width: int, height: int, title: str, description: str, colors: Colors, parts: list[str]) -> str:
    """Return a whole SVG file with a title and a description for screen readers."""
    head = (
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path d="M0 0L8 4L0 8z" fill="{colors["line"]}"/></marker></defs>'
    )
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" font-family="{escape(FONT)}">\n<title>{escape(title)}</title>\n'
        f"<desc>{escape(description)}</desc>\n{head}\n{body}\n</svg>\n"
    )


def outputs(name: str, draw: Callable[[Colors], str]) -> dict[Path, str]:
    """Return the text of both files of a drawing, by path."""
    return {IMAGES / f"{name}-{theme}.svg": draw(colors) for theme, colors in THEMES.items()}


def write(files: dict[Path, str]) -> None:
    """Write the files of a drawing."""
    for path, content in files.items():
        path.write_text(content, encoding="utf-8")
