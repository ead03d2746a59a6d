"""``showtell recipes``."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    name: Annotated[str | None, typer.Argument(help="Print this recipe, ready to copy and change.")] = None,
) -> None:
    """List the shipped recipes, or print one."""
    from showtell.config.recipe import shipped_recipes
    from showtell.errors import ConfigError, did_you_mean

    shipped = shipped_recipes()
    if name is None:
        for known, path in shipped.items():
            first = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("#").strip()
            typer.echo(f"{known:<24} {first}")
        return
    if name not in shipped:
        raise ConfigError(f"no recipe is named '{name}'", mend=did_you_mean(name, shipped))
    typer.echo(shipped[name].read_text(encoding="utf-8"), nl=False)
