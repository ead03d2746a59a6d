"""JPEG files: the frame that a header declares, whether every pixel is there, and fast decoding by libjpeg-turbo.

Markers and frames are those of ITU-T T.81, annex B.
"""

import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL.JpegImagePlugin import JpegImageFile

_NEXT_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")  # stuffed bytes and restart marks are no segments
_END_MARK = b"\xff\xd9"
_JFIF = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
_BASELINE, _EXTENDED, _PROGRESSIVE, _SCAN = 0xC0, 0xC1, 0xC2, 0xDA
_METADATA = (0xE1, 0xE2)  # of the application: EXIF, ICC
_ARITHMETIC = "a JPEG with arithmetic coding"
_UNSUPPORTED = {
    0xC3: "a lossless JPEG",
    **dict.fromkeys((0xC5, 0xC6, 0xC7), "a hierarchical JPEG"),
    **dict.fromkeys((0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF), _ARITHMETIC),
    0xF7: "a JPEG-LS image",
}
_FRAMES = {_BASELINE, _EXTENDED, _PROGRESSIVE, *_UNSUPPORTED}
_FRACTIONS = (8, 4, 2)  # the fast ones of libjpeg, which are exact means of pixels
_MAX_SCANS = 500  # encoders write about ten; each scan is a pass over the whole image
_LOST = re.compile(r"Premature end|premature end|found marker|bad Huffman|two SOI|before marker 0xd[0-7]")
_HARMLESS = re.compile(r"extraneous bytes before marker")


class _Component(NamedTuple):
    id: int
    horizontal: int
    vertical: int


@dataclass
class Frame:
    """What a JPEG's frame header declares."""

    marker: int
    bits: int
    width: int
    height: int
    components: tuple[_Component, ...]
    has_metadata: bool = False
    """Whether there may be EXIF or a color profile."""
    several_scans: bool = False
    known_sampling: bool = True
    """Whether simplejpeg knows how the channels are sampled; only Pillow decodes the others."""

    @cached_property
    def unsupported(self) -> str:
        """What the kind of this frame is called if it is not decoded, else an empty string.

        Only Huffman-coded frames of 8 bits reach simplejpeg, whose reduced decoding of others can end the process.
        """
        if self.marker in _UNSUPPORTED:
            return _UNSUPPORTED[self.marker]
        if self.bits != 8:
            return f"a JPEG of {self.bits} bits per channel"
        if len(self.components) not in (1, 3, 4):
            return f"a JPEG of {len(self.components)} channels"
        if not self.height:
            return "a JPEG whose height is declared after its pixels"
        widest, tallest = self._largest_sampling
        factors = [(widest, each.horizontal) for each in self.components]
        factors += [(tallest, each.vertical) for each in self.components]
        fractional = any(largest % max(1, factor) for largest, factor in factors)
        return "a JPEG with channels at sizes such as 2/3" if fractional else ""

    @cached_property
    def _largest_sampling(self) -> tuple[int, int]:
        channels = self.components
        return max(each.horizontal for each in channels), max(each.vertical for each in channels)

    @property
    def reducible(self) -> bool:
        """Whether simplejpeg decodes it, at fractions too; Pillow decodes the others, in full."""
        return len(self.components) < 4 and self.known_sampling

    @property
    def buffer_pixels(self) -> int:
        """Size of the coefficients that libjpeg holds until the last scan, in pixels of three bytes."""
        return 2 * self.num_coefficients // 3 if self.several_scans else 0

    @property
    def num_coefficients(self) -> int:
        """Number of coefficients of all channels, at least; each takes a bit of the file or more."""
        widest, tallest = self._largest_sampling
        area = sum(each.horizontal * each.vertical for each in self.components)
        return self.width * self.height * area // max(1, widest * tallest)

    def decoded_size(self, at_least: int) -> tuple[int, int]:
        """Return height and width when decoded at the smallest fraction that keeps ``at_least`` pixels a side."""
        if at_least <= 0 or not self.reducible:
            return self.height, self.width
        short = min(self.height, self.width)
        fraction = next((each for each in _FRACTIONS if -(-short // each) >= at_least), 1)
        return -(-self.height // fraction), -(-self.width // fraction)


def _segments(data: bytes) -> Iterator[tuple[int, bytes, int, int]]:
    """Yield marker, body, start and end of a JPEG's segments up to the end mark, as far as they are complete."""
    place = 2
    while found := _NEXT_MARKER.search(data, place):
        marker, start = found[1][0], found.end()
        if marker in (0xD8, 0xD9):  # libjpeg refuses a second start, and reads nothing after the end
            return
        if marker == 0x01:  # has no body
            place = start
            continue
        place = start + int.from_bytes(data[start : start + 2])
        if not start + 2 <= place <= len(data):
            return
        yield marker, data[start + 2 : place], found.start(), place


def read_frame(data: bytes) -> Frame | None:
    """Return the first frame that a file declares, as libjpeg finds it; None if its header has none."""
    frame: Frame | None = None
    has_metadata = False
    for marker, body, _, _ in _segments(data):
        has_metadata |= marker in _METADATA
        if marker in _FRAMES and frame is None:
            if len(body) < 6 or len(body) < 6 + 3 * body[5]:
                return None
            triples = (body[start : start + 3] for start in range(6, 6 + 3 * body[5], 3))
            components = tuple(_Component(each[0], each[1] >> 4, each[1] & 15) for each in triples)
            height, width = int.from_bytes(body[1:3]), int.from_bytes(body[3:5])
            frame = Frame(marker, body[0], width, height, components)
        elif marker == _SCAN and frame is not None and body:
            frame.has_metadata = has_metadata
            frame.several_scans = frame.marker == _PROGRESSIVE or body[0] < len(frame.components)
            frame.known_sampling = bool(frame.unsupported) or _is_known_sampling(data)
            return frame
    return frame if frame and frame.unsupported else None


def _is_known_sampling(data: bytes) -> bool:
    try:
        simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        return "subsampling" not in str(error)
    return True


def decode(data: bytes, frame: Frame, *, at_least: int = 0) -> npt.NDArray[np.uint8]:
    """Return the pixels of a reducible frame as ``uint8 [H, W, 3]``, of the size `Frame.decoded_size`.

    Raises:
        ValueError: pixels are missing, or libjpeg cannot read the file.
    """
    _check_scans(data, frame)
    size = frame.decoded_size(at_least)
    try:
        return _decode(data, "RGB", size)
    except ValueError:
        return _decode(_plain(_complete(data, frame), frame), "RGB", size, strict=False)


def check(data: bytes, frame: Frame) -> bytes:
    """Return a file of any supported frame, with an end mark if it had none; raises the errors of `decode`."""
    _check_scans(data, frame)
    if not frame.known_sampling:
        return _complete_by_pillow(data, frame)
    try:
        _decode(data, "GRAY", _smallest(frame))
    except ValueError:
        return _complete(data, frame)
    return data


def _complete_by_pillow(data: bytes, frame: Frame) -> bytes:
    """Return a file with an end mark if no pixel is missing, else raise ValueError.

    Pillow shows no warning of libjpeg. But if pixels are missing, then they depend on the bytes put in their place.
    """
    pixels_end = max((end for _, _, _, end in _segments(data)), default=0)
    end = _NEXT_MARKER.search(data, pixels_end)
    data = data[: end.start()] if end else _without_reserved_space(data).rstrip(b"\xff")
    decoded = []
    for filler in (b"\0", b"\xaa"):
        with JpegImageFile(io.BytesIO(data + 64 * filler + _END_MARK)) as image:
            image.draft(None, _smallest(frame)[::-1])
            decoded.append(np.asarray(image))
    if not np.array_equal(decoded[0], decoded[1]):
        raise ValueError("cut short, some pixels are missing")
    return data + _END_MARK


def _decode(data: bytes, colors: str, size: tuple[int, int], *, strict: bool = True) -> npt.NDArray[np.uint8]:
    """Decode by simplejpeg, whose ValueError is libjpeg's first warning if ``strict``, else an error alone."""
    height, width = size  # libjpeg takes the smallest of its sizes that is no smaller
    return np.asarray(
        simplejpeg.decode_jpeg(data, colorspace=colors, min_height=height, min_width=width, strict=strict)
    )


def _smallest(frame: Frame) -> tuple[int, int]:
    return -(-frame.height // _FRACTIONS[0]), -(-frame.width // _FRACTIONS[0])


def _complete(data: bytes, frame: Frame) -> bytes:
    """Return a file that libjpeg warns about with an end mark if no pixel is missing, else raise ValueError.

    libjpeg fills missing pixels with gray, and reports only its first warning. So the file is decoded once more, as
    small as it can be, without what else may cause a warning: a missing end mark and an odd header.
    """
    whole = _without_reserved_space(data) + _END_MARK
    try:
        _decode(_plain(whole, frame), "GRAY", _smallest(frame))
    except ValueError as error:
        if _LOST.search(str(error)):
            raise ValueError(f"cut short or damaged, some pixels are missing: {error}") from error
        if not _HARMLESS.search(str(error)):
            raise
    return whole


def _without_reserved_space(data: bytes) -> bytes:
    """Return a file without the zeros at its end, which programs reserve before a download."""
    if not data.endswith(bytes(16)):
        return data
    data = data.rstrip(b"\0")
    return data + b"\0" if data.endswith(b"\xff") else data  # FF is written as FF 00 in pixels


def _plain(data: bytes, frame: Frame) -> bytes:
    """Return a file without metadata and without oddities of its header, which libjpeg warns about and ignores."""
    parts = [data[:2]]
    for marker, body, start, end in _segments(data):
        if marker == _SCAN:
            # A sequential scan has all coefficients, whatever its last three bytes declare.
            last = data[end - 3 : end] if frame.marker == _PROGRESSIVE else b"\0\x3f\0"
            parts += [data[start : end - 3], last, data[end:]]
            break
        if marker == 0xE0 and body.startswith(b"JFIF\0"):
            parts.append(_JFIF)
        elif marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            transform = body[11] if body[11] in (0, 1, 2) else 1
            parts.append(b"\xff\xee\0\x0e" + body[:11] + bytes([transform]))
        elif not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            parts.append(data[start:end])
    return b"".join(parts)


def _check_scans(data: bytes, frame: Frame) -> None:
    """Raise ValueError if the file cannot hold its frame, or lacks scans: libjpeg does not warn about those."""
    if frame.num_coefficients > 64 * 8 * len(data):  # a block of 64 takes a bit or more
        found = f"{len(data):,} bytes cannot hold {frame.width} x {frame.height} pixels"
        raise ValueError(f"cut short: {found}")
    if not frame.several_scans:
        return
    # Lowest bit that each coefficient of a channel has so far; the last bit is 0.
    missing = {each.id: [math.inf] * 64 for each in frame.components}
    scans = 0
    for marker, body, _, _ in _segments(data):
        if marker != _SCAN or len(body) < 4:
            continue
        scans += 1
        if scans > _MAX_SCANS:
            raise ValueError(f"more than {_MAX_SCANS} scans")
        first, last, low = (body[-3], body[-2], body[-1] & 15) if frame.marker == _PROGRESSIVE else (0, 63, 0)
        for channel in body[1 : 1 + 2 * body[0] : 2]:
            if channel in missing:
                missing[channel][first : last + 1] = [low] * (last + 1 - first)
    if any(max(bits) > 0 for bits in missing.values()):
        raise ValueError("cut short: the last scans are missing")
