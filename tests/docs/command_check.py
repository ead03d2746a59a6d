"""Whether a documented command could be run: parsed by the real command line, and not run."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer
from tests.docs.markdown import ROOT

from showtell.config.recipe import load_recipe, shipped_recipes

try:  # typer carries its own copy of click since 0.2
    from typer import _click as click
except ImportError:  # pragma: no cover
    import click  # type: ignore[no-redef]

# Programs of others that the documents name; their arguments are not checked.
FOREIGN = {"curl", "docker", "find", "hf", "mlflow", "pre-commit"}
EXTRAS = re.compile(r"\.\[([\w,]+)\]")


class WrongCommandError(AssertionError):
    """A documented command that could not be run."""


@cache
def cli() -> Any:
    """Return the command line of the package, a click group."""
    from showtell.cli.main import app

    return typer.main.get_command(app)


@cache
def make_targets() -> set[str]:
    """Return the targets of the Makefile."""
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))


@cache
def extras() -> set[str]:
    """Return the extras of the package."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return set(project["optional-dependencies"])


def check(words: list[str]) -> None:
    """Raise WrongCommandError where a command could not be run as it is written."""
    program, rest = words[0], words[1:]
    if program == "showtell":
        check_showtell(rest)
    elif program == "make":
        _check_make(rest)
    elif program == "pip":
        _check_pip(rest)
    elif program in {"python", "accelerate", "torchrun"}:
        _check_python(rest)
    elif program not in FOREIGN:
        raise WrongCommandError(f"no check for '{program}'")


def check_showtell(words: list[str]) -> None:
    """Parse a command of ours, and read the recipe that it names with its changes."""
    group = cli()
    try:
        with group.make_context("showtell", list(words)) as context:
            name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
            assert command is not None
            with command.make_context(name, rest, parent=context) as inner:
                values = {
                    name: inner.params.get(parameter.name)
                    for parameter in command.params
                    for name in parameter.opts
                }
    except click.ClickException as error:
        raise WrongCommandError(f"showtell {' '.join(words)}: {error.format_message()}") from error
    except click.exceptions.Exit:
        return
    if name in {"train", "tune"}:
        searched = [re.sub(r"(\.\.|,).*", "", search) for search in values.get("--search") or []]
        _check_recipe(str(values["recipe"] or "fine-tune"), [*(values.get("--set") or []), *searched])
    named = values.get("--recipe") if name == "bundle" else values.get("name") if name == "recipes" else None
    if named is not None and str(named) not in shipped_recipes():
        raise WrongCommandError(f"no shipped recipe is named '{named}'")


def check_inline(code: str) -> None:
    """Check verb and options of a command in running text, which may leave out arguments."""
    words = code.split()
    verb = words[1] if len(words) > 1 else ""
    if verb.startswith("--"):
        known = {name for parameter in cli().params for name in parameter.opts}
    elif verb in cli().commands:
        known = options(verb)
    elif verb.isupper():
        return
    else:
        raise WrongCommandError(f"`{code}`: no such verb")
    for word in words[1:]:
        if word.startswith("--") and word.split("=")[0] not in known | {"--help"}:
            raise WrongCommandError(f"`{code}`: no such option {word}")


def options(verb: str) -> set[str]:
    """Return the options of a verb."""
    parameters = cli().commands[verb].params
    return {name for parameter in parameters for name in (*parameter.opts, *parameter.secondary_opts)}


def all_options() -> set[str]:
    """Return the options of all verbs, and of the command itself."""
    own = {name for parameter in cli().params for name in parameter.opts}
    return own.union(*(options(verb) for verb in cli().commands), {"--help"})


def _check_recipe(name: str, overrides: list[str]) -> None:
    from showtell.errors import ConfigError

    if name in {"RECIPE", "RECIPE.yaml"}:
        return
    try:
        load_recipe(name, overrides)
    except ConfigError as error:
        raise WrongCommandError(str(error)) from error


def _check_make(words: list[str]) -> None:
    targets = [word for word in words if "=" not in word and not word.startswith("-")]
    for target in targets:
        if target not in make_targets():
            raise WrongCommandError(f"make {target}: no such target")


def _check_pip(words: list[str]) -> None:
    for word in words:
        if word.split("[")[0] == "showtell":
            raise WrongCommandError("the package is on no index: install it from a clone")
        for named in EXTRAS.findall(word):
            unknown = set(named.split(",")) - extras()
            if unknown:
                raise WrongCommandError(f"no such extra: {', '.join(sorted(unknown))}")


def _check_python(words: list[str]) -> None:
    if "-m" in words:
        module, *rest = words[words.index("-m") + 1 :]
        if module == "showtell":
            check_showtell(rest)
        elif module.split(".")[0] in {"showtell", "benchmarks"} and find_spec(module) is None:
            raise WrongCommandError(f"no module {module}")
    elif words and words[0].endswith(".py") and not Path(ROOT, words[0]).is_file():
        raise WrongCommandError(f"no file {words[0]}")
