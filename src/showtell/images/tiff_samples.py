"""Samples of TIFF pages as they are stored: any number of bits, byte order, strips, tiles, channels or planes.

libtiff, in Pillow, decompresses each strip or tile as bytes; the rest is done here, from Adobe's TIFF 6.0 and its
Technical Note 3 (prediction of floating-point samples).
"""

import io
import itertools
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL.TiffImagePlugin import TiffImageFile
from tifffile import COMPRESSION, PLANARCONFIG, PREDICTOR, SAMPLEFORMAT, TiffPage

_Bytes = npt.NDArray[np.uint8]

_COMPRESSIONS = {  # of bytes, whatever these mean
    *(COMPRESSION.NONE, COMPRESSION.LZW, COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE),
    *(COMPRESSION.PACKBITS, COMPRESSION.LZMA, COMPRESSION.ZSTD),
}
_AT_ONCE = 2**18  # samples of a strip or tile that are converted
_WHOLE_BYTES = (8, 16, 32, 64)  # bits
_KINDS = {SAMPLEFORMAT.UINT: "u", SAMPLEFORMAT.VOID: "u", SAMPLEFORMAT.INT: "i", SAMPLEFORMAT.IEEEFP: "f"}


class Block(NamedTuple):
    """Samples ``[H, W, C]`` from a row, column and channel of a page on; they may reach beyond its edges."""

    top: int
    left: int
    channel: int
    samples: npt.NDArray[Any]


def is_in_planes(page: TiffPage) -> bool:
    """Return whether each channel of a page is stored separately."""
    return page.planarconfig == PLANARCONFIG.SEPARATE and page.samplesperpixel > 1


def is_readable(page: TiffPage) -> bool:
    """Return whether `read_blocks` knows how the samples of a page are stored."""
    if page.compression not in _COMPRESSIONS or page.fillorder != 1 or page.sampleformat not in _KINDS:
        return False
    if page.bitspersample in _WHOLE_BYTES:
        return page.predictor in (1, PREDICTOR.HORIZONTAL, PREDICTOR.FLOATINGPOINT)
    return page.bitspersample <= 16 and page.sampleformat == SAMPLEFORMAT.UINT and page.predictor == 1


def block_size(page: TiffPage) -> tuple[int, int]:
    """Return the number of rows of a strip or tile, and of bytes in each row."""
    height, width = page.imagelength, page.imagewidth
    rows, columns = (
        (page.tilelength, page.tilewidth)
        if page.is_tiled
        else (min(page.rowsperstrip or height, height), width)
    )
    channels = 1 if is_in_planes(page) else page.samplesperpixel
    return rows, -(-columns * channels * page.bitspersample // 8)


def read_blocks(page: TiffPage, data: bytes, *, channels: int) -> Iterator[Block]:
    """Yield the samples of a page that `is_readable`; of planes those of the first ``channels`` only.

    Raises:
        ValueError: samples are missing.
        OSError: libtiff cannot decompress them.
    """
    planes, stored_channels = (channels, 1) if is_in_planes(page) else (1, page.samplesperpixel)
    rows, row_bytes = block_size(page)
    tops = range(0, page.imagelength, rows)
    columns = page.tilewidth if page.is_tiled else page.imagewidth
    lefts = range(0, page.imagewidth, columns)
    if min(len(page.dataoffsets), len(page.databytecounts)) < planes * len(tops) * len(lefts):
        raise ValueError("strips or tiles are missing")
    places = itertools.product(range(planes), tops, lefts)
    pixel_bits = stored_channels * page.bitspersample
    rows_at_once = max(1, _AT_ONCE // (columns * stored_channels))
    # Eight pixels end at a whole byte. Predicted samples follow from those to their left.
    is_predicted = page.predictor != 1
    columns_at_once = columns if is_predicted else max(8, _AT_ONCE // stored_channels // 8 * 8)
    for (plane, top, left), start, size in zip(places, page.dataoffsets, page.databytecounts, strict=False):
        stored_rows = rows if page.is_tiled else min(rows, page.imagelength - top)
        stored = _decompress(data[start : start + size], page.compression, stored_rows, row_bytes)
        for first in range(0, stored_rows, rows_at_once):
            for column in range(0, columns, columns_at_once):
                part = slice(column * pixel_bits // 8, (column + columns_at_once) * pixel_bits // 8)
                piece = stored[first : first + rows_at_once, part]
                yield Block(top + first, left + column, plane, _to_samples(piece, page, stored_channels))


def _decompress(stored: bytes, compression: int, rows: int, row_bytes: int) -> _Bytes:
    """Return a strip or tile as ``uint8 [rows, row_bytes]``; libtiff takes it for a gray image of its own."""
    if compression == COMPRESSION.NONE:
        if len(stored) < rows * row_bytes:
            raise ValueError("a strip or tile is cut short")
        return np.frombuffer(stored, np.uint8, rows * row_bytes).reshape(rows, row_bytes)
    tags = {256: row_bytes, 257: rows, 258: 8, 259: compression, 262: 1, 277: 1, 278: rows, 279: len(stored)}
    start = 8 + 2 + 12 * (len(tags) + 1) + 4
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted({**tags, 273: start}.items())]
    header = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + bytes(4)
    with TiffImageFile(io.BytesIO(header + stored)) as image:
        return np.asarray(image)


def _to_samples(stored: _Bytes, page: TiffPage, channels: int) -> npt.NDArray[Any]:
    """Return rows of bytes as samples ``[H, W, channels]``."""
    rows, bits = len(stored), page.bitspersample
    if bits not in _WHOLE_BYTES:
        each = np.unpackbits(stored, axis=1)
        each = each[:, : each.shape[1] // (bits * channels) * bits * channels].reshape(
            rows, -1, channels, bits
        )
        leading_zeros = np.zeros((*each.shape[:3], 16 - bits), np.uint8)
        return np.packbits(np.concatenate([leading_zeros, each], axis=3), axis=3).view(">u2")[..., 0]
    kind, size = _KINDS[SAMPLEFORMAT(page.sampleformat)], bits // 8
    if page.predictor == PREDICTOR.FLOATINGPOINT:
        differences = stored.reshape(rows, -1, channels)
        planes = np.add.accumulate(differences, axis=1, dtype=np.uint8).reshape(rows, size, -1)
        whole = np.ascontiguousarray(planes.swapaxes(1, 2))
        return whole.view(f">{kind}{size}").reshape(rows, -1, channels)
    samples = np.ascontiguousarray(stored).view(f"{page.parent.byteorder}{kind}{size}")
    samples = samples.reshape(rows, -1, channels)
    if page.predictor == PREDICTOR.HORIZONTAL:
        return np.add.accumulate(samples, axis=1, dtype=samples.dtype.newbyteorder("="))
    return samples
