"""How many pixels of large images are decoded at the same time: a pool of threads would need gigabytes for them."""

import contextlib
import threading
from collections.abc import Iterator

LARGE = 2**24
"""Pixels of an image beyond which it counts; smaller ones are always decoded."""

_TOTAL = 2**26  # pixels
_used = 0
_next_in_line = threading.Lock()
_freed = threading.Condition()


@contextlib.contextmanager
def decoding(pixels: int) -> Iterator[None]:
    """Wait until a large image may be decoded: within 64 megapixels of all threads, or alone if it has more.

    Threads get their turn one after another, so that small images do not keep a larger one waiting. Not to be nested.
    """
    global _used  # noqa: PLW0603
    pixels = min(pixels, _TOTAL) if pixels > LARGE else 0
    if pixels:
        with _next_in_line, _freed:
            _freed.wait_for(lambda: _used + pixels <= _TOTAL)
            _used += pixels
    try:
        yield
    finally:
        if pixels:
            with _freed:
                _used -= pixels
                _freed.notify_all()
