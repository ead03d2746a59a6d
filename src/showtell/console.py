"""Progress and notes on stderr; results alone go to stdout."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_INTERVAL_S = 15.0

stderr = Console(stderr=True, highlight=False)


def note(message: str) -> None:
    """Print one line on stderr."""
    stderr.print(message, markup=False, soft_wrap=True)


@contextlib.contextmanager
def progress(description: str, total: int, *, unit: str = "") -> Iterator[Callable[[int, str], None]]:
    """Yield ``advance(count, detail)``: a live bar on a terminal, a line every 15 seconds elsewhere.

    Args:
        description: What is being done.
        total: How many units make it whole.
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
        if time.monotonic() - shown >= PLAIN_INTERVAL_S:
            shown = time.monotonic()
            print(f"{description}: {done}/{total} {unit} {detail}".rstrip(), file=sys.stderr, flush=True)

    yield advance
