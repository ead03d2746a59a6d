"""The leaderboard as Markdown, and as one self-contained HTML page with images and all their captions."""

from dataclasses import replace
from pathlib import Path

from markupsafe import Markup

from showtell.experiments.leaderboard.evaluate import Leaderboard
from showtell.experiments.leaderboard.tables import TextTable, build_tables, footnotes
from showtell.report.images import thumbnail
from showtell.report.templates import NOTHING, render
from showtell.system.atomic import write_text
from showtell.system.console import progress


def to_markdown(results: Leaderboard, *, title: str, command: str) -> str:
    """Return the tables, the same bytes for the same runs; ``command`` is what reproduces them."""
    text = render(
        "leaderboard.md",
        title=title,
        results=results,
        tables=build_tables(results),
        footnotes=footnotes(results),
        command=command,
    )
    return f"{text}\n"


def write_page(results: Leaderboard, out: Path, *, title: str, num_images: int = 40, seed: int = 0) -> Path:
    """Write the page; thumbnails of 240 pixels are embedded (about 20 kB each), nothing is fetched.

    The choice of images depends on the split and the seed, not on the captioners.

    Raises:
        DataError: the page cannot be written.
    """
    prepared, split = results.prepared, results.split
    rows = prepared.split_rows(split, subset=num_images, seed=seed).tolist()
    thumbnails = {}
    with progress("page", len(rows), unit="images") as advance:
        for row in rows:
            thumbnails[prepared.key(row)] = thumbnail(prepared.image_path(row))
            advance(1, "")
    html = render(
        "leaderboard.html",
        title=title,
        headline=f"{len(results.rows)} captioners and a human baseline" if results.human else "",
        results=results,
        tables=[_move_details(table) for table in build_tables(results)],
        footnotes=footnotes(results),
        images=thumbnails,
        num_images=len(prepared.split_rows(split)),
        seed=seed,
    )
    write_text(out, html)
    return out


def _move_details(table: TextTable) -> TextTable:
    """Return a table with its details under the name, so that the columns fit."""
    end = 1 + table.num_details
    rows = []
    for row in table.rows:
        pairs = zip(table.head[1:end], row[1:end], strict=True)
        details = " · ".join(f"{name} {cell}" for name, cell in pairs if cell != NOTHING)
        name = Markup("{} <small>{}</small>").format(row[0], details) if details else row[0]
        rows.append([name, *row[end:]])
    return replace(table, head=[table.head[0], *table.head[end:]], rows=rows)
