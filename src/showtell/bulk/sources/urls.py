"""Image files on object storage: ``{"urls": [...]}``; a few threads fetch ahead."""

from collections.abc import Iterator
from typing import Any

from showtell.bulk.sources.storage import read_bytes
from showtell.bulk.units import Failure, UnitImage
from showtell.errors import ShowtellError
from showtell.images.load import NamedBytes
from showtell.images.refusals import Limits
from showtell.system.batch_pool import map_ahead

_THREADS, _AHEAD = 8, 16


def read(content: dict[str, Any], start: int) -> Iterator[UnitImage]:
    """Yield the images in order; at most 16 are in memory."""
    yield from map_ahead(fetch, content["urls"][start:], workers=_THREADS, ahead=_AHEAD, name="fetch")


def fetch(url: str) -> UnitImage:
    """Return an image at an address, or why it cannot be read."""
    limit = Limits().max_bytes
    try:
        data = read_bytes(url, limit)
    except ShowtellError as error:
        return Failure(url, str(error))
    if len(data) > limit:
        return Failure.of(url, f"a file of more than {limit:,} bytes", "Make it smaller")
    return NamedBytes(data, url)
