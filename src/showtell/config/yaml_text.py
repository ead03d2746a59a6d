"""YAML as recipes use it: values written out, each key once, with bounds on depth and on numbers."""

from typing import Any

import yaml
from yaml.constructor import ConstructorError

from showtell.system.reading import MAX_DIGITS, MAX_LEVELS, check_values

MAX_CHARACTERS = 2**16
"""Of a text: PyYAML without libyaml takes seconds for more."""

# libyaml gives the same values five times as fast; builds of PyYAML may lack it.
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML text.

    Raises:
        ValueError: not YAML, or an alias (aliases of aliases grow without bound), a key twice, more than `MAX_LEVELS`
            levels, a number that is not finite or has more than `MAX_DIGITS` digits.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"more than {MAX_CHARACTERS:,} characters")
    try:
        _check_structure(text)
        value = yaml.load(text, _Loader)
    except (yaml.YAMLError, ArithmeticError) as error:
        raise ValueError(" ".join(str(error).split()).replace(' in "<unicode string>"', "")) from error
    check_values(value)
    return value


def _check_structure(text: str) -> None:
    """Raise ConstructorError for an alias or more than `MAX_LEVELS` levels, before nodes are composed recursively."""
    level = 0
    for event in yaml.parse(text, _Base):
        if isinstance(event, yaml.AliasEvent):
            raise _refusal(f"the alias *{str(event.anchor)[:40]}: write the value out", event)
        if isinstance(event, yaml.CollectionEndEvent):
            level -= 1
        elif isinstance(event, yaml.NodeEvent):
            if level == MAX_LEVELS:
                raise _refusal(f"more than {MAX_LEVELS} levels", event)
            level += isinstance(event, yaml.CollectionStartEvent)


def _refusal(found: str, place: Any) -> ConstructorError:
    return ConstructorError(None, None, found, place.start_mark)


class _Loader(_Base):  # type: ignore[misc]
    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        known: set[str] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode):
                if key.value in known:
                    raise _refusal(f"the key '{key.value[:40]}' twice", key)
                known.add(key.value)
        return super().construct_mapping(node, deep=deep)

    def construct_whole_number(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > MAX_DIGITS:
            raise _refusal(f"a whole number of {len(node.value):,} digits", node)
        number: int = self.construct_yaml_int(node)
        return number


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_whole_number)
