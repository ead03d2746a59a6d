"""Image files: ``{"files": [...]}``, paths and addresses of object storage."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from showtell.bulk.sources.storage import is_url, read_bytes
from showtell.bulk.units import Failure, UnitImage
from showtell.errors import ShowtellError
from showtell.images.load import NamedBytes
from showtell.images.refusals import Limits
from showtell.system.batch_pool import map_ahead

_THREADS, _AHEAD = 8, 16


def read(content: dict[str, Any], start: int) -> Iterator[UnitImage]:
    """Yield the images in order. Paths are opened when they are decoded; threads fetch at most 16 addresses ahead."""
    files = content["files"][start:]
    if any(map(is_url, files)):
        yield from map_ahead(load, files, workers=_THREADS, ahead=_AHEAD, name="fetch")
    else:
        yield from map(Path, files)


def load(file: str) -> UnitImage:
    """Return a path as it is; of an address what is there, or why it cannot be read."""
    if not is_url(file):
        return Path(file)
    limit = Limits().max_bytes
    try:
        data = read_bytes(file, limit)
    except ShowtellError as error:
        return Failure(file, str(error))
    if len(data) > limit:
        return Failure.of(file, f"a file of more than {limit:,} bytes", "Make it smaller")
    return NamedBytes(data, file)
