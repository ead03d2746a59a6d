"""``showtell recipes``."""

from typing import Annotated

import typer


def command(
    name: Annotated[str | None, typer.Argument(help="Print this recipe, to copy and edit.")] = None,
    keys: Annotated[
        bool,
        typer.Option("--keys", help="Print every recipe key with its type, default, bounds and description."),
    ] = False,
) -> None:
    """List the shipped recipes, print one, or print the reference of all recipe keys."""
    from showtell.config.recipe import shipped_recipes
    from showtell.errors import ConfigError, did_you_mean

    shipped = shipped_recipes()
    if keys:
        from showtell.config.recipe_reference import to_text

        typer.echo(to_text(), nl=False)
    elif name is None:
        for known, path in shipped.items():
            summary = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("#").strip()
            typer.echo(f"{known:<24} {summary}")
    elif name in shipped:
        typer.echo(shipped[name].read_text(encoding="utf-8"), nl=False)
    else:
        raise ConfigError(f"no recipe is named '{name}'", mend=did_you_mean(name, shipped))
