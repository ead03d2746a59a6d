"""The header of safetensors files: its bytes, and metadata in a fixed order. Needs no torch."""

import json
from pathlib import Path

from showtell.system.reading import open_file

MAX_HEADER_BYTES = 100_000_000  # as the library's own


def read_header(path: Path) -> bytes:
    """Return all bytes of a safetensors file before its tensors: the header's length in eight bytes, then JSON.

    Raises:
        OSError: the file cannot be read.
        ValueError: the header is longer than any that the library reads, or cut.
    """
    with open_file(path) as file:
        length = file.read(8)
        size = int.from_bytes(length, "little")
        if size > MAX_HEADER_BYTES:
            raise ValueError(f"a header of {size:,} bytes")
        header = file.read(size)
    if len(header) < size:
        raise ValueError("a file that is cut short")
    return length + header


def sort_metadata(header: bytes) -> bytes:
    """Return a header of the same length with its metadata sorted by key.

    The library writes them in the order of a hash map, which is another one in each process: equal tensors would
    have unequal files.
    """
    entries = json.loads(header[8:])
    if "__metadata__" not in entries:
        return header
    entries["__metadata__"] = dict(sorted(entries["__metadata__"].items()))
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    assert len(text) <= len(header) - 8, "the library writes JSON without spaces"
    return header[:8] + text.ljust(len(header) - 8)
