"""The ``showtell`` command as typer parses it: its verbs and global options."""

import importlib
import sys
from typing import Annotated

import typer

from showtell.cli.exit import errors_in_one_line, noting_interrupts

VERBS = (
    *("prepare", "train", "tune", "evaluate", "caption", "serve", "score", "report", "leaderboard"),
    *(
        "compare",
        "index",
        "calibrate",
        "inspect",
        "export",
        "bundle",
        "push",
        "recipes",
        "join-encoders",
        "demo",
    ),
)

app = typer.Typer(
    name="showtell",
    help="Image captioning in PyTorch: prepare a captioned dataset, train, evaluate, caption.",
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
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Accept the options before the verb; `main` reads --debug itself."""


for _verb in VERBS:
    app.command(_verb)(
        noting_interrupts(_verb, importlib.import_module(f"showtell.cli.{_verb.replace('-', '_')}").command)
    )


def main() -> None:
    """Parse the command line, run it and exit."""
    with errors_in_one_line(debug="--debug" in sys.argv):
        app()
