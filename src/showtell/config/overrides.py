"""Dotted overrides of a recipe: ``optimizer.lr=3e-4``."""

from typing import Any

from showtell.config.yaml_text import parse_yaml
from showtell.errors import ConfigError


def apply_override(values: dict[str, Any], override: str) -> None:
    """Set one dotted key in the values of a recipe; a key that is set is no longer adapted (``training.adapt``).

    Raises:
        ConfigError: not ``key=value``, or the key is inside something without keys.
    """
    key, equals, text = override.partition("=")
    cannot = f"--set {override[:200]} cannot be used"
    if not equals:
        raise ConfigError(cannot, expected="key=value, such as optimizer.lr=3e-4")
    *path, last = key.strip().split(".")
    node: Any = values
    for part in path:
        if isinstance(node, list):
            if not part.isdigit() or int(part) >= len(node):
                raise ConfigError(cannot, found=f"no part {part}", expected=f"a number below {len(node)}")
            node = node[int(part)]
        else:
            node = node.setdefault(part, {})
        if not isinstance(node, dict | list):
            raise ConfigError(cannot, found=f"'{part}', which has no keys")
    if isinstance(node, list):
        raise ConfigError(cannot, found="a list", expected=f"{key}.KEY=value")
    try:
        value = parse_yaml(text)
    except ValueError as error:
        raise ConfigError(cannot, found=str(error)) from error
    node[last] = _number(value) if isinstance(value, str) else value
    training = values.get("training")
    if isinstance(training, dict) and isinstance(adapted := training.get("adapt"), list):
        training["adapt"] = [name for name in adapted if not f"{name}.".startswith(f"{key.strip()}.")]


def _number(text: str) -> float | str:
    """Return ``3e-4`` as the number, which YAML reads as text."""
    try:
        return float(text)
    except ValueError:
        return text
