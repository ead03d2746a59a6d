"""How every command ends: one-line errors and exit codes."""

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn

from showtell.errors import ConfigError, MissingExtraError, ShowtellError

FINDINGS = 3
"""Exit code of a command that was done and found what it was to fail on."""
RESUMABLE = ("prepare", "train", "tune", "evaluate")


@contextlib.contextmanager
def errors_in_one_line(*, debug: bool = False) -> Iterator[None]:
    """Print errors as one line on stderr and exit with their code; ``debug`` raises them with their traceback."""
    try:
        yield
    except BrokenPipeError:
        # The reader of our output is gone; Python would report it once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        _exit_interrupted()
    except (ShowtellError, ModuleNotFoundError, OSError, MemoryError) as error:
        if debug or (isinstance(error, ModuleNotFoundError) and error.name != "torch"):
            raise
        from rich.markup import escape

        from showtell.system.console import stderr

        if isinstance(error, ModuleNotFoundError):
            error = MissingExtraError("torch", extra="train")
        if isinstance(error, MemoryError):
            error = ShowtellError("not enough memory", found=str(error), mend="Use smaller batches or files")
        if not isinstance(error, ShowtellError):
            error = ShowtellError(str(error))
        stderr.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(2 if isinstance(error, ConfigError) else 1)


def noting_interrupts(verb: str, command: Callable[..., None]) -> Callable[..., None]:
    """Return a verb's command that reports Ctrl-C, which typer would turn into a silent exit."""

    @functools.wraps(command)
    def run(*arguments: object, **options: object) -> None:
        try:
            command(*arguments, **options)
        except KeyboardInterrupt:
            _exit_interrupted("; run the same command again to resume" if verb in RESUMABLE else "")

    return run


def _exit_interrupted(advice: str = "") -> NoReturn:
    from showtell.system.console import note

    note(f"interrupted{advice}")
    sys.exit(130)
