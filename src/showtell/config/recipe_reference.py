"""The reference of recipe keys, generated from the schema: key, type, default, bounds and description.

python -m showtell.config.recipe_reference > docs/recipe-keys.md
"""

import json
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

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
_BOUNDS = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"), ("multiple_of", "multiple of"))


@dataclass(frozen=True)
class RecipeKey:
    """One key of a recipe.

    Attributes:
        name: Dotted name; `N` is the number of a phase.
        type: The type, or the choices.
        default: The default as YAML would have it; empty where there is none.
        bounds: Bounds of the value; empty where there are none.
        description: Meaning and unit.
    """

    name: str
    type: str
    default: str
    bounds: str
    description: str


@dataclass(frozen=True)
class Section:
    """The keys of one part of a recipe, or of one member of a union such as a decoder."""

    title: str
    summary: str
    keys: list[RecipeKey]


def sections() -> list[Section]:
    """Return all sections of the recipe, in the order of the schema."""
    return [section for name, field in Recipe.model_fields.items() for section in _sections(name, field)]


def to_markdown() -> str:
    """Return the reference page."""
    parts = [_HEADER]
    for section in sections():
        parts.append(f"\n## {section.title}\n")
        if section.summary:
            parts.append(f"{section.summary}\n")
        parts.append("| key | meaning | type | default | bounds |\n| --- | --- | --- | --- | --- |")
        parts.extend(
            "| "
            + " | ".join(
                (
                    f"`{key.name}`",
                    _cell(key.description),
                    _cell(key.type),
                    f"`{key.default}`" if key.default else "required",
                    _cell(key.bounds),
                )
            )
            + " |"
            for key in section.keys
        )
    return "\n".join(parts) + "\n"


def to_text() -> str:
    """Return the reference as plain text, for a terminal."""
    lines = []
    for section in sections():
        lines += ["", section.title.replace("`", ""), f"  {section.summary}" if section.summary else ""]
        for key in section.keys:
            default = f"default {key.default}" if key.default else "required"
            facts = ", ".join(filter(None, (key.type.replace("`", ""), key.bounds, default)))
            lines += [f"  {key.name}  ({facts})", f"      {key.description}" if key.description else ""]
    kept = [line for number, line in enumerate(lines) if line or (number > 0 and lines[number - 1])]
    return "\n".join(kept) + "\n"


def _sections(path: str, field: FieldInfo) -> Iterator[Section]:
    models = _models(field.annotation)
    in_list = get_origin(field.annotation) is list
    if len(models) == 1 and not in_list:
        yield Section(f"`{path}`", _summary(models[0]), list(_keys(models[0], path)))
        return
    prefix = f"{path}.N" if in_list else path
    if field.description:
        yield Section(f"`{path}`", field.description, [])
    for model in models:
        name = model.model_fields["name"].default
        yield Section(f"`{prefix}` with `name: {name}`", _summary(model), list(_keys(model, prefix)))


def _keys(model: type[BaseModel], path: str) -> Iterator[RecipeKey]:
    for name, field in model.model_fields.items():
        nested = _models(field.annotation)
        if len(nested) == 1:
            optional = type(None) in get_args(field.annotation)
            if optional or field.description:
                yield RecipeKey(f"{path}.{name}", "keys below", _default(field), "", field.description or "")
            yield from _keys(nested[0], f"{path}.{name}")
        else:
            yield RecipeKey(
                f"{path}.{name}",
                _type(field.annotation),
                _default(field),
                _bounds(field),
                field.description or "",
            )


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(part) for part in arguments)
    if origin is list or (origin is tuple and arguments[1:] == (Ellipsis,)):
        return f"list of {_type(arguments[0])}"
    if origin is tuple:
        return f"list of {len(arguments)}: {_type(arguments[0])}"
    return "none" if annotation is type(None) else str(annotation.__name__)


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return ""
    if value is None:
        return "none"
    if isinstance(value, str):
        return value
    return json.dumps(value.model_dump() if isinstance(value, BaseModel) else value)


def _bounds(field: FieldInfo) -> str:
    found = []
    for name, sign in _BOUNDS:
        value = next(
            (getattr(one, name) for one in field.metadata if getattr(one, name, None) is not None), None
        )
        if value is not None:
            found.append(f"{sign} {value:,}" if isinstance(value, int) else f"{sign} {value:g}")
    return ", ".join(found)


def _summary(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0] if model.__doc__ else ""


def _cell(words: str) -> str:
    return words.replace("|", "\\|").replace("<", "\\<").replace("\n", " ")


if __name__ == "__main__":
    print(to_markdown(), end="")
