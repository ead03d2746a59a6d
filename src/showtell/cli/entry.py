"""Where every ``showtell`` command begins, and how each ends: exit codes, errors told in one line.

Exit codes: 0 done, 1 failed, 2 misused, 3 done but some pictures failed. The command line is parsed by typer, whose
import and set-up take longer than a caption does; captioning without an option goes without.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from showtell.errors import ConfigError, MissingExtraError, ShowtellError


def main() -> None:
    """Run the command line and exit."""
    words = sys.argv[1:]
    if not has_nothing_to_parse(words):
        from showtell.cli.main import main as parse_and_run

        parse_and_run()
        return
    # What is imported and loaded lives until the end, and is walked through in vain some hundred times.
    gc.disable()
    with errors_in_one_line():
        from showtell.cli.captioning import run

        sys.exit(run(Path(words[1]), [Path(word) for word in words[2:]]))


def has_nothing_to_parse(words: Sequence[str]) -> bool:
    """Return whether the words are ``caption``, a checkpoint and pictures, and nothing else."""
    return len(words) > 2 and words[0] == "caption" and not any(word.startswith("-") for word in words)


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
        from showtell.console import note

        note("interrupted")
        sys.exit(130)


def _fail(error: Exception, code: int) -> None:
    from rich.markup import escape

    from showtell.console import stderr

    stderr.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
    sys.exit(code)
