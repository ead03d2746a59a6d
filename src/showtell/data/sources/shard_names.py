"""Names of shards, and of several in one pattern: ``shard-{000..005}.tar``, ``{train,test}.tar``."""

import re
from collections.abc import Iterator

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
_BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")


def has_braces(name: str) -> bool:
    """Return whether a name is a pattern."""
    return _BRACES.search(name) is not None


def expand_braces(pattern: str) -> Iterator[str]:
    """Yield the names of a pattern in order; a name that is none is itself.

    >>> list(expand_braces("{08..10}.tar"))
    ['08.tar', '09.tar', '10.tar']
    """
    match = _BRACES.search(pattern)
    if match is None:
        yield pattern
        return
    first, last, names = match.groups()
    numbers = (f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1)) if first else ()
    for part in numbers or names.split(","):
        yield from expand_braces(pattern[: match.start()] + part + pattern[match.end() :])
