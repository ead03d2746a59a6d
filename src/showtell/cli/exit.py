"""How every command ends: one-line errors and exit codes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from showtell.errors import ConfigError, MissingExtraError, ShowtellError


@contextlib.contextmanager
def errors_in_one_line(*, debug: bool = False) -> Iterator[None]:
    """Tell errors in one line on stderr and exit with their code.

    Args:
        debug: Let them through as they are.
    """
    try:
        yield
    except ShowtellError as error:
        if debug:
            raise
        _fail(error, 2 if isinstance(error, ConfigError) else 1)
    except ModuleNotFoundError as error:
        if error.name != "torch" or debug:
            raise
        _fail(MissingExtraError("torch", extra="train"), 1)
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if debug:
            raise
        _fail(error, 1)
    except KeyboardInterrupt:
        from showtell.system.console import note

        note("interrupted")
        sys.exit(130)


def _fail(error: Exception, code: int) -> None:
    from rich.markup import escape

    from showtell.system.console import stderr

    stderr.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
    sys.exit(code)
