"""The reference of recipe keys, generated from the schema: key, type, default, bounds and description.

python -m showtell.config.recipe_reference > docs/recipe-keys.md
"""

import inspect
import json
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from showtell.config.base import models_in
from showtell.config.recipe import Recipe

_HEADER = """\
# Recipe keys

A recipe is a YAML file. Any key can be changed on the command line with `--set`, by its dotted name:

```
showtell train flickr8k-attention --data data/flickr8k -o runs/lr --set optimizer.lr=3e-4
```

`objective` is a list of phases, so a key of its first phase is `objective.0.KEY`. Unknown keys are refused, with the
nearest known name. The resolved recipe, defaults included, is written to `recipe.yaml` in the run directory.

This page is generated from the schema by `python -m showtell.config.recipe_reference`.
"""
_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "multiple_of": "multiple of"}


class RecipeKey(NamedTuple):
    """One key of a recipe."""

    name: str  # dotted; N is the number of a phase
    type: str  # or the choices
    default: str  # as YAML would have it; empty where there is none
    bounds: str
    description: str


class Section(NamedTuple):
    """The keys of one part of a recipe, or of one member of a union such as a decoder."""

    title: str
    summary: str
    keys: list[RecipeKey]


def sections() -> Iterator[Section]:
    """Yield all sections of the recipe, in the order of the schema."""
    for path, field in Recipe.model_fields.items():
        models = models_in(field.annotation)
        if len(models) == 1:
            yield Section(f"`{path}`", _summary(models[0]), list(_keys(models[0], path)))
            continue
        yield Section(f"`{path}`", field.description or "", [])
        prefix = f"{path}.N" if get_origin(field.annotation) is list else path
        for model in models:
            title = f"`{prefix}` with `name: {model.model_fields['name'].default}`"
            yield Section(title, _summary(model), list(_keys(model, prefix)))


def to_markdown() -> str:
    """Return the reference page."""
    lines = [_HEADER]
    for title, summary, keys in sections():
        lines += [f"\n## {title}\n\n{summary}\n", "| key | meaning | type | default | bounds |"]
        lines.append("| --- | --- | --- | --- | --- |")
        for key in keys:
            default = f"`{key.default}`" if key.default else "required"
            cells = [f"`{key.name}`", key.description, key.type, default, key.bounds]
            escaped = [cell.replace("|", "\\|").replace("<", "\\<") for cell in cells]
            lines.append("| " + " | ".join(escaped) + " |")
    return "\n".join(lines) + "\n"


def to_text() -> str:
    """Return the reference as plain text, for a terminal."""
    lines = []
    for title, summary, keys in sections():
        lines += ["", title.replace("`", ""), f"  {summary}"]
        for key in keys:
            default = f"default {key.default}" if key.default else "required"
            facts = ", ".join(filter(None, (key.type.replace("`", ""), key.bounds, default)))
            lines += [f"  {key.name}  ({facts})", f"      {key.description}"]
    return "\n".join(lines[1:]) + "\n"


def _keys(model: type[BaseModel], path: str) -> Iterator[RecipeKey]:
    for name, field in model.model_fields.items():
        key, nested = f"{path}.{name}", models_in(field.annotation)
        kind = "keys below" if nested else _type(field.annotation)
        yield RecipeKey(key, kind, _default(field), _bounds(field), field.description or "")
        for part in nested:
            yield from _keys(part, key)


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(part) for part in arguments)
    if origin is tuple and arguments[1:] != (Ellipsis,):
        return f"list of {len(arguments)}: {_type(arguments[0])}"
    if origin in (list, tuple):
        return f"list of {_type(arguments[0])}"
    return "none" if annotation is type(None) else str(annotation.__name__)


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return ""
    if value is None:
        return "none"
    return value if isinstance(value, str) and value else json.dumps(value, default=BaseModel.model_dump)


def _bounds(field: FieldInfo) -> str:
    bounds = [
        (sign, getattr(constraint, name))
        for name, sign in _BOUNDS.items()
        for constraint in field.metadata
        if getattr(constraint, name, None) is not None
    ]
    return ", ".join(
        f"{sign} {bound:,}" if isinstance(bound, int) else f"{sign} {bound:g}" for sign, bound in bounds
    )


def _summary(model: type[BaseModel]) -> str:
    return (inspect.getdoc(model) or "").partition("\n")[0]


if __name__ == "__main__":
    print(to_markdown(), end="")
