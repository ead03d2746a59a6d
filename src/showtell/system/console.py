"""Progress and notes on stderr, results on stdout; tables as aligned text."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from showtell.errors import escape_controls

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_INTERVAL_S = 15.0

stderr: Console
"""Rich's console, made on first access: importing rich takes as long as a caption."""


def __getattr__(name: str) -> Any:
    if name != "stderr":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rich.console import Console

    console = globals()[name] = Console(stderr=True, highlight=False, emoji=False)
    return console


def _console() -> Console | None:
    """Return rich's console if it has been made."""
    return globals().get("stderr")


def note(message: str) -> None:
    """Print one line on stderr, with invisible characters as escapes."""
    message, console = escape_controls(message), _console()
    if console is None:
        print(message, file=sys.stderr, flush=True)
    else:
        console.print(message, markup=False, soft_wrap=True)


def show(text: str) -> None:
    """Print lines of a result on stdout, with invisible characters as escapes, and those that it cannot encode."""
    shown = "\n".join(map(escape_controls, text.split("\n")))
    print(shown.encode(sys.stdout.encoding, "backslashreplace").decode(sys.stdout.encoding), flush=True)


@contextlib.contextmanager
def progress_bar(
    description: str, total: int | None, *, unit: str = ""
) -> Iterator[Callable[[int, str], None]]:
    """Yield ``advance(count, detail)``: a live bar on a terminal, a line every 15 seconds elsewhere."""
    console = _console()
    if sys.stderr.isatty() if console is None else console.is_terminal:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}"),
        )
        with Progress(*columns, console=console or __getattr__("stderr"), transient=True) as bar:
            task = bar.add_task(description, total=total, detail="")

            def move(count: int, detail: str = "") -> None:
                bar.update(task, advance=count, detail=detail)

            yield move
        return

    done, shown = 0, time.monotonic()

    def advance(count: int, detail: str = "") -> None:
        nonlocal done, shown
        done += count
        if not (console is not None and console.quiet) and time.monotonic() - shown >= PLAIN_INTERVAL_S:
            shown = time.monotonic()
            of = f"/{total}" if total is not None else ""
            print(f"{description}: {done}{of} {unit} {detail}".rstrip(), file=sys.stderr, flush=True)

    yield advance


def shorten(text: str, width: int) -> str:
    """Return text that takes at most ``width`` columns of a terminal, where some scripts take two per character."""
    from rich.cells import cell_len, set_cell_size

    return text if cell_len(text) <= width else set_cell_size(text, max(0, width - 1)).rstrip() + "…"


def text_table(rows: Sequence[Sequence[str]], *, left: int = 0, least: int = 6) -> str:
    """Return rows of cells as aligned lines: the first ``left`` columns to the left, the others to the right.

    Columns are two spaces apart and at least ``least`` wide.
    """
    widths = [max(least, *map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
