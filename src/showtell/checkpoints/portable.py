"""What a recipe or a configuration may say elsewhere: files by their names, without this machine's folders."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def strip_recipe_paths(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's values whose files are named without their folders."""
    bare: dict[str, Any] = copy.deepcopy(dict(recipe))
    _name_alone(bare.get("encoder", {}), "weights")
    _name_alone(bare.get("training", {}), "init_from")
    for phase in bare.get("objective", []):
        if phase.get("teachers"):
            phase["teachers"] = [Path(path).name for path in phase["teachers"]]
    return bare


def strip_config_paths(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint's configuration whose files, and those of its recipe, are named without their folders."""
    bare: dict[str, Any] = copy.deepcopy(dict(config))
    _name_alone(bare["encoder"]["spec"], "weights")
    if "recipe" in bare:
        bare["recipe"] = strip_recipe_paths(bare["recipe"])
    return bare


def _name_alone(values: dict[str, Any], key: str) -> None:
    if values.get(key):
        values[key] = Path(values[key]).name
