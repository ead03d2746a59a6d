"""Entry point of the ``showtell`` command.

Exit codes: 0 done, 1 failed, 2 misused, 3 done but some images failed, 4 ``compare --fail-below``. Importing and
setting up typer, which parses the command line, takes longer than a caption, so ``caption`` without options skips it.
"""

import gc
import sys
from collections.abc import Sequence
from pathlib import Path

from showtell.cli.exit import errors_in_one_line


def main() -> None:
    """Run the command line and exit."""
    arguments = sys.argv[1:]
    if not needs_no_parsing(arguments):
        from showtell.cli.main import main as parse_and_run

        parse_and_run()
        return
    # Imported modules and loaded weights live until the end; the collector would scan them some hundred times.
    gc.disable()
    with errors_in_one_line():
        from showtell.cli.caption_fast import run

        sys.exit(run(Path(arguments[1]), arguments[2:]))


def needs_no_parsing(arguments: Sequence[str]) -> bool:
    """Return whether the arguments are ``caption``, a checkpoint and images, and nothing else."""
    return (
        len(arguments) > 2
        and arguments[0] == "caption"
        and not any(argument.startswith("-") for argument in arguments)
    )
