"""Which pictures are shown side by side, and what was said about them."""

from __future__ import annotations

from pathlib import Path

from showtell.experiments.leaderboard.evaluate import Leaderboard, LeaderboardRow
from showtell.experiments.leaderboard.tables import build_tables, footnotes
from showtell.report.side_by_side import ImageWithCaptions, SystemCaption, write_side_by_side


def write_page(results: Leaderboard, out: Path, *, title: str, pictures: int = 40, seed: int = 0) -> Path:
    """Write the page of a few pictures with every captioner's and a person's caption.

    The pictures depend on the split and the seed alone, not on who captions them.

    Args:
        results: The rows.
        out: Where to.
        title: Its heading.
        pictures: How many; fewer where the split has fewer.
        seed: Of the choice.

    Raises:
        DataError: the page cannot be written.
    """
    prepared, split = results.prepared, results.split
    rows = prepared.split_rows(split, subset=pictures, seed=seed)
    total = len(prepared.split_rows(split))
    speakers = [*results.rows, *([results.person] if results.person else [])]
    shown = [
        ImageWithCaptions(
            prepared.key(row),
            prepared.image_path(row),
            [_said(speaker, prepared.key(row)) for speaker in speakers],
        )
        for row in rows.tolist()
    ]
    several = any(row.seeds > 1 for row in results.rows)
    return write_side_by_side(
        out,
        shown,
        title=title,
        headline=f"{len(results.rows)} captioners and a person" if results.person else "",
        hint=f"{len(shown):,} of {total:,} pictures of {split}, drawn by seed {seed}."
        + (" Of a captioner of several seeds the first speaks." if several else ""),
        tables=build_tables(results),
        signature=results.signature,
        remarks=footnotes(results),
    )


def _said(row: LeaderboardRow, key: str) -> SystemCaption:
    return SystemCaption(row.name, row.captions[key], row.cider[key], is_human=row.entry is None)
