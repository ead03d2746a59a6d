"""Image files on this machine's disks: ``{"paths": [...]}``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from showtell.bulk.units import UnitImage


def read(content: dict[str, Any], start: int) -> Iterator[UnitImage]:
    """Yield the files, which are opened when they are decoded."""
    yield from map(Path, content["paths"][start:])
