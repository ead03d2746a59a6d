"""Image files on object storage: ``{"urls": [...]}``; a few threads fetch ahead."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

from showtell.bulk.sources.storage import read_bytes
from showtell.bulk.units import Failure, UnitImage
from showtell.errors import ShowtellError
from showtell.images.load import NamedBytes
from showtell.images.refusals import Limits, refused

_THREADS, _AHEAD = 8, 16


def read(content: dict[str, Any], start: int) -> Iterator[UnitImage]:
    """Yield the images in order; at most 16 are in memory."""
    urls = iter(content["urls"][start:])
    pool = ThreadPoolExecutor(_THREADS)
    try:
        ahead = deque[Future[UnitImage]](pool.submit(fetch, url) for url in islice(urls, _AHEAD))
        while ahead:
            image = ahead.popleft().result()
            ahead.extend(pool.submit(fetch, url) for url in islice(urls, 1))
            yield image
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def fetch(url: str) -> UnitImage:
    """Return an image at an address, or why it cannot be read."""
    limit = Limits().max_bytes
    try:
        data = read_bytes(url, limit)
    except ShowtellError as error:
        return Failure(url, str(error))
    if len(data) > limit:
        return Failure(url, str(refused(url, f"a file of more than {limit:,} bytes", "", "Make it smaller")))
    return NamedBytes(data, url)
