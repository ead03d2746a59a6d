"""Where every ``showtell`` command begins, and how each ends: exit codes, errors told in one line.

Exit codes: 0 done, 1 failed, 2 misused, 3 done but some pictures failed. The command line is parsed by typer, whose
import and set-up take longer than a caption does; captioning without an option goes without.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from pathlib import Path

from showtell.cli.exit import errors_in_one_line


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
        from showtell.cli.caption_fast import run

        sys.exit(run(Path(words[1]), [Path(word) for word in words[2:]]))


def has_nothing_to_parse(words: Sequence[str]) -> bool:
    """Return whether the words are ``caption``, a checkpoint and pictures, and nothing else."""
    return len(words) > 2 and words[0] == "caption" and not any(word.startswith("-") for word in words)
