"""Progress and notes on stderr; results alone go to stdout, tables of them as aligned text."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_INTERVAL_S = 15.0

stderr = Console(stderr=True, highlight=False)


def note(message: str) -> None:
    """Print one line on stderr."""
    stderr.print(message, markup=False, soft_wrap=True)


@contextlib.contextmanager
def progress(description: str, total: int | None, *, unit: str = "") -> Iterator[Callable[[int, str], None]]:
    """Yield ``advance(count, detail)``: a live bar on a terminal, a line every 15 seconds elsewhere.

    Args:
        description: What is being done.
        total: How many units make it whole; None where nobody knows.
        unit: What is counted ("pictures").
    """
    if stderr.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}"),
        )
        with Progress(*columns, console=stderr, transient=True) as bar:
            task = bar.add_task(description, total=total, detail="")

            def move(count: int, detail: str = "") -> None:
                bar.update(task, advance=count, detail=detail)

            yield move
        return

    done, shown = 0, time.monotonic()

    def advance(count: int, detail: str = "") -> None:
        nonlocal done, shown
        done += count
        if not stderr.quiet and time.monotonic() - shown >= PLAIN_INTERVAL_S:
            shown = time.monotonic()
            of = f"/{total}" if total is not None else ""
            print(f"{description}: {done}{of} {unit} {detail}".rstrip(), file=sys.stderr, flush=True)

    yield advance


def text_table(rows: Sequence[Sequence[str]], *, left: int = 0, least: int = 6) -> str:
    """Return rows of cells as aligned lines, two spaces apart.

    Args:
        rows: Of the same length.
        left: So many first columns are aligned to the left, all others to the right.
        least: The smallest width of a column.
    """
    widths = [max(least, *map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
