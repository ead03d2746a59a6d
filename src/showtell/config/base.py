"""The strict model that every configuration is made of, and how its problems are described."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from showtell.errors import ConfigError, did_you_mean, shorten_text

Rate = Annotated[float, Field(ge=0.0, lt=1.0)]  # 0 included, 1 excluded
Fraction = Annotated[float, Field(gt=0.0, le=1.0)]  # 0 excluded, 1 included
Weight = Annotated[float, Field(ge=0.0, le=1.0)]  # both included
Count = Annotated[int, Field(ge=0)]


MAX_PROBLEMS = 12


class StrictModel(BaseModel):
    """A frozen pydantic model that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def describe_problems(
    error: ValidationError, model: type[BaseModel], where: str, renamed: Mapping[str, str] | None = None
) -> ConfigError:
    """Turn pydantic's problems into one message: every bad key by its dotted name, with near names for typos.

    ``where`` names the source of the values; ``renamed`` maps former keys and values, see `showtell.config.renamed`.
    """
    problems = error.errors()
    lines = [line for problem in problems[:MAX_PROBLEMS] for line in _describe(problem, model, renamed or {})]
    if len(problems) > MAX_PROBLEMS:
        lines.append(f"and {len(problems) - MAX_PROBLEMS:,} more")
    return ConfigError(f"{where} cannot be used: " + " | ".join(lines))


def _describe(
    problem: Mapping[str, Any], model: type[BaseModel], renamed: Mapping[str, str]
) -> Iterator[str]:
    path, members = _resolve(model, [shorten_text(str(part)) for part in problem["loc"]])
    key, found, context = ".".join(path), problem["input"], problem.get("ctx", {})
    if problem["type"] == "extra_forbidden":
        known = [name for member in members for name in member.model_fields]
        answers = list(_renamed(key, found, renamed))
        yield from answers or [f"unknown key '{key}'. {did_you_mean(path[-1], known)}"]
    elif problem["type"] in {"union_tag_invalid", "union_tag_not_found"}:
        tag = shorten_text(str(context.get("tag", "none")))
        names = re.findall(r"'([^']+)'", context.get("expected_tags", "")) or _tags(members)
        yield f"'{key}.name': found '{tag}'. {did_you_mean(tag, names)}"
    else:
        text = problem["msg"].removeprefix("Value error, ")
        new = renamed.get(f"{_without_index(key)}={found}")
        answer = f"'{found}' is called '{new}' now" if new else text
        shown = "" if isinstance(found, dict | BaseModel) or new else f" (found {shorten_text(repr(found))})"
        if problem["type"] == "literal_error" and not new:
            near = did_you_mean(shorten_text(str(found)), re.findall(r"'([^']+)'", context["expected"]))
            shown += f". {near}" if near.startswith("Did") else ""
        yield f"'{key}': {answer}{shown}" if key else answer + shown


def _renamed(key: str, found: Any, renamed: Mapping[str, str]) -> Iterator[str]:
    """Yield the answer to a former key, or to each former key of a section."""
    inside = [f"{key}.{name}" for name in found] if isinstance(found, dict) else []
    if key in renamed and inside:
        section = renamed[key]
        for old in inside:
            yield from _renamed(old, None, {old: f"{section}.{old.removeprefix(key + '.')}", **renamed})
        return
    new = renamed.get(_without_index(key))
    if new is None:
        return
    index = re.search(r"\.\d+", key)
    new = new.replace(".N", index.group() if index else "")
    value = renamed.get(f"{new}={found}")
    called = f"It is called {new} now" + (f", and '{found}' is called '{value}'" if value else "")
    yield f"unknown key '{key}'. {called if new else 'It was removed'}"


def _without_index(key: str) -> str:
    return re.sub(r"\.\d+", ".N", key)


def _tags(models: list[type[BaseModel]]) -> list[str]:
    return [str(tag.default) for model in models if (tag := model.model_fields.get("name")) is not None]


def _resolve(model: type[BaseModel], path: list[str]) -> tuple[list[str], list[type[BaseModel]]]:
    """Return a problem's path as a user wrote it, and the models its last key may belong to.

    pydantic puts the name of a union's member into the path (``decoder.lstm.hidden``): it is left out, also where a
    member has a field of that name.
    """
    shown: list[str] = []
    models: list[type[BaseModel]] = [model]
    for part in path[:-1]:
        fields = [field for current in models if (field := current.model_fields.get(part)) is not None]
        chosen = [
            current for current in models if (tag := current.model_fields.get("name")) and tag.default == part
        ]
        if chosen and (len(models) > 1 or not fields):
            models = chosen
        else:
            shown.append(part)
            models = [kind for field in fields for kind in models_in(field.annotation)] or models
    return [*shown, *path[-1:]], models


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that an annotation names, itself or inside a union or a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in models_in(part)]
