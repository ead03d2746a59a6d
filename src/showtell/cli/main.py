"""The ``showtell`` command: verbs, exit codes, and errors told in one line.

Exit codes: 0 done, 1 failed, 2 misused, 3 done but some pictures failed.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Annotated

import typer
from rich.markup import escape

from showtell.console import stderr
from showtell.errors import ConfigError, MissingExtraError, ShowtellError

VERBS = (
    "prepare",
    "train",
    "tune",
    "evaluate",
    "caption",
    "score",
    "report",
    "results",
    "export",
    "pack",
    "push",
    "recipes",
    "demo",
)

app = typer.Typer(
    name="showtell",
    help="Photographs in, sentences out: prepare a captioned set, train, evaluate, caption.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _print_version(show: bool) -> None:
    if show:
        from showtell import __version__

        typer.echo(f"showtell {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback when something fails.")] = False,
) -> None:
    """Take the options that stand before the verb; `main` looks for --debug itself."""


for _verb in VERBS:
    app.command(_verb)(importlib.import_module(f"showtell.cli.{_verb}").command)


def main() -> None:
    """Run the command line and exit."""
    debug = "--debug" in sys.argv
    try:
        app()
    except ShowtellError as error:
        if debug:
            raise
        stderr.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except ModuleNotFoundError as error:
        if error.name != "torch" or debug:
            raise
        stderr.print(
            f"[bold red]error:[/] {escape(str(MissingExtraError('torch', extra='train')))}", soft_wrap=True
        )
        sys.exit(1)
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if debug:
            raise
        stderr.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        stderr.print("interrupted")
        sys.exit(130)
