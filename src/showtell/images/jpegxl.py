"""JPEG XL: the size in the header, since Pillow's plugin decodes all pixels before it returns a size."""

from collections.abc import Iterator

_CODESTREAM = b"\xff\x0a"
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_MAX_BOXES = 100  # before the pixels; encoders write a few
_SIDE_BITS = (9, 13, 18, 30)


def jpegxl_size(data: bytes) -> tuple[int, int]:
    """Return height and width (or width and height: they may be swapped by the orientation) from the header.

    Source: ISO/IEC 18181-1, SizeHeader; 18181-2 for files that have boxes.

    Raises:
        ValueError: there is no such header.
    """
    head = data[:64] if data.startswith(_CODESTREAM) else _first_codestream(data)
    if not head.startswith(_CODESTREAM):
        raise ValueError("invalid header")
    bits = int.from_bytes(head[2:16], "little")

    def read(count: int) -> int:
        nonlocal bits
        value, bits = bits & ((1 << count) - 1), bits >> count
        return value

    small = read(1)

    def side() -> int:
        return 8 * (1 + read(5)) if small else 1 + read(_SIDE_BITS[read(2)])

    height = side()
    ratio = read(3)
    if ratio == 0:
        return height, side()
    numerator, denominator = _RATIOS[ratio]
    return height, height * numerator // denominator


def _first_codestream(data: bytes) -> bytes:
    for kind, start in _boxes(data):
        if kind == b"jxlc":
            return data[start : start + 64]
        if kind == b"jxlp":  # a part of it, after its number
            return data[start + 4 : start + 68]
    return b""


def _boxes(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield the name of each box and where its content begins."""
    start = 0
    for _ in range(_MAX_BOXES):
        size, kind, head = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        if len(data) < start + head:
            return
        yield kind, start + head
        if size < head:  # 0: to the end of the file
            return
        start += size
