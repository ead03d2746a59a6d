"""The tables and some images with the captions of all captioners and a human, as one self-contained HTML page."""

from pathlib import Path
from typing import Any

from markupsafe import Markup

from showtell.experiments.leaderboard.evaluate import Leaderboard, LeaderboardRow
from showtell.experiments.leaderboard.tables import NOTHING, TextTable, build_tables, footnotes
from showtell.report.html import render
from showtell.report.images import thumbnail
from showtell.system.atomic import write_text
from showtell.system.console import progress


def write_page(results: Leaderboard, out: Path, *, title: str, num_images: int = 40, seed: int = 0) -> Path:
    """Write the page; thumbnails of 240 pixels are embedded (about 20 kB each), nothing is fetched.

    The choice of images depends on the split and the seed, not on the captioners.

    Raises:
        DataError: the page cannot be written.
    """
    prepared, split = results.prepared, results.split
    rows = prepared.split_rows(split, subset=num_images, seed=seed).tolist()
    images = []
    with progress("page", len(rows), unit="images") as advance:
        for row in rows:
            key = prepared.key(row)
            captions = [_caption(one, key) for one in results.all_rows]
            image = thumbnail(prepared.image_path(row))
            images.append({"key": key, "thumbnail": image, "captions": captions})
            advance(1, "")
    several = any(row.seeds > 1 for row in results.rows)
    html = render(
        "leaderboard.html",
        title=title,
        headline=f"{len(results.rows)} captioners and a human baseline" if results.human else "",
        hint=f"{len(rows):,} of {len(prepared.split_rows(split)):,} images of {split}, drawn by seed {seed}."
        + (" Captioners of several seeds are represented by their first." if several else ""),
        tables=[_html_table(table) for table in build_tables(results)],
        signature=results.signature,
        footnotes=footnotes(results),
        images=images,
    )
    write_text(out, html)
    return out


def _caption(row: LeaderboardRow, key: str) -> dict[str, Any]:
    return {
        "name": row.name,
        "text": row.captions[key],
        "score": 100 * row.cider[key],
        "is_human": row.entry is None,
    }


def _html_table(table: TextTable) -> dict[str, Any]:
    """Return a table for the page: details go under the name, so that the columns fit."""
    head, *rows = table.cells
    details = slice(1, 1 + table.num_details)
    lines = []
    for row in rows:
        pairs = zip(head[details], row[details], strict=True)
        text = " · ".join(f"{name} {cell}" for name, cell in pairs if cell != NOTHING)
        name = Markup("{} <small>{}</small>").format(row[0], text) if text else row[0]
        lines.append({"cells": [name, *row[details.stop :]], "is_best": False})
    return {
        "title": table.title,
        "unit": table.unit,
        "head": [head[0], *head[details.stop :]],
        "rows": lines,
    }
