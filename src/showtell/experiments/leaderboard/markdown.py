"""The tables as Markdown, the same bytes for the same runs: no date, no path of a machine."""

from showtell.experiments.leaderboard.evaluate import Leaderboard
from showtell.experiments.leaderboard.tables import NOTHING, TextTable, build_tables, footnotes
from showtell.report.summary import markdown_table


def to_markdown(results: Leaderboard, *, title: str, command: str) -> str:
    """Return the document; ``command`` is what reproduces it."""
    first, *others = build_tables(results)
    parts = [
        f"# {title}",
        _table(first),
        f"`{results.signature}`",
        *(f"## {table.title}\n\n{_table(table)}" for table in others),
        "## Notes\n\n" + "\n".join(f"- {note}" for note in footnotes(results)),
        f"Reproduced by:\n\n```\n{command}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _table(table: TextTable) -> str:
    head, *rows = table.cells
    rule = ["---:" if all(map(_is_number, column)) else "---" for column in zip(*rows, strict=True)]
    # A cell must not end its column or line.
    safe = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return f"{table.unit[0].upper()}{table.unit[1:]}.\n\n{markdown_table(head, safe, rule)}"


def _is_number(cell: str) -> bool:
    return cell[:1] in "0123456789+-" or cell == NOTHING
