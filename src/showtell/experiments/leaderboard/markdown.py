"""The tables as one Markdown page, the same bytes for the same runs: no date, no path of a machine."""

from __future__ import annotations

from collections.abc import Sequence

from showtell.experiments.leaderboard.evaluate import Leaderboard
from showtell.experiments.leaderboard.tables import NOTHING, build_tables, footnotes
from showtell.report.summary import as_row
from showtell.report.tables import TextTable


def to_markdown(results: Leaderboard, *, title: str, command: str) -> str:
    """Return the page.

    Args:
        results: The rows.
        title: Its heading.
        command: What makes it again.
    """
    first, *others = build_tables(results)
    parts = [
        f"# {title}",
        _table(first),
        f"`{results.signature}`",
        *(f"## {table.title}\n\n{_table(table)}" for table in others),
        "## Remarks\n\n" + "\n".join(f"- {remark}" for remark in footnotes(results)),
        f"Made again by:\n\n```\n{command}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _table(table: TextTable) -> str:
    header, *rows = table.cells
    unit = table.unit[0].upper() + table.unit[1:]
    return "\n".join([f"{unit}.", "", *_lines(header, rows)])


def _lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---:" if all(map(_is_number, column)) else "---" for column in zip(*rows, strict=True)]
    return [as_row(header), as_row(rule), *(as_row([_plain(cell) for cell in row]) for row in rows)]


def _is_number(cell: str) -> bool:
    return cell[:1] in "0123456789+-" or cell == NOTHING


def _plain(cell: str) -> str:
    """Return a cell that cannot end its column."""
    return cell.replace("|", "\\|").replace("\n", " ")
