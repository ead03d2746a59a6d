"""YAML as recipes use it: values written out, each key once, with bounds on depth and on numbers."""

from typing import Any

import yaml
from yaml.constructor import ConstructorError

from showtell.system.reading import MAX_DIGITS, MAX_LEVELS, check_values

MAX_CHARACTERS = 2**16
"""Of a text: PyYAML takes seconds for more."""


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML text.

    Raises:
        ValueError: not YAML, or an alias (aliases of aliases grow without bound), a key twice, more than `MAX_LEVELS`
            levels, a number that is not finite or has more than `MAX_DIGITS` digits.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"more than {MAX_CHARACTERS:,} characters")
    try:
        value = yaml.load(text, _Loader)
    except (yaml.YAMLError, ArithmeticError) as error:
        raise ValueError(" ".join(str(error).split()).replace(' in "<unicode string>"', "")) from error
    check_values(value)
    return value


class _Loader(yaml.SafeLoader):
    _level = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            raise ConstructorError(
                None, None, f"the alias *{event.anchor[:40]}: write the value out", event.start_mark
            )
        self._level += 1
        if self._level > MAX_LEVELS:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise ConstructorError(None, None, f"more than {MAX_LEVELS} levels", mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self._level -= 1

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        known: set[str] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode):
                if key.value in known:
                    raise ConstructorError(None, None, f"the key '{key.value[:40]}' twice", key.start_mark)
                known.add(key.value)
        return super().construct_mapping(node, deep=deep)

    def construct_whole_number(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > MAX_DIGITS:
            found = f"a whole number of {len(node.value):,} digits"
            raise ConstructorError(None, None, found, node.start_mark)
        return self.construct_yaml_int(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_whole_number)
