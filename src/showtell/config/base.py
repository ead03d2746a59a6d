"""The strict model that every configuration is made of, and how its problems are described."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from showtell.errors import ConfigError, did_you_mean


class StrictModel(BaseModel):
    """A frozen pydantic model that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def describe_problems(error: ValidationError, model: type[BaseModel], where: str) -> ConfigError:
    """Turn pydantic's problems into one message: every bad key by its dotted name, with near names for typos."""
    lines = []
    for problem in error.errors():
        path, members = _resolve(model, [str(part) for part in problem["loc"]])
        if problem["type"] == "extra_forbidden":
            known = [name for member in members for name in member.model_fields]
            lines.append(f"unknown key '{'.'.join(path)}'. {did_you_mean(path[-1], known)}")
        else:
            lines.append(f"'{'.'.join(path)}': {problem['msg']} (found {problem['input']!r})")
    return ConfigError(f"{where} cannot be used: " + " | ".join(lines))


def _resolve(model: type[BaseModel], path: list[str]) -> tuple[list[str], list[type[BaseModel]]]:
    """Return a problem's path as a user wrote it, and the models its last key may belong to.

    pydantic puts the chosen member's name into the path of a union (``decoder.lstm.hidden``): it chooses the member
    and is left out.
    """
    shown: list[str] = []
    models: list[type[BaseModel]] = [model]
    for place, part in enumerate(path):
        fields = [field for current in models if (field := current.model_fields.get(part)) is not None]
        chosen = [
            current for current in models if (tag := current.model_fields.get("name")) and tag.default == part
        ]
        if not fields and chosen and place < len(path) - 1:
            models = chosen
            continue
        shown.append(part)
        reached = [kind for field in fields for kind in _models_in(field.annotation)]
        if place < len(path) - 1:
            models = reached or models
    return shown, models


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that an annotation names, itself or inside a union or a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
