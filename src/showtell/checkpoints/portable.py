"""What a recipe or a configuration may say elsewhere: files by their names, without this machine's folders."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def portable_recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's values whose files are named without their folders."""
    bare: dict[str, Any] = copy.deepcopy(dict(recipe))
    _name_alone(bare.get("encoder", {}), "weights")
    _name_alone(bare.get("training", {}), "start")
    for phase in bare.get("objective", []):
        if phase.get("teachers"):
            phase["teachers"] = [Path(path).name for path in phase["teachers"]]
    return bare


def portable_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint's configuration whose files, and those of its recipe, are named without their folders."""
    bare: dict[str, Any] = copy.deepcopy(dict(config))
    _name_alone(bare["encoder"]["spec"], "weights")
    if "recipe" in bare:
        bare["recipe"] = portable_recipe(bare["recipe"])
    return bare


def _name_alone(values: dict[str, Any], key: str) -> None:
    if values.get(key):
        values[key] = Path(values[key]).name
