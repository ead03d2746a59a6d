"""TIFF files: which page is the picture, and pixels of the kinds that Pillow misreads.

Pillow decodes ordinary pages. Others are read as samples of any depth, which are scaled to 8 bits here:
Pillow gives the negative of 16-bit white-is-zero pages, noise for 16-bit planes, and does not open the others.
"""

import contextlib
import io
import itertools
import logging
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile
from tifffile import EXTRASAMPLE, PHOTOMETRIC, SAMPLEFORMAT, TiffPage

from showtell.images.decode_budget import decoding
from showtell.images.refusals import Limits, check_size, corrupt, refused, too_large
from showtell.images.tiff_samples import block_size, is_in_planes, is_readable, read_blocks

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # errors are raised, not printed
_NOT_IN_PILLOW = b"MM\0+"  # BigTIFF, big-endian
_OLD_SUBFILE_TYPE, _ORIENTATION, _STATED_RANGE, _ICC_PROFILE = 255, 274, (340, 341), 34675  # tags
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType
_MAX_PAGES = 10_000
_BYTES_PER_PIXEL = 8  # of samples, on average: RGBA of 16 bits
_MAX_BLOCK = 2**28  # bytes of a strip or tile; decompressing takes a few times as many
_BY_PILLOW = {1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34925, 50000}  # compressions
_MODES = {
    PHOTOMETRIC.MINISWHITE: "L",
    PHOTOMETRIC.MINISBLACK: "L",
    PHOTOMETRIC.RGB: "RGB",
    PHOTOMETRIC.SEPARATED: "CMYK",
}
_NAMES = {
    "NONE": "no",
    "JPEGXL": "JPEG XL",
    "JPEG2000": "JPEG 2000",
    "WEBP": "WebP",
    "MINISBLACK": "gray",
    "MINISWHITE": "gray",
    "CIELAB": "CIE L*a*b*",
    "SEPARATED": "CMYK",
}
_SUPPORTED = (
    "gray, RGB or CMYK of 1 to 16 bits, a palette of 1 to 8; others with SMinSampleValue and SMaxSampleValue"
)


@contextlib.contextmanager
def open_page(data: bytes, name: str, limits: Limits, *, index: int | None = None) -> Iterator[Image.Image]:
    """Yield the largest page of a TIFF file, or page ``index``; what is left to Pillow is not decoded yet.

    It may be in the sub-IFDs of another page. Of pages of one size the first is taken, thumbnails and masks
    (NewSubfileType) only if there is nothing else.

    Raises:
        ImageError: the file is damaged, too large, or of a kind that is not supported, which is named.
    """
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = _largest_page(file) if index is None else file.pages[index]
            if not isinstance(page, TiffPage):
                raise corrupt(name, "a page without a header")
            check_size(name, page.imagelength, page.imagewidth, limits)
            image = None
            with decoding(page.imagelength * page.imagewidth):
                if _is_ordinary(page) and not data.startswith(_NOT_IN_PILLOW):
                    with contextlib.suppress(SyntaxError):  # Pillow knows no such combination of tags
                        image = _open_by_pillow(data, file, page)
                if image is None:
                    _check_kind(page)
                    _check_stored_size(page, name, limits)
                    image = _to_image(page, data)
                yield image
    except _UnsupportedError as error:
        raise refused(name, f"a TIFF with {error}", _SUPPORTED, "Convert it, or leave it out") from error


class _UnsupportedError(Exception):
    """Says what kind of page is not supported, as in "a TIFF with …"."""


def _largest_page(file: tifffile.TiffFile) -> TiffPage:
    def rank(page: TiffPage) -> tuple[bool, int]:
        is_full = not page.subfiletype & (_REDUCED | _MASK) and page.tags.valueof(_OLD_SUBFILE_TYPE) != 2
        return is_full, page.imagelength * page.imagewidth

    return max(itertools.islice(_pages(file), _MAX_PAGES), key=rank)


def _pages(file: tifffile.TiffFile) -> Iterator[TiffPage]:
    """Yield the pages of a file, each before those in its sub-IFDs, as far as these can be read."""
    for page in file.pages:
        if isinstance(page, TiffPage):
            yield page
            with contextlib.suppress(Exception):  # what a viewer does not need may be anything
                yield from (inner for inner in page.pages or () if isinstance(inner, TiffPage))


def _is_ordinary(page: TiffPage) -> bool:
    """Return whether Pillow gives the right pixels of a page, if it opens it."""
    if page.compression not in _BY_PILLOW or page.sampleformat not in (SAMPLEFORMAT.UINT, SAMPLEFORMAT.VOID):
        return False
    if page.imagedepth != 1 or (is_in_planes(page) and page.extrasamples):
        return False
    if page.bitspersample <= 8:
        return page.photometric in (*_MODES, PHOTOMETRIC.PALETTE, PHOTOMETRIC.YCBCR)
    is_color = page.photometric in (PHOTOMETRIC.RGB, PHOTOMETRIC.SEPARATED)
    return page.bitspersample == 16 and is_color and not is_in_planes(page)


def _open_by_pillow(data: bytes, file: tifffile.TiffFile, page: TiffPage) -> Image.Image:
    """Open a page as the first one of the file, since Pillow does not reach those in sub-IFDs."""
    place, size = (8, 8) if file.is_bigtiff else (4, 4)
    header = data[:place] + page.offset.to_bytes(size, "big" if file.byteorder == ">" else "little")
    whole = data if data.startswith(header) else header + data[len(header) :]
    return TiffImageFile(io.BytesIO(whole))


def _check_kind(page: TiffPage) -> None:
    if page.photometric == PHOTOMETRIC.PALETTE:
        raise _UnsupportedError(f"a palette of {page.bitspersample} bits")
    if page.photometric not in _MODES:
        raise _UnsupportedError(f"{_name_of(page.photometric)} colors")
    if page.imagedepth != 1:
        raise _UnsupportedError(f"a volume of {page.imagedepth} slices")
    if not is_readable(page):
        compression = f"{_name_of(page.compression)} compression"
        known = page.compression in _BY_PILLOW
        samples = f"{page.samplesperpixel} x {_kind(page)} and "
        raise _UnsupportedError(samples * known + compression)


def _check_stored_size(page: TiffPage, name: str, limits: Limits) -> None:
    """Check what is decompressed, in all and at once: any number of channels, to the edges of tiles."""
    rows, row_bytes = block_size(page)
    size = rows * row_bytes * len(page.dataoffsets) // _BYTES_PER_PIXEL
    if size > limits.max_pixels:
        found = f"samples that take {size:,} pixels of {_BYTES_PER_PIXEL} bytes"
        raise too_large(name, found, limits.max_pixels)
    if rows * row_bytes > _MAX_BLOCK:
        found = f"a strip or tile of {rows * row_bytes:,} bytes"
        raise refused(name, found, f"at most {_MAX_BLOCK:,}", "Save it with smaller strips or tiles")


def _range(page: TiffPage) -> tuple[float, float]:
    """Return the samples that mean black and white, or the opposite."""
    if page.sampleformat == SAMPLEFORMAT.UINT and page.bitspersample <= 16:
        return 0, 2**page.bitspersample - 1
    stated = [np.asarray(page.tags.valueof(tag, default=np.nan), np.float64) for tag in _STATED_RANGE]
    low, high = float(stated[0].min()), float(stated[1].max())
    if not (low < high and np.isfinite([low, high]).all()):
        raise _UnsupportedError(f"{_kind(page)} whose range is not stated")
    return low, high


def _to_image(page: TiffPage, data: bytes) -> Image.Image:
    mode = _MODES[PHOTOMETRIC(page.photometric)]
    height, width, channels = page.imagelength, page.imagewidth, page.samplesperpixel
    if channels < len(mode) or (mode == "L" and channels > 2):
        raise _UnsupportedError(f"{channels} channels for {_name_of(page.photometric)} colors")
    alpha = page.extrasamples[0] if channels > len(mode) and page.extrasamples else EXTRASAMPLE.UNSPECIFIED
    has_alpha = alpha != EXTRASAMPLE.UNSPECIFIED and mode != "CMYK"
    low, high = _range(page)
    pixels = np.empty((height, width, len(mode) + has_alpha), np.uint8)
    for top, left, channel, samples in read_blocks(page, data, channels=pixels.shape[2]):
        rows, columns, stored = samples.shape
        place = pixels[top : top + rows, left : left + columns, channel : channel + stored]
        inside = tuple(slice(length) for length in place.shape)
        exact: npt.DTypeLike = np.float32 if samples.itemsize <= 2 else np.float64
        scaled = (samples[inside].astype(exact) - low) * (255 / (high - low))
        place[...] = np.clip(np.nan_to_num(scaled) + 0.5, 0, 255)
    colors = pixels[:, :, : len(mode)]
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        np.subtract(255, colors, out=colors)
    if has_alpha and alpha == EXTRASAMPLE.ASSOCALPHA:  # blended with black
        white = 255 - pixels[:, :, len(mode) :]
        np.add(colors, np.minimum(white, 255 - colors), out=colors)
        pixels = np.ascontiguousarray(colors)
    elif has_alpha:
        mode += "A"
    image = Image.frombytes(mode, (width, height), pixels)
    image.getexif()[_ORIENTATION] = int(page.tags.valueof(_ORIENTATION, default=1))
    if profile := page.tags.valueof(_ICC_PROFILE):
        image.info["icc_profile"] = bytes(profile)
    return image


def _kind(page: TiffPage) -> str:
    """Return what a page's samples are called."""
    formats = {
        SAMPLEFORMAT.UINT: "integer",
        SAMPLEFORMAT.INT: "signed",
        SAMPLEFORMAT.IEEEFP: "floating-point",
    }
    planes = " in planes" if is_in_planes(page) else ""
    return (
        f"{page.bitspersample}-bit {formats.get(SAMPLEFORMAT(page.sampleformat), 'complex')} samples{planes}"
    )


def _name_of(value: int) -> str:
    """Return the name of a compression or of a color space, or the number of one that tifffile does not know."""
    name = getattr(value, "name", f"number {value}")
    return _NAMES.get(name, name.replace("_", " "))
